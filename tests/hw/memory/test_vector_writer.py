"""Words land at their place and pass on to the statistics once, whatever stalls."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from hw.contract.config import AccelConfig
from hw.memory.scratchpad import Scratchpad
from hw.memory.vector_writer import VectorWriter
from tests.hw.steps import Step, run_steps

CONFIG = AccelConfig(name="pair", vector=2, columns=3, max_hidden=32, max_intermediate=64)
WORDS, PADDED, BASE = 9, 12, 20


class WriterAndScratchpad(wiring.Component):
    """The writer with its scratchpad, whose read port is free."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        self.writer, self.scratchpad = VectorWriter(config), Scratchpad(config)
        members = dict(self.writer.signature.members)
        del members["write"]
        super().__init__(members | {"read": self.scratchpad.signature.members["read"]})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.writer, m.submodules.scratchpad = writer, scratchpad = self.writer, self.scratchpad
        wiring.connect(m, writer.write, scratchpad.write)
        wiring.connect(m, wiring.flipped(self.i), writer.i)
        wiring.connect(m, writer.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.read), scratchpad.read)
        m.d.comb += [writer.base.eq(self.base), writer.words.eq(self.words), writer.watch.eq(self.watch)]
        return m


def check(watch: int, stall: float, simulator: str = "pysim") -> None:
    choose = random.Random(11)
    words = [
        {"column": column, "index": index, "values": [choose.getrandbits(25) for _ in range(CONFIG.vector)]}
        for index in range(PADDED) for column in range(CONFIG.columns)
    ]
    steps = [Step(set={"base": BASE, "words": WORDS, "watch": watch}, send={"i": words}), Step(set={"read.en": 1})]
    for word in words:
        steps += [Step(set={"read.addr": word["column"] * CONFIG.column_words + BASE + word["index"]}),
                  Step(read=["read.data"])]
    run = run_steps(WriterAndScratchpad(CONFIG), steps, stall=stall, seed=11, simulator=simulator)
    assert run.read == [[word["values"]] for word in words]
    assert run.received["o"] == [word for word in words if watch and word["index"] < WORDS]
    if not stall:
        assert run.clocks["i"] == list(range(run.clocks["i"][0], run.clocks["i"][0] + len(words)))


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("watch", [0, 1])
def test_writes_and_passes_on(watch: int, stall: float) -> None:
    check(watch, stall)


def test_verilated() -> None:
    check(0, 0.0, "verilator")
    check(1, 0.0, "verilator")
    check(1, 0.5, "verilator")
