"""Bench of the faults of the simulated memory, run inside the simulator by test_axi_memory.py."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from sim.memory.faults import FaultKind, memory_fault
from sim.memory.top import memory_bytes
from tests.sim.memory.protocol_bench import BYTES, REQUEST, offer, prepare

CLOCKS = 400
"""Longer than any answer takes."""
OKAY, SLVERR, DECERR = 0, 2, 3


class Answers:
    """Everything that comes on R and B: `reads` (id, data, response, last), `writes` (id, response)."""

    def __init__(self, dut) -> None:
        self.reads, self.writes, self._dut = [], [], dut
        dut.s_axi_rready.value = dut.s_axi_bready.value = 1
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut = self._dut
        while True:
            await RisingEdge(dut.aclk)
            if int(dut.s_axi_rvalid.value):
                self.reads.append(tuple(int(getattr(dut, f"s_axi_r{pin}").value)
                                        for pin in ("id", "data", "resp", "last")))
            if int(dut.s_axi_bvalid.value):
                self.writes.append((int(dut.s_axi_bid.value), int(dut.s_axi_bresp.value)))


async def clocks(dut, count: int = CLOCKS) -> None:
    for _ in range(count):
        await RisingEdge(dut.aclk)


def burst(first: int, beats: int = 3, identity: int = 0, response: int = OKAY) -> list[tuple[int, int, int, int]]:
    """Answers to a read of words that hold their own number."""
    return [(identity, first + n, response, n == beats - 1) for n in range(beats)]


READS = {
    FaultKind.SLVERR: burst(4, response=SLVERR),
    FaultKind.DECERR: burst(4, response=DECERR),
    FaultKind.EARLY_LAST: [(0, 4, OKAY, 1)],
    FaultKind.LATE_LAST: [(0, 4, OKAY, 0), (0, 5, OKAY, 0), (0, 6, OKAY, 0), (0, 6, OKAY, 1)],
    FaultKind.NO_ANSWER: [],
    FaultKind.WRONG_ID: burst(4, identity=1),
    FaultKind.TWICE: burst(4) * 2,
}
WRITES = {
    FaultKind.SLVERR: ([(0, SLVERR)], False),
    FaultKind.DECERR: ([(0, DECERR)], False),
    FaultKind.NO_ANSWER: ([], False),
    FaultKind.WRONG_ID: ([(1, OKAY)], True),
    FaultKind.TWICE: ([(0, OKAY)] * 2, True),
}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(kind=list(READS))
async def reads(dut, kind: FaultKind) -> None:
    """Of four bursts the one that the fault names is spoiled; a mended port answers what it still owes."""
    await prepare(dut)
    memory, fault, answers = memory_bytes(dut), memory_fault(dut), Answers(dut)
    memory[:] = np.arange(memory.size // BYTES, dtype=f"<u{BYTES}").view(np.uint8)
    fault.inject(kind, first=6 * BYTES, end=7 * BYTES, skip=1)
    for first in (4, 0, 4, 4):
        await offer(dut, "ar", **REQUEST | {"addr": first * BYTES, "len": 2})
    await clocks(dut)
    assert fault.spoiled == 1
    owed = [] if kind is FaultKind.NO_ANSWER else burst(4)  # of one id, so it waits behind the silent one
    assert answers.reads == [*burst(4), *burst(0), *READS[kind], *owed]
    fault.mend()
    await clocks(dut)
    await offer(dut, "ar", **REQUEST | {"addr": 4 * BYTES, "len": 2})
    await clocks(dut)
    late = burst(4) * 2 if kind is FaultKind.NO_ANSWER else []
    assert answers.reads == [*burst(4), *burst(0), *READS[kind], *owed, *late, *burst(4)]
    assert not answers.writes


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(kind=list(WRITES))
async def writes(dut, kind: FaultKind) -> None:
    """Likewise, and an error leaves the memory as it was."""
    await prepare(dut)
    memory, fault, answers = memory_bytes(dut), memory_fault(dut), Answers(dut)
    memory[: 8 * BYTES] = 0
    fault.inject(kind, writes=True, first=BYTES, end=2 * BYTES)
    expected, effect = WRITES[kind]
    await offer(dut, "ar", **REQUEST | {"addr": BYTES})
    for word in (0, 1):
        await offer(dut, "aw", **REQUEST | {"addr": word * BYTES})
        await offer(dut, "w", data=7 + word, strb=(1 << BYTES) - 1, last=1)
        await clocks(dut)
    assert fault.spoiled == 1
    assert answers.writes == [(0, OKAY), *expected]
    assert (memory[0], memory[BYTES]) == (7, 8 if effect else 0)
    assert len(answers.reads) == 1
    fault.mend()
    await clocks(dut)
    assert answers.writes == [(0, OKAY), *(expected or [(0, OKAY)])]
    assert memory[BYTES] == (8 if effect or kind is FaultKind.NO_ANSWER else 0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(channel=["ar", "aw"])
async def deaf(dut, channel: str) -> None:
    """The other half of the port goes on, what was taken before is answered, and after mending all is."""
    await prepare(dut)
    fault, answers = memory_fault(dut), Answers(dut)
    write = channel == "aw"
    memory_bytes(dut)[:] = 0
    fault.inject(FaultKind.DEAF, writes=write, skip=1)
    request = REQUEST | {"addr": 0}
    for _ in range(2):
        if write:  # data may come before its address
            await offer(dut, "w", data=1, strb=1, last=1)
        await offer(dut, channel, **request)
    await clocks(dut, 2)
    waiting = cocotb.start_soon(offer(dut, channel, **request))
    await clocks(dut)
    assert not waiting.done()
    if write:
        assert not int(dut.s_axi_wready.value)
    await offer(dut, "ar" if write else "aw", **REQUEST | {"addr": 0})
    mine, other = (answers.writes, answers.reads) if write else (answers.reads, answers.writes)
    if not write:
        await offer(dut, "w", data=1, strb=1, last=1)
    await clocks(dut)
    assert (len(mine), len(other)) == (1, 1)
    fault.mend()
    await waiting
    if write:
        await offer(dut, "w", data=1, strb=1, last=1)
    await clocks(dut)
    assert len(mine) == 3
