"""What attention and the LM head see of the dot products that they share."""

from __future__ import annotations

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.payloads import kv_shape, stream_beat
from hw.dot.block_player import BLOCK_DONE
from hw.dot.interfaces import HeadRows, block_item, query_word, weight_word
from hw.dot.read_ports import scales_read, score_sums_read, value_sums_read

__all__ = ["attention_dots", "head_dots"]


def attention_dots(config: AccelConfig) -> wiring.Signature:
    """Queries, weights, and the beats of keys and values; the sums.

    Members:
        query: query_word. weights: weight_word.
        item, beats: block_item, and the beats of all ports that it consists of.
        shape: kv_shape; steady.
        keys_done, values_done: BLOCK_DONE; the bank of an item whose sums may be read.
        scores, values, scales: the sums, and the scales of keys and values.
    """
    return wiring.Signature({
        "query": Out(stream.Signature(query_word(config))),
        "weights": Out(stream.Signature(weight_word(config), always_ready=True)),
        "item": Out(stream.Signature(block_item(config))),
        "beats": Out(stream.Signature(stream_beat(config))),
        "shape": Out(kv_shape(config)),
        "keys_done": In(BLOCK_DONE), "values_done": In(BLOCK_DONE),
        "scores": Out(score_sums_read(config)),
        "values": Out(value_sums_read(config)),
        "scales": Out(scales_read(config)),
    })


def head_dots(config: AccelConfig) -> wiring.Signature:
    """The beats of rows of the LM head as those of keys (`HeadLayout`); the sums. The activations come from elsewhere.

    Members:
        active: the dot products belong to the LM head; steady while there are items.
        item, beats: block_item, and the beats that it consists of.
        row_beats: port beats of a row of int8; steady.
        rows: HeadRows, on a machine with a split head; INT8 or not is steady from the activations on, the rest while
            there are items.
        done: BLOCK_DONE; the bank of an item whose sums may be read.
        sums, scales: by the place of a row in its block. Row i of port p in group g is place (g s + i) P + p of `sums`.
            Its scale is the scale of the key (i even) or of the value (i odd) of place (g s / 2 + i // 2) P + p.
    """
    return wiring.Signature({
        "active": Out(1),
        "item": Out(stream.Signature(block_item(config))),
        "beats": Out(stream.Signature(stream_beat(config))),
        "row_beats": Out(range(HeadLayout.longest(config).row_beats + 1)),
        **({"rows": Out(HeadRows)} if config.candidates else {}),
        "done": In(BLOCK_DONE),
        "sums": Out(score_sums_read(config)),
        "scales": Out(scales_read(config)),
    })
