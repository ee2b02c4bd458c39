"""The layouts of the commands: consistent with themselves and with docs/isa.md; the CRC covers all of them."""

from __future__ import annotations

import pytest

from hw.contract.isa import DOCUMENT, HEADER, LAYOUTS, OPERANDS, Opcode, decode_header, document, encode_header


def test_document_is_current() -> None:
    assert DOCUMENT.read_text() == document(), "run python -m hw.contract.isa"


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_operands_do_not_overlap(opcode: Opcode) -> None:
    fields = [field for _, field in LAYOUTS[opcode]]
    used = [bit for field in fields for bit in range(field.offset, field.offset + field.width)]
    assert len(used) == len(set(used))
    assert max(used) < HEADER.size


def test_no_name_of_an_operand_has_two_meanings() -> None:
    """Opcodes that share a name share its width, and its sentence but for the vector it is about."""
    widths: dict[str, set[int]] = {}
    for operands in OPERANDS.values():
        for one in operands:
            widths.setdefault(one.name, set()).add(one.bits)
    assert {name for name, found in widths.items() if len(found) > 1} == {"head_dim"}


def test_an_operand_of_another_opcode_is_refused() -> None:
    with pytest.raises(ValueError, match="eps"):
        encode_header({"opcode": Opcode.MATMUL.value, "eps": 1})


def test_an_unknown_opcode_has_no_operands() -> None:
    assert decode_header(encode_header({"opcode": 99})).keys() == {name for name, _ in HEADER}
