# amaranth: UnusedElaboratable=no
"""The Verilog that is handed out: pin names, description, and the same bytes every time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig, preset
from hw.contract.register_map import ADDRESS_BITS, values
from hw.control.registers import RegisterFile, axi_lite_signature
from hw.memory.axi import axi_write_signature
from hw.memory.write_engine import WriteEngine
from hw.verilog import generate_verilog, to_verilog

ROOT = Path(__file__).parents[2]
CONFIG = preset("tiny")


class Small(wiring.Component):
    """Registers and a write engine that a register starts."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "m_axi_0": Out(axi_write_signature(config)),
            "s_axi_ctrl": In(axi_lite_signature(ADDRESS_BITS)),
            "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = registers = RegisterFile(self.config)
        m.submodules.writes = writes = WriteEngine(self.config)
        wiring.connect(m, wiring.flipped(self.s_axi_ctrl), registers.axi)
        wiring.connect(m, wiring.flipped(self.m_axi_0), writes.axi)
        m.d.comb += [
            writes.request.valid.eq(registers.start),
            writes.request.payload.beats.eq(1),
            registers.status.busy.eq(~writes.idle),
            self.irq.eq(writes.idle),
        ]
        return m


class Clash(wiring.Component):
    """Has a port with the name of the clock pin."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"aclk": Out(1)})

    def elaborate(self, platform: object) -> Module:
        return Module()


class Memories(wiring.Component):
    """One that is 0 at the start, one of which most is."""

    def __init__(self) -> None:
        super().__init__({"place": In(7), "data": In(8), "zeros": Out(8), "table": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, init in (("zeros", []), ("table", [0, 0, 7])):
            m.submodules[f"{name}_memory"] = words = memory.Memory(shape=8, depth=100, init=init)
            write, read = words.write_port(), words.read_port()
            m.d.comb += [write.addr.eq(self.place), write.data.eq(self.data), write.en.eq(1), read.addr.eq(self.place),
                         getattr(self, name).eq(read.data)]
        return m


def test_pins() -> None:
    module = generate_verilog(Small(CONFIG), "machine")
    found = {port.name: (port.direction, port.width) for port in module.ports}
    assert list(found)[:2] == ["aclk", "aresetn"]
    assert found["aclk"] == found["aresetn"] == ("input", 1)
    assert found["m_axi_0_awaddr"] == ("output", CONFIG.address_bits)
    assert found["m_axi_0_wstrb"] == ("output", CONFIG.beat_bytes)
    assert found["m_axi_0_bresp"] == ("input", 2)
    assert found["s_axi_ctrl_awaddr"] == ("input", ADDRESS_BITS)
    assert found["s_axi_ctrl_rdata"] == ("output", 32)
    assert found["irq"] == ("output", 1)
    assert not [name for name in found if "__" in name]
    top = module.text[module.text.index("module machine(") :]
    declared = re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", top[: top.index("endmodule")], re.MULTILINE)
    assert {name: (direction, int(high or 0) + 1) for direction, high, name in declared} == found


def test_reset_is_a_register_that_starts_active() -> None:
    text = generate_verilog(Small(CONFIG), "machine").text
    assert "reg in_reset = 1'h1;" in text
    assert "assign rst = in_reset;" in text
    inverted = re.search(r"assign (\S+) +?= ~ ?aresetn;", text)
    assert inverted
    assert re.search(rf"always @\(posedge aclk\)\s+in_reset <= {re.escape(inverted[1])} ?;", text)


def test_description() -> None:
    config = CONFIG.replace(outstanding=4)
    module = generate_verilog(Small(config), "machine")
    fields = json.loads(module.description)
    assert AccelConfig(**fields["configuration"]) == config
    assert int(fields["build_id"], 16) == config.build_id
    assert fields["verilog_sha256"] == hashlib.sha256(module.text.encode()).hexdigest()
    assert fields["ports"] == [dataclasses.asdict(port) for port in module.ports]
    assert (fields["clock"], fields["reset"]["name"], fields["reset"]["active"]) == ("aclk", "aresetn", "low")


def test_same_bytes_every_time(tmp_path: Path) -> None:
    """Other folder, other order of hashing, other process."""
    program = (
        "import sys\n"
        "from tests.hw.test_verilog import CONFIG, Small, generate_verilog\n"
        "module = generate_verilog(Small(CONFIG), 'machine')\n"
        "sys.stdout.write(module.text + module.description)"
    )
    files = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True,
                              stdout=subprocess.PIPE)
        files.append(done.stdout)
    assert files[0] == files[1]
    for path in (str(ROOT), str(tmp_path), "/workspace"):
        assert path.encode() not in files[0]
    assert values("rw").keys() & {"slot", "chunk"}  # the registers are really in there
    assert b"slot" in files[0]


def test_build_id_is_in_the_hardware() -> None:
    text = generate_verilog(Small(CONFIG), "machine").text
    for half in (CONFIG.build_id & 0xFFFFFFFF, CONFIG.build_id >> 32):
        assert f"32'd{half}" in text or f"32'h{half:x}" in text or f"32'h{half:08x}" in text


def test_two_ports_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two ports of clash would be called aclk"):
        generate_verilog(Clash(CONFIG), "clash")


def test_constants_are_no_pins() -> None:
    """`ready` of a stream that is always ready."""
    component = wiring.Component({"i": In(stream.Signature(4, always_ready=True)), "o": Out(4)})
    component.config = CONFIG
    component.elaborate = lambda platform: Module()
    assert {port.name for port in generate_verilog(component, "tap").ports} == {
        "aclk", "aresetn", "i__payload", "i__valid", "o"}


def test_every_block_is_started() -> None:
    """By an event that Verilog-2005 and SystemVerilog have in common."""
    text = generate_verilog(Small(CONFIG), "machine").text
    blocks = text.count("always @*")
    assert blocks > 20
    assert text.count("  always @* begin\n    if (\\$start ) begin end\n") == blocks
    for module in text.split("\nendmodule"):
        started = "always @*" in module
        assert module.count("  reg \\$start ;\n  initial \\$start <= 1'h0;\n") == started


def given_by_yosys(monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    monkeypatch.setattr("hw.verilog.convert", lambda *_, **__: text)
    return to_verilog(Module(), "top").partition("module ")[2]


def test_a_block_of_one_assignment_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Yosys writes such a block without what starts the others."""
    text = given_by_yosys(monkeypatch, (
        "/* Generated by Yosys */\n\nmodule \\top.unit (a,\n b);\n  input a;\n  output b;\n  reg b;\n"
        "  always @*\n    b = a;\nendmodule\n"))
    assert text == (
        "\\top.unit (a,\n b);\n  reg \\$start ;\n  initial \\$start <= 1'h0;\n  input a;\n  output b;\n  reg b;\n"
        "  always @* begin\n    if (\\$start ) begin end\n    b = a;\n  end\nendmodule\n")


@pytest.mark.parametrize("text", [
    "module top(a);\nendmodule\n",
    "/* Generated by Yosys */\nmodule top(a);\n  always @*\n    if (a) b = a;\n    else b = c;\nendmodule\n",
    "/* Generated by Yosys */\nmodule top(a);\n  logic \\$auto$verilog_backend.cc$1 = 0;\nendmodule\n",
])
def test_unknown_texts_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="Yosys"):
        given_by_yosys(monkeypatch, text)


def test_zeros_are_a_loop_that_synthesis_does_not_see() -> None:
    """A table keeps its list, zeros among it."""
    text = to_verilog(Memories(), "top")
    hidden = re.findall(r"^`ifndef SYNTHESIS\n(.*?)^`endif\n", text, re.MULTILINE | re.DOTALL)
    assert len(hidden) == 1
    assert "for (\\$word = 0; \\$word <= 99; \\$word = \\$word + 1)" in hidden[0]
    assert re.findall(r"\[(\d+)\] = 8'h(\w+);", text) == [(str(n), "07" if n == 2 else "00") for n in range(100)]
