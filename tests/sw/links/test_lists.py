"""Lists of requests on a line that loses and damages frames: order, and each write once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from hw.contract.register_map import find
from sw.image import ModelImage
from sw.links.exchange import MOST_REPETITIONS, LinkError
from tests.sw.links.golden_bench import DRAWN, GREEDY, Bench, golden, small_image
from tests.sw.links.noisy_line import NoisyLine


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ModelImage:
    return small_image(tmp_path_factory.mktemp("image"))


def spoil(line: NoisyLine, at: int, damage: Callable[[bytes], bytes]) -> None:
    """Does that to a frame on its way to the board: to the one with this number from now on."""
    receive, frame, number = line.board.receive, bytearray(), 0

    def spoiled(line: bytes) -> bytes:
        nonlocal number
        if line != b"\0":
            frame.extend(line)
            return b""
        if not frame:
            return b""
        frame.extend(line)
        whole = bytes(frame)
        frame.clear()
        number += 1
        return receive(damage(whole) if number == at + 1 else whole)

    line.board.receive = spoiled


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "lost": lambda frame: b"", "lost end": lambda frame: frame[:-1], "cut": lambda frame: frame[7:],
    "a byte changed": lambda frame: b"\x0f" + frame[1:], "a zero too many": lambda frame: frame[:9] + b"\0" + frame[9:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_start_comes_after_every_register_whatever_is_lost(image: ModelImage, tmp_path: Path, damage: str) -> None:
    """Frame after frame of the first list of a run is damaged. START is executed once, when all registers are written,
    each of them once."""
    job = replace(GREEDY, max_new_tokens=1)
    bench = Bench(image, tmp_path)
    bench.generate(job)
    accesses, receive = bench.written(), bench.line.board.receive
    pairs = [(find(name).address, value) for name, value in accesses]
    for at in range(len(pairs)):
        bench.registers.accesses.clear()
        bench.line.now += 1.0
        spoil(bench.line, at, DAMAGE[damage])
        runs, resent = bench.registers.runs, bench.counters["resent"]
        asyncio.run(bench.bus.write_registers(pairs))
        bench.line.board.receive = receive
        assert bench.registers.accesses == accesses
        assert bench.registers.runs == runs + 1
        assert bench.counters["resent"] > resent
    assert bench.generate(job).tokens == golden(image, job)


@pytest.mark.parametrize("seed", range(4))
def test_drawn_tokens_over_noise(image: ModelImage, tmp_path: Path, seed: int) -> None:
    """The tokens are those of a good line, and every run was started once."""
    bench = Bench(image, tmp_path, seed=seed)
    bench.line.error_rate = 0.0005
    assert bench.generate(DRAWN).tokens == golden(image, DRAWN)
    assert bench.registers.runs == bench.names().count("CONTROL") == DRAWN.max_new_tokens
    assert bench.counters["resent"] > 0
    assert bench.bus.exchange.counters["exchanges"] < 8 * DRAWN.max_new_tokens + 40


def lose_answers(bench: Bench, is_lost: Callable[[int], bool]) -> None:
    """Answers do not arrive where `is_lost` of their number says so; they are counted from 0."""
    receive, numbers = bench.line.board.receive, count()

    def lossy(line: bytes) -> bytes:
        answer = receive(line)
        return b"" if answer and is_lost(next(numbers)) else answer

    bench.line.board.receive = lossy


@pytest.mark.parametrize("lost", range(5))
def test_reads_of_a_list_come_one_after_the_other(image: ModelImage, tmp_path: Path, lost: int) -> None:
    """An answer is lost: its register is read again, and so are those behind it."""
    bench = Bench(image, tmp_path)
    lose_answers(bench, lambda number: number == lost)
    bench.registers.accesses.clear()
    names = ["STATUS", "TOKEN_COUNT", "LAST_TOKEN", "CYCLES_LO", "CYCLES_HI"]
    asyncio.run(bench.bus.read_registers([find(name).address for name in names]))
    executed = [name for name, _ in bench.registers.accesses]
    assert len(executed) > len(names)
    assert executed[-len(names) :] == names


def test_a_list_that_never_comes_whole_is_given_up(image: ModelImage, tmp_path: Path) -> None:
    bench = Bench(image, tmp_path)
    lose_answers(bench, lambda number: number % 3 == 2)
    before = bench.counters["exchanges"]
    for _ in range(2):
        with pytest.raises(LinkError, match="too many errors on the line"):
            asyncio.run(bench.bus.read_registers([find("STATUS").address] * 5))
    assert bench.counters["exchanges"] - before == MOST_REPETITIONS
