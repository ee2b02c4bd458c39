"""Records: the fields of a layout as bytes and back, as Amaranth's own constants have them."""

from __future__ import annotations

import pytest
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st

from hw.contract.isa import HEADER, LAYOUTS, decode_header, encode_header
from hw.contract.record import record_bytes, record_fields
from hw.contract.serial_link_protocol import IDENTITY, REQUEST

RECORDS = {"header": HEADER, "request": REQUEST, "identity": IDENTITY} | {code.name: at for code, at in LAYOUTS.items()}


@pytest.mark.parametrize("layout", RECORDS.values(), ids=RECORDS.keys())
@given(content=st.binary(min_size=32, max_size=40))
def test_fields_are_what_amaranth_reads(
    layout: data.StructLayout | data.FlexibleLayout, content: bytes
) -> None:
    size = layout.size // 8
    fields = record_fields(layout, content)
    constant = layout.from_bits(int.from_bytes(content[:size], "little"))
    assert fields == {name: constant[name] for name, _ in layout}
    used = sum(((1 << field.width) - 1) << field.offset for _, field in layout)  # bits of no field are 0
    assert int.from_bytes(record_bytes(layout, fields), "little") == used & int.from_bytes(content[:size], "little")


def test_a_header_survives() -> None:
    fields = {"opcode": 5, "in_features": 65535, "out_features": 1 << 31, "row_blocks": 1 << 47, "block_beats": 7}
    found = decode_header(encode_header(fields) + b"payload")
    assert {name: value for name, value in found.items() if value and name != "crc"} == fields
    assert encode_header(found) == encode_header(fields)
