"""How often the host waits for answers of a board on a serial line, and when it writes which registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw.contract.register_map import find
from hw.contract.serial_link_protocol import LinkStatus
from hw.contract.shortlist import SHORTLIST
from sim.links.golden import GoldenLink
from sw.driver import Driver
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.exchange import LinkError
from sw.links.machine import MachineLink
from sw.links.serial import SerialBus
from sw.sampling import Sampling
from tests.sw.links.golden_bench import DRAWN, GREEDY, ROWS, WRITABLE, Bench, golden, small_image
from tests.sw.links.noisy_line import BAUD
from tests.words import START


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ModelImage:
    return small_image(tmp_path_factory.mktemp("image"))


@pytest.mark.parametrize("latency_s", [0.001, 0.016])
@pytest.mark.parametrize("token_s", [0.0002, 0.002, 0.05])
def test_a_drawn_token_costs_six_exchanges_at_most(
    image: ModelImage, tmp_path: Path, token_s: float, latency_s: float, record_property: Callable[[str, object], None]
) -> None:
    """From the third on; with what the line carries in between it takes little more time than computing it."""
    bench, seen = Bench(image, tmp_path, token_s, latency_s), []
    result = bench.generate(DRAWN, lambda token: seen.append((bench.counters["exchanges"], bench.line.now)))
    assert result.tokens == golden(image, DRAWN)
    (first, began), *_, (last, ended) = seen[2:]
    record_property("exchanges", round((last - first) / (len(seen) - 3), 2))
    record_property("ms", round((ended - began) / (len(seen) - 3) * 1e3, 1))
    exchanges = np.diff([count for count, _ in seen])[2:]
    assert max(exchanges) <= 6
    lines = 6 * latency_s + 0.006
    assert max(np.diff([time for _, time in seen])[2:]) < token_s * 1.05 + lines


LISTED = Sampling(temperature=0.8, top_k=40, seed=3)


@pytest.mark.parametrize("sampling", [LISTED, replace(LISTED, top_k=None, top_p=0.5)])
def test_a_token_of_a_shortlist_takes_less_than_a_kilobyte(
    sampling: Sampling, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The list and all registers of a run, whatever the vocabulary, of which a row would be 8 KB; with frames and
    checksums it is a little more on the line."""
    bench, lines, reads = Bench(small_image(tmp_path, vocab=2000), tmp_path), [], []
    job = replace(DRAWN, sampling=sampling)

    def seen(token: int) -> None:
        lines.append(bench.counters["received_bytes"])
        reads.append(sum(value is None for _, value in bench.registers.accesses))

    result = bench.generate(job, seen)
    assert result.tokens == golden(bench.link.image, job)
    assert result.tokens == Driver(GoldenLink(small_image(tmp_path, vocab=2000, config=ROWS))).generate(job).tokens
    data, line = SHORTLIST.size // 8 + 4 * np.diff(reads)[2:], np.diff(lines)[2:]
    record_property("bytes", int(max(data)))
    record_property("line_bytes", int(max(line)))
    print(f"\n{max(data)} bytes of data, {max(line)} of the line")
    assert max(data) <= 1024
    assert max(line) <= 1200


@pytest.mark.parametrize("token_s", [0.002, 0.05])
def test_a_greedy_run_costs_an_exchange_per_token(image: ModelImage, tmp_path: Path, token_s: float) -> None:
    """And a handful besides. Each token is seen soon after it was made: a look takes 3 ms of the line."""
    bench, seen = Bench(image, tmp_path, token_s), []
    bench.generate(GREEDY)
    before = bench.counters["exchanges"]
    result = bench.generate(GREEDY, lambda token: seen.append(bench.line.now))
    assert result.tokens == golden(image, GREEDY)
    assert bench.counters["exchanges"] - before <= len(result.tokens) + 8
    late = np.array(seen) - bench.registers.due
    print(f"\n{token_s * 1e3:g} ms to compute: seen {late.min() * 1e3:.1f} to {late.max() * 1e3:.1f} ms later")
    assert late.min() > 0
    assert late.max() < 0.012


def test_a_run_writes_what_changes(image: ModelImage, tmp_path: Path) -> None:
    bench = Bench(image, tmp_path)
    bench.generate(replace(GREEDY, max_new_tokens=1))
    assert {*bench.names()} == WRITABLE - {f"END_ID_{n}" for n in range(4)} | {"CONTROL"}
    bench.generate(replace(GREEDY, max_new_tokens=1))
    assert bench.names() == ["CONTROL"]
    bench.generate(replace(GREEDY, max_new_tokens=2, prompt=(4, 5)))
    assert {*bench.names()} == {"PROMPT_LENGTH", "MAX_NEW_TOKENS", "CONTROL"}
    assert bench.names()[-1] == "CONTROL"


# ---- what is not known any more


def failed_run(bench: Bench) -> None:
    before, bench.registers.clocks_per_beat = bench.registers.clocks_per_beat, 1e9
    with pytest.raises(HardwareError, match="hangs"):
        bench.generate(GREEDY)
    bench.registers.clocks_per_beat = before


def closed_run(bench: Bench) -> None:
    steps = bench.link.run(GREEDY)
    next(steps)
    steps.close()


def another_program(bench: Bench) -> None:
    """It has the line for a moment, and runs something else."""
    registers = bench.registers
    for name, value in {"START_POSITION": 1, "MAX_NEW_TOKENS": 3, "CONTROL": START}.items():
        registers.write(find(name).address, value)
    bench.line.now += 1.0


def registers_refused(bench: Bench) -> None:
    """In the middle of the list."""
    write = bench.registers.write

    def refuse(address: int, value: int) -> LinkStatus:
        return LinkStatus.REGISTER_ERROR if address == find("MAX_NEW_TOKENS").address else write(address, value)

    bench.registers.write = refuse
    with pytest.raises(HardwareError, match="WRITE_REGISTER at 0x78 failed: the register returned an error: load"):
        bench.generate(replace(GREEDY, max_new_tokens=5))
    bench.registers.write = write


def registers_refuse_all(bench: Bench) -> None:
    """The abort too, so that nothing of the machine tells of it."""
    write = bench.registers.write
    bench.registers.write = lambda address, value: LinkStatus.REGISTER_ERROR
    with pytest.raises(HardwareError, match=r"WRITE_REGISTER at 0x78 failed.*; then WRITE_REGISTER at 0x10 failed"):
        bench.generate(replace(GREEDY, max_new_tokens=5))
    bench.registers.write = write


def interrupted(bench: Bench) -> None:
    """While the answers to the list are due."""
    listen = bench.bus.exchange.listen

    def interrupt() -> None:
        if any(name == "MAX_NEW_TOKENS" for name in bench.names()):
            bench.bus.exchange.listen = listen
            raise KeyboardInterrupt
        listen()

    bench.registers.accesses.clear()
    bench.bus.exchange.listen = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.generate(replace(GREEDY, max_new_tokens=6))


@pytest.mark.parametrize(
    "event", [failed_run, closed_run, another_program, registers_refused, registers_refuse_all, interrupted]
)
def test_after_this_everything_is_written_again(
    image: ModelImage, tmp_path: Path, event: Callable[[Bench], None]
) -> None:
    bench = Bench(image, tmp_path)
    bench.generate(GREEDY)
    every = bench.names()
    bench.generate(GREEDY)
    assert bench.names() == ["CONTROL"]
    event(bench)
    assert bench.generate(GREEDY).tokens == golden(image, GREEDY)
    assert [name for name in bench.names() if name != "CONTROL"] == every[:-1]


def test_a_board_that_was_reset_is_not_gone_on_with(image: ModelImage, tmp_path: Path) -> None:
    """A new session knows nothing of its registers."""
    bench = Bench(image, tmp_path)
    bench.generate(GREEDY)
    every = bench.names()
    bench.line.board.reset()
    with pytest.raises(LinkError, match="the board was reset"):
        bench.generate(GREEDY)
    bus = SerialBus(bench.line, BAUD, bench.line.clock)
    bench.registers.accesses.clear()
    assert Driver(MachineLink(image, bus)).generate(GREEDY).tokens == golden(image, GREEDY)
    assert bench.names() == every
