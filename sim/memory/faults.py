"""Faults of the simulated memory. This file lets a bench break a port at run time and mend it again.

No clock passes: the bench writes into the `Fault` of the port in this process (axi_memory.cpp).
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

__all__ = ["FaultKind", "MemoryFault", "memory_fault"]

EVERYWHERE = (1 << 64) - 1


class FaultKind(enum.IntEnum):
    """What a port does with a burst that it spoils; NO_ANSWER and DEAF last until the fault is mended."""

    NONE = 0
    SLVERR = 1  # a spoiled write has no effect
    DECERR = 2  # likewise
    EARLY_LAST = 3  # RLAST with the first beat; bursts of one beat are left alone
    LATE_LAST = 4  # one beat more than asked for
    NO_ANSWER = 5  # other bursts are answered
    DEAF = 6  # and from then on neither addresses nor write data are taken
    WRONG_ID = 7  # the lowest bit of the id is inverted
    TWICE = 8  # answered a second time


class MemoryFault(ctypes.Structure):
    """The fault of one port. A burst of the channel that reaches into [first, end) is spoiled when its address is
    taken, once `skip` such bursts have passed, until `count` were; `spoiled` says how many have been."""

    _fields_ = [
        ("kind", ctypes.c_uint32), ("writes", ctypes.c_uint32), ("first", ctypes.c_uint64), ("end", ctypes.c_uint64),
        ("skip", ctypes.c_uint64), ("count", ctypes.c_uint64), ("spoiled", ctypes.c_uint64),
    ]

    def inject(
        self, kind: FaultKind, *, writes: bool = False, first: int = 0, end: int = EVERYWHERE, skip: int = 0,
        count: int = 1,
    ) -> None:
        """From now on the port is faulty."""
        self.kind, self.writes, self.first, self.end = kind.value, writes, first, end
        self.skip, self.count, self.spoiled = skip, count, 0

    def mend(self) -> None:
        """From now on bursts are answered as they should be, those that wait for an answer too; others that were
        spoiled already stay so."""
        self.kind = FaultKind.NONE.value


def memory_fault(dut: Any, port: int = 0) -> MemoryFault:
    """Inside the simulator: the fault of a port, at first NONE. Raises RuntimeError before the first trigger of a test,
    as `memory_bytes` does."""
    address = int(getattr(dut, f"m_axi_{port}_fault").value)
    if not address:
        raise RuntimeError("the memory is created in the first simulation step: await a trigger first")
    return MemoryFault.from_address(address)
