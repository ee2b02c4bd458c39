"""The commands of the packet stream: opcodes, flags, one named header layout per opcode, and how headers are encoded.

`python -m hw.contract.isa` writes the table of operands in docs/isa.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from hw.contract.crc import header_crc
from hw.contract.record import record_bytes, record_fields
from hw.contract.tables import with_table

__all__ = [
    "CARRIES_PAYLOAD", "HEADER", "LAYOUTS", "OPERANDS", "Flags", "Opcode", "Operand", "decode_header", "encode_header",
    "header_layout", "operand_table",
]


class Opcode(enum.Enum, shape=8):
    """Commands of the packet stream (`docs/isa.md`). 0 is no opcode, so memory that is all zeros holds no command."""

    END = 1
    LOAD_NORM = 2
    EMBED = 3
    QUANTIZE = 4
    MATMUL = 5
    ATTEND = 6
    LM_HEAD = 7


CARRIES_PAYLOAD = frozenset({Opcode.LOAD_NORM, Opcode.MATMUL, Opcode.LM_HEAD})
"""Commands with a payload; the others have none."""


class Flags(enum.Flag, shape=8):
    """Modifiers of a command.

    RESIDUAL: MATMUL adds to the residual stream instead of storing.
    GATED: MATMUL multiplies by relu(stored gate)^2.
    STATISTICS: the written vector is the input of the norm that was loaded last; accumulate its statistics.
    WORK: QUANTIZE reads the work area, not the residual stream.
    LM_HEAD: QUANTIZE emits 16-bit activations for the LM head.
    HIGH: the payload of LM_HEAD is the high plane of a split head.
    """

    RESIDUAL = 1
    GATED = 2
    STATISTICS = 4
    WORK = 8
    LM_HEAD = 16
    HIGH = 32


@dataclass(frozen=True)
class Operand:
    """A field of the header of one opcode.

    Attributes:
        name: lower case, unique in its opcode; packer, golden model and hardware use it.
        low, bits: its lowest bit in the header, and its width.
        sentence: what it holds.
    """

    name: str
    low: int
    bits: int
    sentence: str


def _k(name: str, sentence: str) -> Operand:
    return Operand(name, 16, 16, sentence)


OPERANDS: dict[Opcode, tuple[Operand, ...]] = {
    Opcode.END: (),
    Opcode.LOAD_NORM: (_k("elements", "Norm weights of the payload."),),
    Opcode.EMBED: (
        _k("hidden", "Elements of an embedding row."),
        Operand("head_dim", 32, 32, "Elements of a RoPE row: half of them cosines, half sines."),
    ),
    Opcode.QUANTIZE: (
        _k("elements", "Length of the vector."),
        Operand("per_n", 96, 32, "float32 of 1 / elements."),
        Operand("eps", 128, 32, "float32 of the epsilon of RMSNorm."),
    ),
    Opcode.MATMUL: (
        _k("in_features", "Columns of the matrix."),
        Operand("out_features", 32, 32, "Rows of the matrix."),
        Operand("weight_scale", 96, 32, "float32 scale of the matrix."),
        Operand("destination", 160, 16, "Element of the work area where the result is stored; 0 with RESIDUAL."),
        Operand("block_beats", 176, 16, "Beats of a row block: ceil(in_features / Kc)."),
        Operand("row_blocks", 192, 48, "ceil(out_features / R)."),
    ),
    Opcode.ATTEND: (
        _k("head_dim", "Elements of an attention head."),
        Operand("group", 32, 16, "Query heads per KV head."),
        Operand("kv_heads", 48, 16, "KV heads."),
        Operand("softmax_scale", 96, 32, "float32 of head_dim^-0.5 * log2(e)."),
        Operand("kv_head_stride", 128, 32, "Bytes from one KV head of a layer to the next, on one port."),
        Operand("k_offset", 160, 16, "Element of the work area where the keys begin; the queries begin at 0."),
        Operand("v_offset", 176, 16, "Element of the work area where the values begin."),
        Operand("layer_offset", 192, 48, "Bytes from the start of a KV slot to the layer, on one port."),
    ),
    Opcode.LM_HEAD: (
        _k("hidden", "Elements of a row."),
        Operand("vocabulary", 32, 32, "Rows."),
    ),
}
"""The operands of every opcode. Bits that no operand of an opcode covers are 0."""

HEADER_BITS = 256

_FIRST = {
    "opcode": data.Field(unsigned(8), 0),
    "flags": data.Field(unsigned(8), 8),
    "payload_beats": data.Field(unsigned(32), 64),
}
_LAST = {"crc": data.Field(unsigned(16), 240)}  # `header_crc` of the 30 bytes before

HEADER = data.FlexibleLayout(HEADER_BITS, _FIRST | _LAST)
"""What the headers of all opcodes have in common: 32 bytes, little endian."""

LAYOUTS = {
    opcode: data.FlexibleLayout(
        HEADER_BITS, _FIRST | {one.name: data.Field(unsigned(one.bits), one.low) for one in operands} | _LAST)
    for opcode, operands in OPERANDS.items()
}
"""The whole header of each opcode. Hardware that executes an opcode views the bits of HEADER through its layout."""


def header_layout(opcode: int) -> data.FlexibleLayout:
    """The layout of an opcode's number; HEADER, which has no operands, for a number that is no opcode."""
    try:
        return LAYOUTS[Opcode(opcode)]
    except ValueError:
        return HEADER


def encode_header(fields: Mapping[str, int]) -> bytes:
    """A header of these fields, `opcode` among them, the others 0, with its CRC: the one place where headers are made.

    Raises KeyError for a field that the opcode does not have.
    """
    layout = header_layout(fields["opcode"])
    return record_bytes(layout, {**fields, "crc": header_crc(record_bytes(layout, {**fields, "crc": 0}))})


def decode_header(content: bytes) -> dict[str, int]:
    """Fields of the header that a content starts with, by the names of its opcode. The CRC is one of them, and is not
    checked; bits that no field covers are not in the result."""
    return record_fields(header_layout(record_fields(HEADER, content)["opcode"]), content)


def operand_table() -> str:
    """The table of docs/isa.md: every operand, its bits and its meaning."""
    lines = ["| opcode | bits | operand | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {opcode.name} | {one.low + one.bits - 1}:{one.low} | `{one.name}` | {one.sentence} |"
        for opcode, operands in OPERANDS.items() for one in operands
    ]
    return "\n".join(lines) + "\n"


DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "isa.md"


def document() -> str:
    """The text of docs/isa.md with the table of these operands."""
    return with_table(DOCUMENT.read_text(), "python -m hw.contract.isa", operand_table())


if __name__ == "__main__":
    DOCUMENT.write_text(document())
