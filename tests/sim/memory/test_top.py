"""The wrapper around a module and the memory, and how its model is found again."""

from __future__ import annotations

import re

import pytest
from amaranth.lib.wiring import Out

import sim.bench
from hw.contract.config import AccelConfig, preset
from hw.memory.axi import axi_read_signature, axi_signature
from hw.verilog import Port, VerilogModule
from sim.bench import build_model
from sim.memory.top import SimulatedMemory, join_memory
from tests.sim.memory.copier import PassThrough

CONFIG = preset("tiny")


def module_with(**ports: object) -> VerilogModule:
    """Only the pins count here."""
    pins = [Port("aclk", "input", 1), Port("aresetn", "input", 1), Port("irq", "output", 3)]
    for name, signature in ports.items():
        for pin, member in signature.members.items():
            pins.append(Port(f"{name}_{pin}", "output" if member.flow is Out else "input", member.shape))
    return VerilogModule("machine", CONFIG, tuple(pins), "")


def test_memory_ports_disappear_inside() -> None:
    text, pins = join_memory(module_with(m_axi_0=axi_signature(CONFIG), m_axi_1=axi_read_signature(CONFIG)))
    assert pins == ["aclk", "aresetn", "irq",
                    *(f"m_axi_{n}_{name}" for n in (0, 1)
                      for name in ("contents", "fault", "beats_read", "beats_written"))]
    assert f"wire [{CONFIG.address_bits - 1}:0] m_axi_1_araddr;" in text
    first, second = re.split(r"axi_memory #", text)[1:]
    assert f".DATA_BITS({CONFIG.port_bits}), .ADDRESS_BITS({CONFIG.address_bits}), .ID_BITS(1), .PORT(0)" in first
    assert ".PORT(1)" in second
    assert ".wvalid(m_axi_0_wvalid)" in first
    assert ".wvalid('0)" in second  # a port that only reads
    assert ".bvalid()" in second


def test_a_module_without_memory_port_is_refused() -> None:
    with pytest.raises(ValueError, match="machine has no port m_axi_0"):
        join_memory(module_with(s_axi=axi_signature(CONFIG)))


def test_plusargs(tmp_path) -> None:
    memory = SimulatedMemory(file=tmp_path / "x.img", size=8192, base=4096, latency=7, seed=3)
    assert memory.plusargs() == [f"+memory_file={tmp_path / 'x.img'}", "+memory_bytes=8192", "+memory_base=4096",
                                 "+memory_latency=7", "+memory_seed=3"]
    assert not any("file" in argument for argument in SimulatedMemory(size=4096).plusargs())


def test_a_model_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not built again, and then not even made into Verilog."""

    def found(config: AccelConfig) -> str:
        return build_model(PassThrough(config), top="dut", memory=True).name

    small, large = found(CONFIG), found(CONFIG.replace(address_bits=48))
    assert small != large
    monkeypatch.setattr(sim.bench, "_build", lambda *arguments: pytest.fail("built again"))
    assert found(CONFIG) == small
    monkeypatch.setattr(sim.bench, "generate_verilog", lambda *arguments, **options: pytest.fail("made again"))
    assert found(CONFIG) == small
