"""Signatures between the parts of the sequencer, and between the sequencer and the vector path."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.rescale import column_factor
from hw.array.systolic import array_command
from hw.attention.command import descriptor
from hw.contract.config import AccelConfig
from hw.embedding.embedding import embedding_command
from hw.logits.interfaces import column_of
from hw.norm.quantize import quantize_command
from hw.norm.scale import scale_request, scale_result
from hw.norm.statistics import statistics_result

__all__ = ["TOKEN_BITS", "feed_signature", "vector_control"]

TOKEN_BITS = 24
"""Bits of a token id."""


def feed_signature(config: AccelConfig) -> wiring.Signature:
    """What a pass feeds, from the token loop to the executor.

    Members:
        columns: columns in use, 0 to columns - 1.
        tokens, descriptors: token, position and KV slot of each column.
        head_column, head_columns: the first of the columns whose logits LM_HEAD computes, and how many.
        head_open: the LM head may begin: rows of memory are announced, and nothing of the group before is under way.
            Only where the columns can be several groups; the first group never has to wait.
        ended: END was executed. lm_head_done: their logits are complete.
    """
    return wiring.Signature({
        **({"head_open": Out(1)} if config.head_columns < config.columns else {}),
        "columns": Out(range(config.columns + 1)),
        "tokens": Out(data.ArrayLayout(unsigned(TOKEN_BITS), config.columns)),
        "descriptors": Out(data.ArrayLayout(descriptor(config), config.columns)),
        "head_column": Out(config.column_bits), "head_columns": Out(range(config.head_columns + 1)),
        "ended": In(1), "lm_head_done": In(1),
    })


def vector_control(config: AccelConfig) -> wiring.Signature:
    """Commands of the executor to the vector path, and the reports of the path.

    Members:
        opcode, flags, busy: the command under way; they steer the multiplexers of the path.
        base, words: first word and length of the vector that is written. word_index, word_taken: the word written now.
        clear_statistics: the vector written next is the input of a norm.
        norm_start, norm_count, norm_done: load norm weights.
        embed: unpack an embedding row. finish, statistics: the statistics of a column. scale, scaled: its scales.
        quantize, codes_done, packed: quantise a column; its codes have left; they are in the array.
        head_column: the column of the group whose codes for the LM head come.
        factor, factor_en: an entry of the table of `Rescale`. array: start a matmul.
    """
    return wiring.Signature({
        "opcode": Out(8), "flags": Out(8), "busy": Out(1),
        "base": Out(config.word_bits), "words": Out(config.word_bits + 1),
        "word_index": In(config.word_bits), "word_taken": In(1),
        "clear_statistics": Out(1),
        "norm_start": Out(1), "norm_count": Out(range(config.max_k + 1)), "norm_done": In(1),
        "embed": Out(stream.Signature(embedding_command(config))),
        "finish": Out(stream.Signature(config.column_bits)),
        "statistics": In(stream.Signature(statistics_result(config))),
        "scale": Out(stream.Signature(scale_request(config))),
        "scaled": In(stream.Signature(scale_result(config))),
        "quantize": Out(stream.Signature(quantize_command(config))),
        "codes_done": In(1), "packed": In(1), "head_column": Out(column_of(config)),
        "factor": Out(column_factor(config)), "factor_en": Out(1),
        "array": Out(stream.Signature(array_command(config))),
    })
