"""Bench of MemoryTest on memories that are broken in one way each, run inside the simulator by test_memory_guard.py."""

from __future__ import annotations

from collections.abc import Callable

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from sim.bench import bench_parameters

PARAMETERS = bench_parameters()
ADDRESS_BITS, WORD_BYTES = PARAMETERS["address_bits"], PARAMETERS["data_bits"] // 8
FIRST_BIT = WORD_BYTES.bit_length() - 1
MOST_CLOCKS = (1 << 16) + 100


def swapped(value: int, a: int, b: int) -> int:
    """The number with two of its bits exchanged."""
    differ = (value >> a ^ value >> b) & 1
    return value ^ (differ << a | differ << b)


class Memory:
    """A slave of single words that answers at once, but for its fault.

    Attributes:
        address, strobes, data: what becomes of an address, of strobes, of a word that is read.
        silent: the channel that does not get on. resp: by channel.
    """

    def __init__(self, **faults: object) -> None:
        self.address: Callable[[int], int] = lambda address: address
        self.strobes: Callable[[int], int] = lambda strobes: strobes
        self.data: Callable[[int], int] = lambda data: data
        self.silent, self.resp = "", {"r": 0, "b": 0}
        self.words: dict[int, bytearray] = {}
        self.__dict__.update(faults)


async def passes(dut, memory: Memory) -> bool:
    """A reset and a whole test; what it says."""
    dut.rst.value, dut.start.value = 1, 0
    ready = {channel: int(channel != memory.silent) for channel in ("aw", "w", "ar")}
    for channel, value in ready.items():
        getattr(dut, f"memory__{channel}ready").value = value
    dut.memory__bvalid.value = dut.memory__rvalid.value = 0
    dut.memory__rresp.value, dut.memory__bresp.value = memory.resp["r"], memory.resp["b"]
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value, dut.start.value = 0, 1
    address = 0
    for _ in range(MOST_CLOCKS):
        await RisingEdge(dut.clk)
        if int(dut.passed.value) or int(dut.failed.value):
            assert int(dut.passed.value) != int(dut.failed.value)
            return bool(int(dut.passed.value))
        dut.memory__bvalid.value = dut.memory__rvalid.value = 0
        if int(dut.memory__awvalid.value) and ready["aw"]:
            address = memory.address(int(dut.memory__awaddr.value))
        if int(dut.memory__wvalid.value) and ready["w"]:
            strobes, data = memory.strobes(int(dut.memory__wstrb.value)), int(dut.memory__wdata.value)
            word = memory.words.setdefault(address, bytearray(WORD_BYTES))
            for n in range(WORD_BYTES):
                if strobes >> n & 1:
                    word[n] = data >> 8 * n & 0xFF
            dut.memory__bvalid.value = int(memory.silent != "b")
        if int(dut.memory__arvalid.value) and ready["ar"]:
            word = memory.words.get(memory.address(int(dut.memory__araddr.value)), bytes(WORD_BYTES))
            dut.memory__rdata.value = memory.data(int.from_bytes(word, "little"))
            dut.memory__rvalid.value = int(memory.silent != "r")
    raise AssertionError("the test does not end")


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def finds_what_is_broken(dut) -> None:
    """A good memory passes; address lines stuck or swapped, masks, data lines, errors and silence do not."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for _ in range(2):
        assert await passes(dut, Memory())
    for bit in range(FIRST_BIT, ADDRESS_BITS):
        for fault in (lambda a, bit=bit: a & ~(1 << bit), lambda a, bit=bit: a | 1 << bit):
            assert not await passes(dut, Memory(address=fault)), bit
    # Two lines that are only exchanged make another order of the same words, and do no harm.
    assert await passes(dut, Memory(address=lambda a: swapped(a, FIRST_BIT, ADDRESS_BITS - 1)))
    for bit in range(FIRST_BIT, ADDRESS_BITS - 1):
        joined = 3 << bit
        assert not await passes(dut, Memory(address=lambda a, joined=joined: a | joined if a & joined else a)), bit
    both = sum(1 << n for n in range(0, WORD_BYTES, 2))
    for fault in (lambda s: (1 << WORD_BYTES) - 1, lambda s: (s & both) << 1 | s >> 1 & both, lambda s: s & both,
                  lambda s: s & ~both):
        assert not await passes(dut, Memory(strobes=fault))
    for bit in range(0, 8 * WORD_BYTES, 7):
        for fault in (lambda d, bit=bit: d & ~(1 << bit), lambda d, bit=bit: d | 1 << bit):
            assert not await passes(dut, Memory(data=fault)), bit
    for channel in ("r", "b"):
        assert not await passes(dut, Memory(resp={"r": 0, "b": 0} | {channel: 2}))
    for channel in ("aw", "w", "b", "ar", "r"):
        assert not await passes(dut, Memory(silent=channel))
