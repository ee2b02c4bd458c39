"""The register map: consistent with itself, with AxiError and with docs/registers.md."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.contract.register_map import (
    ADDRESS_BITS,
    CONSTANTS,
    DOCUMENT,
    ERROR_SENTENCES,
    REGISTERS,
    ErrorCode,
    decode,
    document,
    encode,
    find,
    registers_of,
    values,
)
from hw.memory.axi import AxiError


def test_document_is_current() -> None:
    assert DOCUMENT.read_text() == document(), "run python -m hw.contract.register_map"


def test_addresses() -> None:
    addresses = [r.address for r in REGISTERS]
    assert addresses == sorted(set(addresses))
    assert all(a % 4 == 0 and a < 1 << ADDRESS_BITS for a in addresses)
    assert len({r.name for r in REGISTERS}) == len(REGISTERS)


@pytest.mark.parametrize("register", REGISTERS, ids=lambda r: r.name)
def test_fields_do_not_overlap(register) -> None:
    used = [bit for f in register.fields for bit in range(f.low, f.low + f.bits)]
    assert len(used) == len(set(used))
    assert max(used) < 32


def test_every_error_has_a_sentence() -> None:
    assert list(ERROR_SENTENCES) == list(ErrorCode)


@pytest.mark.parametrize("first, prefix", [(0, "READ"), (8, "WRITE")])
def test_memory_errors(first: int, prefix: str) -> None:
    names = {"SLAVE": "SLVERR", "DECODE": "DECERR"}
    for code in ErrorCode:
        if code.name.startswith(prefix):
            error = AxiError(code.value - first)
            assert code.name == f"{prefix}_{names.get(error.name, error.name)}"


def test_find() -> None:
    assert find("STATUS").address == 0x14
    with pytest.raises(KeyError, match="STATE"):
        find("STATE")


WIDTHS = dict.fromkeys(CONSTANTS, 16) | {"build_id": 64} | values("r") | values("rw") | values("pulse")


@given(st.fixed_dictionaries({name: st.integers(0, (1 << bits) - 1) for name, bits in WIDTHS.items()}))
def test_values_survive(numbers: dict[str, int]) -> None:
    """All registers at once, and each value alone."""
    words = encode(numbers)
    assert words.keys() == {register.name for register in REGISTERS}
    assert decode(words) == numbers
    for name, number in numbers.items():
        alone = encode({name: number})
        assert list(alone) == registers_of([name])
        assert decode(alone)[name] == number
        assert not any(other for key, other in decode(alone).items() if key != name)


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_a_value_that_is_too_large(name: str) -> None:
    for number in (1 << WIDTHS[name], -1):
        with pytest.raises(ValueError, match=f"{name} cannot be {number}: "):
            encode({name: number})


def test_registers_are_in_the_order_of_the_values() -> None:
    assert registers_of(["last_token", "busy", "cycles", "done"]) == ["LAST_TOKEN", "STATUS", "CYCLES_LO", "CYCLES_HI"]


def test_held_registers_follow_the_one_they_belong_to() -> None:
    addresses = {register.address for register in REGISTERS if register.access == "r"}
    held = [register for register in REGISTERS if register.held]
    assert {register.name for register in held} >= {"CYCLES_HI", "STREAM_BUSY_HI", "LAST_TOKEN"}
    assert all(register.access == "r" and register.address - 4 in addresses for register in held)
