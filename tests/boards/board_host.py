"""The host of the simulated board, run inside the simulator by whole_board.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import Timer, with_timeout
from numpy.typing import NDArray

from hw.contract.serial_link_protocol import IDENTITY, PAYLOAD_BYTES, Command, LinkStatus
from sim.agents.serial_line import SerialLine
from sim.bench import bench_config, bench_parameters
from sw.image import ModelImage
from sw.job import JobResult, execute
from sw.links.frames import Answer, FrameRequest
from sw.registers import Machine
from sw.requests import request_from

PARAMETERS = bench_parameters()
OVERWRITTEN_BYTES = 16
"""At each of the addresses `overwritten`, by the board's own test of its memory."""


class LineBus:
    """The machine behind the line, one request after the other."""

    def __init__(self, dut) -> None:
        self.line = SerialLine(dut.rx, dut.tx, PARAMETERS["baud"])
        self.sequence = 0

    async def ask(self, request: FrameRequest, status: LinkStatus = LinkStatus.OK) -> bytes:
        """Data of the answer, which has that status."""
        self.line.send(request.frame(self.sequence))
        frame = bytearray()
        while not frame.endswith(b"\0"):
            while not self.line.received:
                self.line.arrived.clear()
                await with_timeout(self.line.arrived.wait(), 20, "ms")
            frame.append(self.line.received.popleft()[1])
        answer = Answer.of(bytes(frame[:-1]))
        assert answer is not None
        assert (answer.command, answer.sequence) == (request.command.value, self.sequence)
        assert answer.status == status.value
        if request.command != Command.HELLO:
            self.sequence = (self.sequence + 1) % 256
        return answer.data

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        return [int.from_bytes(await self.ask(FrameRequest(Command.READ_REGISTER, address)), "little")
                for address in addresses]

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        for address, value in pairs:
            await self.ask(FrameRequest(Command.WRITE_REGISTER, address, payload=value.to_bytes(4, "little")))

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        data = b""
        while len(data) < size:
            length = min(PAYLOAD_BYTES, size - len(data))
            data += await self.ask(FrameRequest(Command.READ_MEMORY, address + len(data), length))
        return np.frombuffer(data, np.uint8)

    async def write_memory(self, address: int, content: bytes) -> None:
        for start in range(0, len(content), PAYLOAD_BYTES):
            part = content[start : start + PAYLOAD_BYTES]
            await self.ask(FrameRequest(Command.WRITE_MEMORY, address + start, len(part), part))

    async def pause(self, clocks: int) -> None:
        await Timer(100, "us")


async def identify(bus: LineBus) -> None:
    """The first request to a board; what it says of itself."""
    identity = IDENTITY.from_bits(int.from_bytes(await bus.ask(FrameRequest(Command.HELLO, 12345)), "little"))
    bus.sequence = 0
    assert (identity.nonce, identity.build_id) == (12345, bench_config().build_id)
    assert (identity.clock_hz, identity.memory_bytes) == (PARAMETERS["clock_hz"], PARAMETERS["memory_bytes"])


@cocotb.test(timeout_time=2, timeout_unit="sec")
async def runs_a_model(dut) -> None:
    """Identity; the image as the memory holds it; then a whole job of the driver, over the line."""
    config = bench_config()
    bus = LineBus(dut)
    while not int(dut.ready.value):
        await Timer(10, "us")
    await identify(bus)
    image = ModelImage.open(Path(PARAMETERS["image"]), config)
    for address in PARAMETERS["overwritten"]:
        await bus.write_memory(address, bytes(image.memory[address : address + OVERWRITTEN_BYTES]))
    np.testing.assert_array_equal(await bus.read_memory(0, 64), np.frombuffer(bytes(image.memory[:64]), np.uint8))
    job, result = request_from(PARAMETERS["job"]), JobResult()
    tokens = [token async for token in execute(Machine(bus), image.plan, job, result)]
    Path(PARAMETERS["result"]).write_text(json.dumps({
        "tokens": tokens, "cycles": result.cycles, "logits": [row.tolist() for row in result.logits]}))


@cocotb.test(timeout_time=2, timeout_unit="sec")
async def refuses(dut) -> None:
    """A board whose memory does not work says so, to every access; its registers and its line work."""
    bus = LineBus(dut)
    await identify(bus)
    for address in (0, 4096):
        await bus.ask(FrameRequest(Command.READ_MEMORY, address, 100), LinkStatus.READ_SLVERR)
        await bus.ask(FrameRequest(Command.WRITE_MEMORY, address, 9, b"123456789"), LinkStatus.WRITE_SLVERR)
    await bus.read_registers([0])
    assert not int(dut.ready.value)
