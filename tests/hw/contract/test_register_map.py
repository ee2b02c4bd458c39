"""The register map: consistent with itself, with AxiError and with docs/registers.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.contract.register_map import ADDRESS_BITS, ERROR_SENTENCES, REGISTERS, ErrorCode, find, markdown
from hw.memory.axi import AxiError

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "registers.md"


def test_document_is_current() -> None:
    assert DOCUMENT.read_text() == markdown(), "run python -m hw.contract.register_map"


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
    with pytest.raises(KeyError, match="no register named 'STATE'"):
        find("STATE")
