"""Read ports of the dot products: an address goes out, and the word comes `READ_LATENCY` clocks later.

They have no enable: a word is there for every address, one per clock.
"""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.kv_layout import KvLayout
from hw.contract.machine_float import FLOAT_BITS
from hw.dot.interfaces import POSITION_BITS, key_sum_bits, softmax_sets, value_sum_bits

__all__ = ["READ_LATENCY", "scales_read", "score_sums_read", "value_sums_read"]

READ_LATENCY = 2
"""Clocks from an address to its word: one of the memory, one of a register behind it."""


def score_sums_read(config: AccelConfig) -> wiring.Signature:
    """The dot products of the key of one position, or of a row of the LM head, and the L rows of a set."""
    return wiring.Signature({
        "bank": Out(1), "position": Out(POSITION_BITS), "set": Out(range(softmax_sets(config))),
        "sums": In(data.ArrayLayout(signed(key_sum_bits(config)), config.softmax_lanes)),
    })


def scales_read(config: AccelConfig) -> wiring.Signature:
    """The scales of the key and the value of one position, 25-bit codes."""
    return wiring.Signature({
        "bank": Out(1), "position": Out(POSITION_BITS), "key": In(FLOAT_BITS), "value": In(FLOAT_BITS),
    })


def value_sums_read(config: AccelConfig) -> wiring.Signature:
    """P sums of the weighted values of one query row."""
    return wiring.Signature({
        "bank": Out(1), "row": Out(range(config.query_rows)),
        "word": Out(range(KvLayout.longest(config).value_group_beats)),
        "sums": In(data.ArrayLayout(signed(value_sum_bits(config)), config.ports)),
    })
