"""A design that breaks a bound it watches ends its simulation; what is handed out has no watches."""

from __future__ import annotations

import re

import pytest
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.accelerator import Accelerator
from hw.array.systolic import SystolicArray
from hw.contract.config import AccelConfig, preset
from hw.logits.logit_reader import LogitReader
from hw.memory.axi import axi_signature
from hw.streams import Queue
from hw.verilog import generate_verilog
from hw.watch import watch, watch_fifo, watch_range, watch_stream
from sim.bench import BenchError, run_bench
from sim.memory.top import SimulatedMemory
from tests.hw.simulation import SIMULATORS
from tests.hw.steps import Step, run_steps

CONFIG = preset("tiny")
FAULTS = {
    "range": r"unit.*: the number is -4, beyond 3",
    "count": r"unit.*: the count reached 10",
    "overflow": r"unit.*: the FIFO is written while it is full",
    "withdraw": r"unit.*: o takes a payload back",
    "change": r"unit.*: o changes a payload that waits",
}


class Faulty(wiring.Component):
    """A counter, a FIFO that nobody reads and a stream that nobody takes from, each right or wrong."""

    def __init__(self, config: AccelConfig = CONFIG) -> None:
        self.config = config
        super().__init__({name: In(1) for name in FAULTS})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count, clocks = Signal(8), Signal(8)
        m.d.sync += clocks.eq(clocks + 1)
        with m.If((clocks < 9) | self.count):
            m.d.sync += count.eq(count + 1)
        watch(m, platform, count < 10, "the count reached {}", count)

        number = Signal(signed(4))
        m.d.comb += number.eq(Mux(self.range, -4, -3))
        watch_range(m, platform, number, 3, "the number")

        m.submodules.fifo = queue = Queue(8, 4)
        m.d.comb += queue.i.valid.eq(queue.i.ready | self.overflow)
        watch_fifo(m, platform, queue.i, "the FIFO")

        o = stream.Signature(signed(8)).create()
        m.d.comb += [o.valid.eq(~(self.withdraw & clocks[3])), o.payload.eq(-5 + (self.change & clocks[3]))]
        watch_stream(m, platform, o, "o")
        return m


class Holder(wiring.Component):
    """The faulty unit one level down, with one fault chosen by a port."""

    def __init__(self) -> None:
        self.config = CONFIG
        super().__init__({name: In(1) for name in FAULTS})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = Faulty()
        m.d.comb += [getattr(unit, name).eq(getattr(self, name)) for name in FAULTS]
        return m


class WithPort(wiring.Component):
    """The faulty unit in a machine with a memory port; its stream always is wrong."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"m_axi_0": Out(axi_signature(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = Faulty(self.config)
        m.d.comb += unit.change.eq(1)
        return m


def run(simulator: str, **values: int) -> None:
    run_steps(Holder(), [Step(set=dict.fromkeys(FAULTS, 0) | values, clocks=40)], outputs=[], simulator=simulator)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_right_design_runs(simulator: str) -> None:
    run(simulator)


@pytest.mark.parametrize("fault", FAULTS)
def test_verilator_ends_with_place_and_reason(fault: str) -> None:
    with pytest.raises(BenchError, match=FAULTS[fault]):
        run("verilator", **{fault: 1})


@pytest.mark.parametrize("fault", FAULTS)
def test_python_ends_with_the_reason(fault: str) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault].removeprefix("unit.*: ")):
        run("pysim", **{fault: 1})


def test_sums_beyond_the_bound_of_the_lm_head_are_found() -> None:
    """Rows as long as the machine's, and one element longer; what is behind the vocabulary does not count."""
    config = CONFIG.replace(max_hidden=9, query_rows=1)
    largest = 32767 * 127 * 9

    def read(total: int, m: int) -> None:
        run_steps(LogitReader(config), [
            Step(set={"command": {"columns": 1, "row_beats": 2, "m": m}, "sums.sums": [total]}),
            Step(send={"i": [{"bank": 0, "rows": 2, "first": 1, "last": 1}]})])

    read(largest, 2)
    read(-largest, 2)
    read(largest + 127, 0)
    with pytest.raises(AssertionError, match="the sum of a logit is 37452808, beyond 37452681"):
        read(largest + 127, 1)


def test_a_credit_too_many_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The array starts four row blocks, its columns store two."""
    monkeypatch.setattr("hw.array.column.OUTPUT_BLOCKS", 2)
    steps = [Step(send={"i_command": [{"words": 1, "blocks": 9, "columns": 1}], "i_weights": [[0] * 8] * 9},
                  clocks=60)]
    with pytest.raises(AssertionError, match="the FIFO of finished sums is written while it is full"):
        run_steps(SystolicArray(CONFIG), steps, outputs=[])


def test_a_machine_in_front_of_memory_is_watched() -> None:
    with pytest.raises(BenchError, match=r"bench_top\.dut\.core\.unit: o changes a payload that waits"):
        run_bench(WithPort(CONFIG), CONFIG, "tests.hw.watch_bench", memory=SimulatedMemory(size=4096))


def test_what_is_handed_out_has_no_watches() -> None:
    """Vendors' tools read Verilog-2001: no assertions, and no state that only a watch needs."""
    watched = generate_verilog(Accelerator(CONFIG), "accelerator", simulation=True).text
    text = generate_verilog(Accelerator(CONFIG), "accelerator").text
    assert re.search(r"\bassert \(", watched)
    assert not re.search(r"\bassert\b|\$write|_waits\b", text)
