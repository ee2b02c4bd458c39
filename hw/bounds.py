"""Every integer edge of the machine: what it can hold at most, and the width that needs. `python -m hw.bounds` writes
the table of docs/numerics.md, section 8.

Pure functions of the configuration, and nothing here builds hardware. The units declare their widths themselves;
tests/hw/test_bounds.py elaborates the machine and proves each of them wide enough, for the presets and for
configurations drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.array.column import OUTPUT_BLOCKS
from hw.array.systolic import array_command
from hw.attention.attention_control import attend_command, descriptor
from hw.attention.block_address import block_query
from hw.attention.block_player import play
from hw.attention.score import score_sum
from hw.attention.weighted_values import value_sums
from hw.contract.config import BLOCK_POSITIONS, MAX_KV_HEADS, MAX_SLOTS, PRESETS, AccelConfig, ceil_div
from hw.contract.payloads import acc_word, gather_request, kv_codes, vector_word, write_request
from hw.float.rounding import BIAS
from hw.logits.logit_engine import lm_head_command
from hw.logits.logits_writer import MAX_BEATS, logits_row
from hw.memory.kv_cache import kv_row
from hw.memory.read_engine import GATHER_FIFO_BEATS
from hw.memory.row_address import row_query
from hw.norm.pack_activations import code_word
from hw.norm.quantize import LM_HEAD_LIMIT, quantize_command
from hw.norm.quotient_code import INT8_LIMIT

__all__ = ["Edge", "edges", "table", "write_table"]

CODE16 = 2**15 - 1
"""Largest query code, softmax weight and activation of the LM head."""

POWER = 1 << 16
"""exp2(0)."""

FIELD = 255
"""No exponent field is larger; of machine floats not even this one occurs."""


@dataclass(frozen=True)
class Edge:
    """A number on its way through the machine.

    Attributes:
        what: its name, for the table.
        bound: the largest magnitude as a formula, for the table.
        most, least: the same as numbers; what is negative is signed.
        signal: the signal that holds it, by its path in the accelerator; or
        field: layout function and field of the payload that carries it.
        parts: elements that share the signal.
    """

    what: str
    bound: str
    most: int
    least: int = 0
    signal: str = ""
    field: tuple[Callable[[AccelConfig], Any], str] | None = None
    parts: int = 1

    @property
    def bits(self) -> int:
        """Narrowest width that holds all values, with the sign where there is one."""
        signed = self.least < 0
        return max(self.most.bit_length(), (-self.least - 1).bit_length() if signed else 0) + signed


def _array(c: AccelConfig) -> list[Edge]:
    return [
        Edge("BitLinear sum", "127 max_k", INT8_LIMIT * c.max_k, -INT8_LIMIT * c.max_k, field=(acc_word, "sums"),
             parts=c.vector),
        Edge("its accumulator", "127 max_k", INT8_LIMIT * c.max_k, -INT8_LIMIT * c.max_k,
             "vectors.array.column_0.accumulators", parts=c.rows),
        Edge("sum of one beat and row", "128 Kc", 128 * c.inputs, -128 * c.inputs, "vectors.array.column_0.dot_0.o"),
        Edge("row blocks that may be started", "4", OUTPUT_BLOCKS, signal="vectors.array.credits"),
        Edge("words of a row", "ceil(max_k / Kc)", c.activation_words, field=(array_command, "words")),
        Edge("row blocks", "ceil(max_k / R)", ceil_div(c.max_k, c.rows), field=(array_command, "blocks")),
        Edge("word of a column", "column_words - 1", c.column_words - 1, field=(vector_word, "index")),
        Edge("word of the scratchpad", "T column_words - 1", c.columns * c.column_words - 1,
             signal="vectors.writer.address"),
    ]


def _attention(c: AccelConfig) -> list[Edge]:
    code = 2 ** (c.kv_bits - 1) - 1
    dot, value = CODE16 * code * c.max_head_dim, BLOCK_POSITIONS * CODE16 * code
    row_bytes = c.max_head_dim * c.kv_bytes
    row, block = ceil_div(row_bytes, c.beat_bytes), c.kv_block_bytes(c.max_head_dim) // c.beat_bytes
    control, chain = "attention.control.", "attention.chain."
    return [
        Edge("key or value code", "127 or 32767", code, -code, field=(kv_codes, "codes"), parts=c.vector),
        Edge("query code", "32767", CODE16, -CODE16, "attention.query_quantize.code_0.o"),
        Edge("score dot", "32767 L max_head_dim", dot, -dot, field=(score_sum, "sum")),
        Edge("its accumulator", "32767 L max_head_dim", dot, -dot, "attention.dot.accumulator"),
        Edge("p", "65536", POWER, signal=chain + "softmax.exp2.o"),
        Edge("sum of p", "16 * 65536", BLOCK_POSITIONS * POWER, signal=chain + "softmax.power_sum"),
        Edge("value dot", "16 * 32767 L", value, -value, field=(value_sums, "sums"), parts=c.vector),
        Edge("its accumulator", "16 * 32767 L", value, -value, chain + "weighted.kept_0"),
        Edge("position", "max_positions - 1", c.max_positions - 1, field=(descriptor, "position")),
        Edge("block", "ceil(max_positions / 16) - 1", ceil_div(c.max_positions, BLOCK_POSITIONS) - 1,
             field=(block_query, "block")),
        Edge("KV slot", "63", MAX_SLOTS - 1, field=(descriptor, "slot")),
        Edge("KV heads", "256", MAX_KV_HEADS, field=(attend_command, "kv_heads")),
        Edge("KV head", "255", MAX_KV_HEADS - 1, field=(block_query, "head")),
        Edge("query rows stored", "max_group", c.max_group, signal=control + "stored"),
        Edge("heads done", "max_group", c.max_group, signal=control + "finished"),
        Edge("beats of a row", "max_head_dim bytes of L / beat", row, field=(play, "row_beats")),
        Edge("beats of a write", "256", MAX_BEATS, field=(write_request, "beats")),
        Edge("bytes of a row", "max_head_dim bytes of L", row_bytes, signal=control + "row_bytes"),
        Edge("the same, on its way to memory", "max_head_dim bytes of L", row_bytes, field=(kv_row, "row_bytes")),
        Edge("beats of a block", "16 (8 + 2 row bytes) / beat", block, field=(gather_request, "beats")),
    ]


def _norm_and_head(c: AccelConfig) -> list[Edge]:
    dot = LM_HEAD_LIMIT * INT8_LIMIT * c.max_hidden
    logits_beats = ceil_div(4 * c.max_vocab, c.beat_bytes)
    return [
        Edge("int8 code", "127", INT8_LIMIT, -INT8_LIMIT, "vectors.quantize.int8_0.o"),
        Edge("16-bit code", "32767", LM_HEAD_LIMIT, -LM_HEAD_LIMIT, field=(code_word, "codes"), parts=c.vector),
        Edge("norm weights to come", "max_k", c.max_k, signal="vectors.norm_memory.left"),
        Edge("words to quantise", "ceil(max_k / V)", c.norm_words, field=(quantize_command, "words")),
        Edge("codes of an unfinished word", "Kc - 1 + V", c.inputs - 1 + c.vector, signal="vectors.pack.total"),
        Edge("word of activations, padding too", "ceil(max_k / Kc)", c.activation_words, signal="vectors.pack.address"),
        Edge("head dot", "32767 * 127 max_hidden", dot, -dot, "lm_head.engine.engine.accumulator"),
        Edge("rows of the head", "max_vocab", c.max_vocab, field=(lm_head_command, "m")),
        Edge("beats of a row of logits", "4 max_vocab / beat", logits_beats, field=(logits_row, "beats")),
        Edge("token, or position, as a row of a table", "max_vocab - 1 or max_positions - 1",
             max(c.max_vocab, c.max_positions) - 1, field=(row_query, "index")),
        Edge("token", "max_vocab - 1", c.max_vocab - 1, signal="sequencer.executor.feed__tokens", parts=c.columns),
    ]


def _memory_and_control(c: AccelConfig) -> list[Edge]:
    read, write = "memory.read_0.", "memory.write."
    return [
        Edge("room of a weight FIFO", "stream_fifo_beats", c.stream_fifo_beats, signal=read + "stream_free"),
        Edge("room of the gather FIFO", "64", GATHER_FIFO_BEATS, signal=read + "gather_free"),
        Edge("beat of a read burst", "burst_beats", c.burst_beats, signal=read + "stream_count"),
        Edge("read bursts in flight", "outstanding", c.outstanding, signal=read + "in_flight"),
        Edge("write bursts in flight", "outstanding", c.outstanding, signal=write + "in_flight"),
        Edge("write bursts not answered", "outstanding", c.outstanding, signal=write + "unanswered"),
        Edge("clocks without an answer", "timeout_cycles", c.timeout_cycles, signal=read + "timer"),
        Edge("bits of an embedding row at hand", "port_bits + V embedding_bits - 1",
             c.port_bits + c.vector * c.embedding_bits - 1, signal="vectors.embedding.level"),
        Edge("bits of a RoPE row at hand", "port_bits + 32 V - 1", c.port_bits + 32 * c.vector - 1,
             signal="rope_rows.level"),
        Edge("beats of a header", "32 / beat of the stream", c.header_beats, signal="packets.count"),
        Edge("columns done", "T", c.columns, signal="sequencer.executor.finished"),
        Edge("head passes to come", "T", c.columns, signal="sequencer.loop.rows_left"),
        Edge("tokens of a run", "T max_positions", c.columns * c.max_positions, signal="sequencer.loop.token_count"),
    ]


def _exponents(c: AccelConfig) -> list[Edge]:
    """Sums of exponent fields, which are 0 to 255. The widest integer that becomes a float has 64 bits."""
    product = (2 * FIELD - BIAS, -BIAS)
    return [
        Edge("exponent of a product", "2 * 255 - 127", *product, "vectors.rescale.multiply_0.exponent_2"),
        Edge("the same, normalised", "2 * 255 - 126", product[0] + 1, product[1],
             "vectors.rescale.multiply_0.exponent"),
        Edge("exponent of a sum", "255 + 1", FIELD + 1, 1 - 31, "vectors.residual.add_0.exponent"),
        Edge("exponent of a quotient", "255 + 127", FIELD + BIAS, BIAS - FIELD - 1,
             "vectors.norm_scale.divide.rounding_exponent"),
        Edge("exponent of an integer", "127 + 63", BIAS + 63, 0, "vectors.rescale.convert_0.exponent"),
        Edge("exponent of a code times 2^shift", "255 - 126 + 255", FIELD - BIAS + 1 + 255, 1 - BIAS - 256,
             "vectors.quantize.lm_head_0.scale"),
        Edge("exponent of the guess of an int8 code", "2 * 255 - 252", 2 * FIELD - 2 * BIAS + 2, 2 - 2 * BIAS,
             "vectors.quantize.int8_0.scale_2"),
        Edge("shift of values in units", "255 - 1 - 6", FIELD - 1 - 6, signal="attention.kv_quantize.shift"),
        Edge("shift of a block's output", "255 - 141", FIELD - BIAS - 14, -BIAS - 14,
             "attention.chain.accumulate.shift"),
        Edge("shift of head activations", "141", BIAS + 14, BIAS + 14 - FIELD, field=(quantize_command, "shift")),
    ]


def edges(config: AccelConfig) -> list[Edge]:
    """All of them, in the order of the table."""
    parts = (_array, _attention, _norm_and_head, _memory_and_control, _exponents)
    return [edge for part in parts for edge in part(config)]


def table() -> str:
    """The table of docs/numerics.md: per preset the bound and the bits that it needs."""
    columns = [edges(config) for config in PRESETS.values()]
    lines = [
        "| edge | bound | " + " | ".join(PRESETS) + " |",
        "| --- | --- |" + " --- |" * len(PRESETS),
    ]
    for row in zip(*columns, strict=True):
        cells = " | ".join(f"{max(edge.most, -edge.least)}: {edge.bits}" for edge in row)
        lines.append(f"| {row[0].what} | {row[0].bound} | {cells} |")
    return "\n".join(lines) + "\n"


DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "numerics.md"
BEGIN, END = "<!-- python -m hw.bounds -->\n", "<!-- end -->\n"


def write_table() -> str:
    """The text of docs/numerics.md with the table of today."""
    before, rest = DOCUMENT.read_text().split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    DOCUMENT.write_text(write_table())
