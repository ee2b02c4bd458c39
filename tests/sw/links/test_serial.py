"""The host's end of the serial link on a golden board behind a line that does what it likes."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.contract.config import PRESETS
from hw.contract.register_map import ID_MAGIC, ID_VERSION, find
from hw.contract.serial_link_protocol import BUFFER_BYTES, PROTOCOL_VERSION, Command, LinkStatus
from sim.golden.serial_link import GoldenBoard
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links import serial as serial_module
from sw.links.exchange import PATIENCE_S, LinkError
from sw.links.frames import FrameRequest
from sw.links.machine import PIECE_BYTES, MachineLink
from sw.links.serial import SerialBus, connect
from sw.pack import pack
from sw.requests import Job
from tests.sw.links.noisy_line import BAUD, NoisyLine

DEMO = Path(__file__).parents[3] / "models" / "shakespeare-nano"
CONFIG = PRESETS["tiny"]
MEMORY_BYTES = 1 << 20
COUNT, REFUSED = 0x800, 0x804
"""Registers of the test: every write adds to COUNT; REFUSED answers with an error."""
MOST_S = 10.0
"""Line time in which every error must be told."""


class Registers:
    """Those of an accelerator that starts and never ends."""

    def __init__(self, build_id: int = CONFIG.build_id) -> None:
        self.count = 0
        self.values = {
            find("ID").address: ID_MAGIC << 16 | ID_VERSION, find("BUILD_ID_LO").address: build_id & 0xFFFFFFFF,
            find("BUILD_ID_HI").address: build_id >> 32,
        }

    def read(self, address: int) -> int | LinkStatus:
        if address == REFUSED:
            return LinkStatus.REGISTER_ERROR
        if address == find("STREAM_BUSY_LO").address:
            self.count += 1
            return self.count
        return self.count if address == COUNT else self.values.get(address, 0)

    def write(self, address: int, value: int) -> LinkStatus:
        if address == COUNT:
            self.count += value
        elif address == find("CONTROL").address:
            self.values[find("STATUS").address] = value & 1
        else:
            self.values[address] = value
        return LinkStatus.OK


def board(version: int = PROTOCOL_VERSION, build_id: int = CONFIG.build_id) -> GoldenBoard:
    found = GoldenBoard(CONFIG, Registers(build_id), memory_bytes=MEMORY_BYTES, clock_hz=50_000_000, version=version)
    found.memory[:] = np.random.default_rng(7).integers(0, 256, MEMORY_BYTES)
    return found


def bus_on(line: NoisyLine) -> SerialBus:
    return SerialBus(line, BAUD, line.clock)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ModelImage:
    folder = tmp_path_factory.mktemp("image")
    checkpoint = write_random_checkpoint(folder / "c", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1,
                                         vocab=33, positions=32, seed=1)
    pack(Checkpoint.open(checkpoint), folder / "i", CONFIG)
    return ModelImage.open(folder / "i", CONFIG)


# ---- a line that is fine


@pytest.mark.parametrize("latency_s", [0.0, 0.001, 0.016])
def test_bandwidth(latency_s: float) -> None:
    """At least 90 % of what the line can carry, both ways, also behind a chip that keeps answers for 16 ms."""
    line = NoisyLine(board(), latency_s=latency_s)
    bus = bus_on(line)
    content = np.random.default_rng(1).integers(0, 256, 96 << 10, dtype=np.uint8)
    started = line.now
    asyncio.run(bus.write_memory(0x1234, content.tobytes()))
    written = line.now
    found = asyncio.run(bus.read_memory(0x1234, len(content)))
    read = line.now
    assert np.array_equal(found, content)
    ideal = len(content) * 10 / BAUD
    print(f"\n{latency_s} s: write {ideal / (written - started):.3f}, read {ideal / (read - written):.3f} of raw")
    assert ideal / (written - started) > 0.9
    assert ideal / (read - written) > 0.9
    assert bus.exchange.counters["resent"] == bus.exchange.counters["damaged"] == 0


def test_registers_and_checksums() -> None:
    line = NoisyLine(board())
    bus = bus_on(line)

    async def play() -> None:
        await bus.write_registers([(0x20, 0xDEADBEEF)])
        assert await bus.read_registers([0x20]) == [0xDEADBEEF]
        with pytest.raises(HardwareError, match="READ_REGISTER at 0x804 failed: the register returned an error: load"):
            await bus.read_registers([0x20, REFUSED, 0x20])
        await bus.write_memory(3, bytes(5000) + b"x")
        assert not line.board.memory[3:5003].any()
        assert line.board.memory[5003] == ord("x")

    asyncio.run(play())
    checksums = asyncio.run(bus.checksums(5, 3 * PIECE_BYTES + 1))
    assert len(checksums) == 4
    before = line.bytes_to_board
    asyncio.run(bus.write_memory(0, bytes(1 << 16)))
    assert line.bytes_to_board - before < 3000, "zeros went over the line"


def test_scrub_lets_the_board_compute(image: ModelImage) -> None:
    """Where nothing is wrong no memory goes over the line; where a bit is, a piece does, and it is told."""
    line = NoisyLine(board())
    bus = bus_on(line)
    link = MachineLink(image, bus)
    link.load()
    received = bus.exchange.counters
    before = received["received_bytes"]
    link.scrub(lambda done, total: None)
    assert received["received_bytes"] - before < len(image.memory) // 100
    at = image.plan.regions["head"].offset + 5
    line.board.memory[at] ^= 16
    with pytest.raises(HardwareError, match=rf"region head of the image is damaged .*byte 5 of it, at {at:#x}, is"):
        link.scrub(lambda done, total: None)
    assert received["received_bytes"] - before < 2 * PIECE_BYTES


@pytest.mark.parametrize("address", [MEMORY_BYTES - 3, -1, 1 << 50])
def test_memory_that_the_board_does_not_have(address: int) -> None:
    line = NoisyLine(board())
    bus, sent = bus_on(line), line.bytes_to_board
    for access in (bus.read_memory(address, 4), bus.write_memory(address, b"abcd"), bus.checksums(address, 4)):
        with pytest.raises(HardwareError, match="are outside of the board's memory of 1048576 bytes: use a"):
            asyncio.run(access)
    assert line.bytes_to_board == sent


# ---- noise


def test_no_more_in_flight_than_the_board_has_room_for() -> None:
    """Without an answer, no more than a buffer full is sent; most of it is used."""
    line = NoisyLine(board())
    bus = bus_on(line)
    line.muted, before, content = True, line.bytes_to_board, np.random.default_rng(1).bytes(50_000)
    counts = []
    line.on_byte = lambda number: counts.append((line.now, number - before))
    started = line.now
    with pytest.raises(LinkError):
        asyncio.run(bus.write_memory(0, content))
    first = max(count for time, count in counts if time < started + PATIENCE_S)
    assert BUFFER_BYTES * 0.85 < first < BUFFER_BYTES * 1.01


@pytest.mark.parametrize("lost", [0, 3, 19])
def test_a_lost_answer_is_asked_for_at_once(lost: int) -> None:
    """Without a time-out, as soon as a later one comes, and alone; but for the last one."""
    line = NoisyLine(board())
    bus = bus_on(line)
    receive, answers = line.board.receive, []

    def lossy(line: bytes) -> bytes:
        answer = receive(line)
        if answer:
            answers.append(answer)
        return b"" if answer and len(answers) == lost + 1 else answer

    line.board.receive = lossy
    content = line.board.memory[: 20 << 10].copy()
    assert np.array_equal(asyncio.run(bus.read_memory(0, len(content))), content)
    assert bus.exchange.counters["resent"] == 1
    assert bus.exchange.counters["timeouts"] == (lost == 19)


@pytest.mark.parametrize("seed", range(8))
def test_noise(seed: int) -> None:
    """Random accesses over a bad line: each ends as on a good one, every write acts once."""
    choice = random.Random(seed)
    line = NoisyLine(board(), error_rate=0.0, seed=seed, latency_s=choice.choice((0.0, 0.001, 0.016)))
    bus = bus_on(line)
    line.error_rate = choice.choice((0.0002, 0.0005))
    expected, count = line.board.memory.copy(), 0

    async def play() -> None:
        nonlocal count
        for _ in range(12):
            address, size = choice.randrange(MEMORY_BYTES - 20000), choice.choice((1, 7, 1500, 9000))
            match choice.randrange(4):
                case 0:
                    content = choice.randbytes(size)
                    await bus.write_memory(address, content)
                    expected[address : address + size] = np.frombuffer(content, dtype=np.uint8)
                case 1:
                    assert np.array_equal(await bus.read_memory(address, size), expected[address : address + size])
                case 2:
                    count += 1
                    await bus.write_registers([(COUNT, 1)])
                    assert await bus.read_registers([COUNT]) == [count]
                case 3:
                    await bus.checksums(address, size)

    asyncio.run(play())
    assert np.array_equal(line.board.memory, expected)
    assert line.board.registers.count == count
    assert bus.exchange.counters["resent"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_hopeless_noise_is_told(seed: int) -> None:
    """One byte in 20 is damaged. The link is given up; what was written until then is what was asked for."""
    line = NoisyLine(board(), seed=seed)
    bus = bus_on(line)
    before = line.board.memory.copy()
    content = np.random.default_rng(seed).integers(0, 256, 50_000, dtype=np.uint8)
    line.error_rate, started = 0.05, line.now
    for _ in range(2):
        with pytest.raises(LinkError, match=r"too many errors on the line|the board no longer answers"):
            asyncio.run(bus.write_memory(0, content.tobytes()))
        assert line.now - started < MOST_S
    memory = line.board.memory
    blocks = range(0, len(content), 1024)
    for at in blocks:
        block = slice(at, min(at + 1024, len(content)))
        assert np.array_equal(memory[block], content[block]) or np.array_equal(memory[block], before[block])
    assert np.array_equal(memory[len(content) :], before[len(content) :])


@pytest.mark.parametrize("seed", range(2))
def test_load_over_noise(seed: int, image: ModelImage) -> None:
    line = NoisyLine(board(), seed=seed)
    bus = bus_on(line)
    line.error_rate = 0.0005
    steps: list[tuple[int, int]] = []
    MachineLink(image, bus).load(lambda done, total: steps.append((done, total)))
    assert np.array_equal(line.board.memory[: len(image.memory)], image.memory)
    assert steps[-1] == (len(image.memory), len(image.memory))


def test_what_is_there_is_not_loaded_again(image: ModelImage) -> None:
    """Only the piece that differs goes over the line."""
    line = NoisyLine(board())
    link = MachineLink(image, bus_on(line))
    link.load()
    size = len(image.memory)
    assert size > PIECE_BYTES + 1000
    before = line.bytes_to_board
    link.load()
    assert line.bytes_to_board - before < 1000
    line.board.memory[5] ^= 4
    before = line.bytes_to_board
    link.load()
    assert 1000 < line.bytes_to_board - before < PIECE_BYTES * 1.05 + 1000
    assert np.array_equal(line.board.memory[:size], image.memory)


def test_memory_that_forgets_is_named(image: ModelImage) -> None:
    """A byte goes wrong while the rest is loaded."""
    line = NoisyLine(board())
    bus = bus_on(line)

    def flip(number: int) -> None:
        line.board.memory[70] = image.memory[70] ^ 1

    line.on_byte = flip
    with pytest.raises(HardwareError, match="the memory does not keep the image: the byte at 0x46 differs"):
        MachineLink(image, bus).load()


# ---- boards that go wrong


def pulled(line: NoisyLine) -> None:
    line.pulled = True


def reset(line: NoisyLine) -> None:
    line.board.reset()
    line.board.memory[:] = 0


def stuck(line: NoisyLine) -> None:
    line.muted = True


def babbling(line: NoisyLine) -> None:
    line.muted = line.babbles = True


ACCIDENTS = {
    pulled: "the serial port disappeared", reset: "the board was reset",
    stuck: "the board no longer answers", babbling: "the board no longer answers",
}


def after(line: NoisyLine, count: int, accident: Callable[[NoisyLine], None]) -> None:
    """The accident comes with a byte."""
    number = line.bytes_to_board + count

    def check(at: int) -> None:
        if at == number:
            accident(line)

    line.on_byte = check


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda accident: accident.__name__)
@pytest.mark.parametrize("at", [1, 700, 20_000])
def test_accidents_while_loading(accident: Callable[[NoisyLine], None], at: int, image: ModelImage) -> None:
    """Told within a time-out, again and again, and a new connection loads what is missing."""
    line = NoisyLine(board())
    bus = bus_on(line)
    after(line, at, accident)
    started = line.now
    for _ in range(2):
        with pytest.raises(LinkError, match=ACCIDENTS[accident]):
            MachineLink(image, bus).load()
    assert line.now - started < MOST_S
    again = NoisyLine(line.board)
    MachineLink(image, bus_on(again)).load()
    assert np.array_equal(line.board.memory[: len(image.memory)], image.memory)


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda accident: accident.__name__)
def test_accidents_while_running(accident: Callable[[NoisyLine], None], image: ModelImage) -> None:
    line = NoisyLine(board())
    link = MachineLink(image, bus_on(line))
    link.load()
    after(line, 5000, accident)
    started = line.now
    with pytest.raises(LinkError, match=ACCIDENTS[accident]):
        list(link.run(Job(prompt=(1, 2), max_new_tokens=4, chunk=1)))
    assert line.now - started < MOST_S
    link.close()
    assert line.closed


@pytest.mark.parametrize("accident", [stuck, babbling])
def test_no_board(accident: Callable[[NoisyLine], None]) -> None:
    line = NoisyLine(board())
    accident(line)
    with pytest.raises(LinkError, match="no board answers: switch it on and load its bitstream"):
        bus_on(line)
    assert line.now < MOST_S


def test_another_version() -> None:
    sentence = f"uses version 9 of the link protocol, this program version {PROTOCOL_VERSION}: load a bitstream"
    with pytest.raises(LinkError, match=sentence):
        bus_on(NoisyLine(board(version=9)))


def test_another_build(image: ModelImage) -> None:
    line = NoisyLine(board(build_id=5))
    before = line.board.memory.copy()
    with pytest.raises(HardwareError, match="the accelerator is build 0000000000000005, preset tiny is"):
        MachineLink(image, bus_on(line)).load()
    assert np.array_equal(line.board.memory, before)


def test_an_older_session() -> None:
    """Requests and answers of a program that was killed do no harm."""
    line = NoisyLine(board(), latency_s=0.05)
    bus_on(line)
    line.write(b"".join(FrameRequest(Command.READ_MEMORY, 0, 1024).frame(n) for n in range(5)))
    line.write(FrameRequest(Command.WRITE_MEMORY, 0, 9, b"old words").frame(5)[:-9])  # killed in the middle
    bus = bus_on(line)
    asyncio.run(bus.write_memory(0, b"new"))
    assert bytes(asyncio.run(bus.read_memory(0, 3))) == bytes(line.board.memory[:3]) == b"new"


def test_an_interrupted_request_is_ended_first() -> None:
    """Interrupted while answers are due: the next request is not mixed up with them."""
    line = NoisyLine(board())
    bus = bus_on(line)
    receive = bus.exchange._receive

    def interrupt() -> Any:
        bus.exchange._receive = receive
        raise KeyboardInterrupt

    bus.exchange._receive = interrupt
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(bus.write_memory(0, b"a" * 1000 + b"b" * 9000))
    assert bytes(asyncio.run(bus.read_memory(998, 4))) == b"aabb"
    assert asyncio.run(bus.read_registers([0x20])) == [0]


# ---- pyserial


class PtyBoard:
    """A board behind a pseudo terminal, in a thread."""

    def __init__(self, found: GoldenBoard) -> None:
        self.board = found
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.name = os.ttyname(self.slave)
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def _play(self) -> None:
        while True:
            try:
                content = os.read(self.master, 4096)
                if not content:
                    return
                os.write(self.master, self.board.receive(content))
            except OSError:
                return

    def unplug(self) -> None:
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def pty_board() -> Iterator[PtyBoard]:
    found = PtyBoard(board())
    yield found
    for descriptor in (found.slave, found.master):
        with suppress(OSError):
            os.close(descriptor)


def test_pyserial(pty_board: PtyBoard, image: ModelImage) -> None:
    bus = connect(pty_board.name)
    link = MachineLink(image, bus)
    link.load()
    assert np.array_equal(pty_board.board.memory[: len(image.memory)], image.memory)
    with pytest.raises(LinkError) as caught:
        connect(pty_board.name)
    assert str(caught.value) == (
        f"cannot open the serial port {pty_board.name}: another program uses it; close that program")
    link.close()
    connect(pty_board.name).close()


def test_pyserial_unplugged(pty_board: PtyBoard) -> None:
    bus = connect(pty_board.name)
    threading.Timer(0.3, pty_board.unplug).start()
    started = time.monotonic()

    async def read_on() -> None:
        while True:
            await bus.read_memory(0, 4096)

    with pytest.raises(LinkError, match=r"the serial port disappeared|the board no longer answers"):
        asyncio.run(read_on())
    assert time.monotonic() - started < 10
    bus.close()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(DEMO), "--prompt", "A", "--port", str(tmp_path / "none")]
    assert main([*arguments, "--backend", "serial"]) == 3
    assert capsys.readouterr().err == (
        f"error: cannot open the serial port {tmp_path / 'none'}: the device does not exist; check its name, and that "
        "the board is plugged in\n")
    assert main([*arguments, "--backend", "golden"]) == 2
    assert "--port applies to --backend serial, not to golden" in capsys.readouterr().err


def test_ports(pty_board: PtyBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`auto` asks every port that looks like a board's; the first that answers is taken."""
    (tmp_path / "file").touch()
    with pytest.raises(LinkError, match=r"cannot open the serial port .*: it is not a serial port; name the board's "
                                        r"serial port$"):
        connect(str(tmp_path / "file"))
    monkeypatch.setattr(serial_module, "_ports", lambda: [])
    with pytest.raises(LinkError, match=r"found no serial port of a board \(FT231X \(ULX3S\)"):
        connect()
    monkeypatch.setattr(serial_module, "_ports", lambda: [pty_board.name])
    connect().close()
