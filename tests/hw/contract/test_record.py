"""Records: the fields of a layout as bytes and back, as Amaranth's own constants have them."""

from __future__ import annotations

import pytest
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st

from hw.contract.isa import HEADER, decode_header, encode_header
from hw.contract.link_protocol import IDENTITY, REQUEST
from hw.contract.record import record_bytes, record_fields


@pytest.mark.parametrize("layout", [HEADER, REQUEST, IDENTITY], ids=["header", "request", "identity"])
@given(content=st.binary(min_size=32, max_size=40))
def test_fields_are_what_amaranth_reads(layout: data.StructLayout, content: bytes) -> None:
    size = layout.size // 8
    fields = record_fields(layout, content)
    constant = layout.from_bits(int.from_bytes(content[:size], "little"))
    assert fields == {name: constant[name] for name, _ in layout}
    assert record_bytes(layout, fields) == content[:size]


def test_a_header_survives() -> None:
    fields = {"opcode": 5, "k": 65535, "m": 1 << 31, "address": 1 << 47, "offset2": 7}
    found = decode_header(encode_header(fields) + b"payload")
    assert {name: value for name, value in found.items() if value and name != "crc"} == fields
    assert encode_header(found) == encode_header(fields)
