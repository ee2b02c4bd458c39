"""What Yosys makes of a design is refused where it is not what was meant; of units it computes what they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.exp2 import Exp2
from hw.contract.config import PRESETS
from hw.float.mul import FloatMul
from hw.verilog import generate_verilog
from hw.yosys import find_yosys
from sim.golden.attention import exp2_codes
from sim.golden.number import decode, encode, rnd
from sim.netlist import NetlistError, count_cells, synthesise
from tests.hw.float.vectors import assert_equal, pairs, stream
from tests.hw.memory import test_scratchpad as scratchpad


class TwoWriters(wiring.Component):
    """A memory that is written twice in a clock, as no RAM of an ECP5 can be."""

    config = PRESETS["tiny"]

    def __init__(self, writers: int) -> None:
        self.writers = writers
        super().__init__({"address": In(6).array(writers), "data": In(8).array(writers), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = memory.Memory(shape=8, depth=64, init=[])
        for n in range(self.writers):
            port = words.write_port()
            m.d.comb += [port.addr.eq(self.address[n]), port.data.eq(self.data[n]), port.en.eq(1)]
        read = words.read_port(domain="comb")
        m.d.comb += [read.addr.eq(self.address[0]), self.o.eq(read.data)]
        return m


def netlist_of(component: wiring.Component, name: str) -> str:
    return synthesise(name, generate_verilog(component, name).text)


def test_memory_that_would_become_flip_flops() -> None:
    with pytest.raises(NetlistError, match=r"memories of two that would become flip-flops: .*words"):
        netlist_of(TwoWriters(2), "two")


def test_memory_that_fits() -> None:
    cells = count_cells(netlist_of(TwoWriters(1), "one"))
    assert cells["TRELLIS_DPR16X4"] == 8
    assert cells["TRELLIS_FF"] == 0


def test_latch_is_refused() -> None:
    text = "module latch(input g, d, output reg q); always @* if (g) q = d; endmodule\n"
    with pytest.raises(NetlistError, match="latch"):
        synthesise("latch", text)


def test_two_drivers_are_refused() -> None:
    text = "module both(input a, b, output q); buf x(q, a); buf y(q, b); endmodule\n"
    with pytest.raises(NetlistError, match="conflicting drivers for both"):
        synthesise("both", text)


def test_table_of_one_unit() -> None:
    """A table in a block RAM that nobody writes, whose other clock stands still, and multipliers."""
    codes = encode(rnd(np.random.default_rng(4).uniform(0, 20, 2000)))
    assert_equal(stream(Exp2(), "netlist", i=codes), exp2_codes(decode(codes)), codes)


def test_multipliers() -> None:
    a, b = pairs(seed=2, count=2000)
    assert_equal(stream(FloatMul(), "netlist", a=a, b=b), encode(rnd(decode(a) * decode(b))), a, b)


@pytest.mark.parametrize("name", scratchpad.CONFIGS)
def test_block_ram_that_is_read_and_written(name: str) -> None:
    """A word that is read while it is written is the old one, which the silicon alone does not promise."""
    scratchpad.check_random(scratchpad.CONFIGS[name], "netlist")


@pytest.mark.parametrize("deaths", [1, 2])
def test_yosys_that_dies_without_a_word(deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once more, with less to do; then the error has the exit code. tests/hw/array/test_decoder.py has a
    circuit with which that happens."""
    real = find_yosys()
    verilog = "module gate(input a, b, output q); assign q = a & b; endmodule\n"
    netlist = synthesise("gate", verilog)
    fake, count = tmp_path / "yosys", tmp_path / "count"
    fake.write_text(f"#!/bin/sh\necho died >> {count}\n"
                    f'[ $(wc -l < {count}) -le {deaths} ] && kill -9 $$\nexec "{real}" "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(fake))
    if deaths == 1:
        assert synthesise("gate", verilog) == netlist
    else:
        with pytest.raises(NetlistError, match="refuses gate, exit code 137: no message"):
            synthesise("gate", verilog)
