"""Bench of Ddr3Training against tests/boards/memory/ddr3_phy.py, run inside the simulator by test_ddr3_training.py."""

from __future__ import annotations

import random
from collections.abc import Callable

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from sim.bench import bench_parameters
from tests.boards.memory.ddr3_phy import BITSLIPS, DELAYS, LANES, Map, Phy, expected_choice

PARAMETERS = bench_parameters()
MOST_CLOCKS = 150_000
NOTHING = [[False] * DELAYS] * BITSLIPS


def windows(*places: tuple[int, int, int]) -> list[list[bool]]:
    """A lane that works from the first to the last delay of these bitslips."""
    return [[any(bitslip == b and first <= d <= last for b, first, last in places) for d in range(DELAYS)]
            for bitslip in range(BITSLIPS)]


async def train(dut, phy: Phy, answers: Callable[[], bool] = lambda: True) -> bool:
    """A reset and a whole training; whether it ended with `done`."""
    dut.rst.value, dut.ack.value = 1, 0
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(MOST_CLOCKS):
        await RisingEdge(dut.clk)
        if int(dut.done.value) or int(dut.failed.value):
            assert int(dut.done.value) != int(dut.failed.value)
            return bool(int(dut.done.value))
        if int(dut.ack.value):
            dut.ack.value = 0
        elif int(dut.stb.value) and answers():
            address = 4 * int(dut.adr.value)
            if int(dut.we.value):
                phy.write(address, int(dut.dat_w.value))
            else:
                dut.dat_r.value = phy.read(address)
            dut.ack.value = 1
    raise AssertionError("the training does not end")


def phy_of(works: Map, seed: int = 1) -> Phy:
    return Phy(PARAMETERS["registers"], tuple(PARAMETERS["phases"]), works, seed)


async def check(dut, works: Map, seed: int = 1) -> None:
    """The training chooses what the list of all windows says, or fails."""
    phy, expected = phy_of(works, seed), expected_choice(works)
    assert await train(dut, phy) == (expected is not None), works
    if expected:
        assert phy.place == expected, works
        assert (phy.control, phy.opened) == (1, 1)
        assert phy.tests == 3 * (BITSLIPS * DELAYS + 1)
    else:
        assert phy.opened == 0


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def named_shapes(dut) -> None:
    """Nothing, one delay, two windows, windows at the edges, lanes that differ."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    usual = windows((1, 2, 5))
    everything = windows(*((b, 0, DELAYS - 1) for b in range(BITSLIPS)))
    for lanes in (
        (usual, usual), (NOTHING, NOTHING), (usual, NOTHING), (NOTHING, usual),
        (windows((2, 3, 3)), usual), (usual, windows((0, 0, 0), (3, 7, 7))),  # one delay alone is no window
        (windows((0, 0, 1), (0, 3, 6)), windows((2, 0, 3), (2, 5, 7))),  # two on the same bitslip
        (windows((0, 5, 7), (1, 0, 2)), windows((1, 6, 7), (2, 0, 3))),  # over the end of a bitslip
        (windows((0, 0, 1)), windows((3, 6, 7))), (everything, windows((3, 0, 7))),
        (windows((0, 0, 0), (0, 2, 2), (0, 4, 4), (0, 6, 6), (1, 1, 2)), usual),  # more delays, but none beside another
    ):
        await check(dut, lanes)


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def random_shapes(dut) -> None:
    """Any delay works or does not, more or less often."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    choose = random.Random(11)
    for seed in range(25):
        often = choose.choice((0.1, 0.5, 0.7, 0.9))
        await check(dut, [[[choose.random() < often for _ in range(DELAYS)] for _ in range(BITSLIPS)]
                          for _ in range(LANES)], seed)


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def strobes(dut) -> None:
    """A lane whose strobe is never seen has no window, even if its data are right; one that is always seen has its."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    lanes = (windows((1, 2, 5)), windows((2, 0, 3)))
    for lane in range(LANES):
        phy = phy_of(lanes)
        phy.blind = {lane}
        assert not await train(dut, phy)
        phy = phy_of(lanes)
        phy.stuck = {lane}
        assert await train(dut, phy)
        assert phy.place == expected_choice(lanes)


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def a_choice_is_tested_again(dut) -> None:
    """What does not work any more after the scan is tried eight times; a lane that comes back is taken."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    scan = 3 * BITSLIPS * DELAYS
    works = (windows((1, 2, 5)), windows((2, 0, 3)))
    for tries, done in ((7, True), (8, False), (100, False)):
        phy = phy_of(works)
        right = phy._right
        phy._right = lambda lane, phy=phy, right=right, tries=tries: (
            right(lane) and not (lane == 1 and scan < phy.tests <= scan + 3 * tries))
        assert await train(dut, phy) == done
        assert phy.tests == scan + 3 * min(tries + 1, 8)
        assert phy.opened == done


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def registers_that_do_not_answer(dut) -> None:
    """From the start on, or from somewhere in the scan on: it ends, and not well."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    works = (windows((1, 2, 5)), windows((2, 0, 3)))
    for last in (0, 1500):
        answered = iter([True] * last)
        assert not await train(dut, phy_of(works), lambda answered=answered: next(answered, False))
