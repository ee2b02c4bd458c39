"""The Verilated board end against its golden twin, run inside the simulator by test_serial_bridge.py."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from numpy.typing import NDArray

from hw.contract.serial_link_protocol import Command, LinkStatus
from sim.agents.serial_line import SerialLine
from sim.bench import bench_config
from sim.golden.serial_link import GoldenBoard
from sim.memory.top import memory_bytes
from sw.links.frames import Answer, FrameRequest, encode
from tests.hw.serial_link.machine import BAUD, CLOCK_HZ, COUNT, MEMORY_BYTES, REFUSED, SILENT, BoardRegisters

CONFIG = bench_config()
READ_REGISTER, WRITE_REGISTER = Command.READ_REGISTER, Command.WRITE_REGISTER
READ, WRITE, FILL, CHECKSUM = Command.READ_MEMORY, Command.WRITE_MEMORY, Command.FILL_MEMORY, Command.CHECKSUM
HELLO = FrameRequest(Command.HELLO, address=0xC0FFEE42)
SILENCE_S = 100 * 10 / BAUD
"""The board answers within less."""


class Board:
    """The simulated board and the golden one; both get the same bytes."""

    def __init__(self, dut: Any) -> None:
        self.line = SerialLine(dut.rx, dut.tx, BAUD)
        self.golden = GoldenBoard(CONFIG, BoardRegisters(), memory_bytes=MEMORY_BYTES, clock_hz=CLOCK_HZ)
        self.memory: NDArray[np.uint8] = memory_bytes(dut)
        self.memory[:] = 0

    async def exchange(self, line: bytes, *, patience_s: float = SILENCE_S) -> bytes:
        """What the board answers until it says nothing for some time."""
        self.line.send(line)
        while self.line.to_board:
            await Timer(round(1e9 * 20 / BAUD), "ns")
        seen = -1
        while seen != self.line.received_bytes:
            seen = self.line.received_bytes
            await Timer(round(1e9 * patience_s), "ns")
        answer = bytes(byte for _, byte in self.line.received)
        self.line.received.clear()
        return answer

    async def check(self, line: bytes) -> None:
        """Both boards answer the same, and their memories stay equal."""
        expected = self.golden.receive(line)
        answer = await self.exchange(line)
        assert answer == expected, f"{answer.hex()}, not {expected.hex()}"
        assert np.array_equal(self.memory, self.golden.memory)


async def start(dut: Any) -> Board:
    cocotb.start_soon(Clock(dut.aclk, 1_000_000_000 // CLOCK_HZ, "ns").start())
    dut.rx.value = 1
    dut.aresetn.value = 0
    for _ in range(4):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    return Board(dut)


def frames(requests: list[FrameRequest], first: int = 0) -> bytes:
    return b"".join(request.frame((first + n) % 256) for n, request in enumerate(requests))


def random_requests(choice: random.Random, count: int) -> list[FrameRequest]:
    """Of all kinds, with awkward addresses and lengths, that overlap often."""
    found = []
    for _ in range(count):
        length = choice.choice((1, 3, 8, 100, 1024))
        address = choice.choice((0, 1, 7, 4090, 0x1FF8, 0x1001, MEMORY_BYTES - length))
        register = choice.choice((0, 4, 0x3C, COUNT, REFUSED))
        found.append(choice.choice((
            FrameRequest(READ_REGISTER, register), FrameRequest(WRITE_REGISTER, register, payload=choice.randbytes(4)),
            FrameRequest(READ, address, length), FrameRequest(CHECKSUM, address, length),
            FrameRequest(WRITE, address, length, choice.randbytes(length)),
            FrameRequest(FILL, address, length, choice.randbytes(1)),
        )))
    return found


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def equals_golden(dut: Any) -> None:
    """Random requests in batches that fit the buffer, sequence numbers once around."""
    board = await start(dut)
    choice = random.Random(1)
    await board.check(HELLO.frame(77))
    sequence = 0
    while sequence < 280:
        requests = random_requests(choice, 6)
        await board.check(frames(requests, sequence))
        sequence += len(requests)


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def acts_once(dut: Any) -> None:
    """Requests that are sent again: each write has acted once, and the answers are those of the first time."""
    board = await start(dut)
    await board.check(HELLO.frame(0))
    requests = [
        FrameRequest(WRITE_REGISTER, COUNT, payload=b"\x01\0\0\0"),
        FrameRequest(WRITE_REGISTER, REFUSED, payload=bytes(4)),
        FrameRequest(WRITE, 64, 8, b"ABCDEFGH"), FrameRequest(FILL, 66, 2, b"x"), FrameRequest(READ, 60, 20),
        FrameRequest(WRITE, 64, 8, b"ijklmnop"), FrameRequest(READ_REGISTER, COUNT),
        FrameRequest(WRITE, MEMORY_BYTES, 8, bytes(8)),
    ]
    await board.check(frames(requests))
    for again in (requests, requests[3:], requests[::-1]):
        for request in again:
            await board.check(request.frame(requests.index(request)))
    await board.check(FrameRequest(READ_REGISTER, COUNT).frame(len(requests)))
    assert board.golden.registers.count == 1
    assert bytes(board.memory[64:72]) == b"ijklmnop"


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def what_is_lost_is_asked_for_once(dut: Any) -> None:
    """Gaps, damaged frames and noise: one REPEAT for each loss; nothing that is out of order acts."""
    board = await start(dut)
    add = FrameRequest(WRITE_REGISTER, COUNT, payload=b"\x01\0\0\0")
    await board.check(b"\x12\x34\x56\0")  # no session: not even a REPEAT
    await board.check(HELLO.frame(0))
    await board.check(add.frame(1) + add.frame(2) + add.frame(3))
    await board.check(add.frame(0) + add.frame(2) + add.frame(3))
    damaged = bytearray(add.frame(1))
    damaged[5] ^= 0x10
    await board.check(bytes(damaged) + b"\x99\0\x01\0" + add.frame(1))
    await board.check(bytes(damaged))
    await board.check(add.frame(2) + add.frame(3))
    assert board.golden.registers.count == 4


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def bad_requests(dut: Any) -> None:
    """They change nothing, and the next one works."""
    board = await start(dut)
    await board.check(FrameRequest(READ_REGISTER, 0).frame(0))  # no session
    await board.check(HELLO.frame(0))
    bad = [
        encode(bytes([9, 0]) + bytes(10)), encode(bytes([0, 1]) + bytes(10)), FrameRequest(READ, 0, 0).frame(2),
        FrameRequest(READ, 0, 1025).frame(3), FrameRequest(WRITE, 0, 0, b"x").frame(4),
        FrameRequest(WRITE, 0, 1025, b"x" * 1025).frame(5), FrameRequest(FILL, 0, 1025, b"x").frame(6),
        FrameRequest(FILL, 0, 8).frame(7), FrameRequest(CHECKSUM, 0, 0).frame(8),
        FrameRequest(WRITE_REGISTER, 0, payload=b"\xff\xff\xff").frame(9),
        FrameRequest(WRITE, 32, 64, b"y" * 13).frame(10),
    ]
    for frame in bad:
        await board.check(frame)
    await board.check(FrameRequest(READ, 0, 128).frame(11) + FrameRequest(READ_REGISTER, 0).frame(12))


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def outside_of_the_memory(dut: Any) -> None:
    """DECERR for reads, writes, checksums, and the port works afterwards."""
    board = await start(dut)
    await board.check(HELLO.frame(0))
    outside = [FrameRequest(READ, MEMORY_BYTES, 1024), FrameRequest(WRITE, MEMORY_BYTES, 600, bytes(600)),
               FrameRequest(CHECKSUM, MEMORY_BYTES, 9), FrameRequest(WRITE, 0, 100, b"z" * 100),
               FrameRequest(READ, 0, 100)]
    for n, request in enumerate(outside):
        await board.check(request.frame(n))


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def registers_that_do_not_answer(dut: Any) -> None:
    """REGISTER_TIMEOUT, also for the next access; memory goes on."""
    board = await start(dut)
    await board.check(HELLO.frame(0))
    wait_s = 2 * CONFIG.timeout_cycles / CLOCK_HZ
    for n in range(2):
        answer = Answer.of((await board.exchange(FrameRequest(READ_REGISTER, SILENT).frame(n), patience_s=wait_s))[:-1])
        assert answer == Answer(READ_REGISTER.value, n, b"", LinkStatus.REGISTER_TIMEOUT.value)
        board.golden.receive(FrameRequest(READ_REGISTER, 0).frame(n))
    await board.check(FrameRequest(WRITE, 0, 3, b"abc").frame(2) + FrameRequest(READ, 0, 8).frame(3))
