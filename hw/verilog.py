"""Component to the text of a Verilog file for a vendor's tools, and its description in JSON.

For a simulator the same text with the watches of `hw/watch.py`; for a vendor's tools, which would not read them,
without.

Same component and same Yosys, same bytes: nothing of the machine, the folder, the time or the version of Python
(hw/names.py) enters the texts.

What Yosys writes is changed in three ways, so that tools other than Verilator read it too (`to_verilog`):

- Verilog-2005 and SystemVerilog alike. An `always @*` block whose inputs never change has to run once at the start.
  Yosys lets it read a register with the initialiser 0. That is an event in Verilog-2005 and none in SystemVerilog,
  where the block never runs and its outputs stay X. Here the register, `$start`, gets its 0 by a non-blocking
  assignment: an event in both, which comes when every block waits for one already. Blocks of one assignment, to which
  Yosys gives no such register, get it too.
- A memory that is all 0 at the start has a loop in place of a list of its words, and that only where SYNTHESIS is not
  defined, as tools of synthesis do. The hardware does not depend on these zeros, which a reset would not bring back: it
  computes the same from random contents (tests/other_tools). Simulators of four states do: 0 times X is X for them, and
  the first block of every attention multiplies so. Of 8,256 words Yosys reads a list in 25 s, a loop in 22 s, neither
  in 0.01 s. Memories with anything else than 0, the tables, keep their list.
- Within the file those warnings of Verilator are off that are about the style of Yosys: sizes are implied, and a case
  without a match keeps the value assigned before it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from amaranth.hdl import ClockDomain, Const, Elaboratable, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring

from hw.contract.config import AccelConfig
from hw.memory.axi import pin_name
from hw.watch import Synthesis, UltraRamSynthesis
from hw.yosys import convert, convert_rtlil

__all__ = [
    "CLOCK", "INTERRUPT", "RESET", "RESET_CLOCKS", "Port", "VerilogModule", "generate_verilog", "rtlil_to_verilog",
    "to_verilog",
]

CLOCK = "aclk"
"""Pin of the clock."""

RESET = "aresetn"
"""Pin of the synchronous reset, active low; it acts a clock later."""

INTERRUPT = "irq"
"""Pin of the accelerator's interrupt, active high, a level."""

RESET_CLOCKS = 2
"""Rising edges of the clock that have to find the reset low; more change nothing. See docs/architecture.md, Reset."""

_LINT = "".join(f"/* verilator lint_off {name} */\n" for name in ("CASEINCOMPLETE", "INITIALDLY", "UNSIGNED", "WIDTH"))

_MODULE = re.compile(r"^(module [^;]*;\n)(.*?)^endmodule$", re.MULTILINE | re.DOTALL)
_ZEROS = re.compile(r"^  initial begin\n(?:    (\S+)\[(\d+)\] = (\d+'h0+);\n)+  end\n", re.MULTILINE)
_LOOP = r"""`ifndef SYNTHESIS
  initial begin : \\$zeros$\1
    integer \\$word ;
    for (\\$word = 0; \\$word <= \2; \\$word = \\$word + 1)
      \1[\\$word ] = \3;
  end
`endif
"""
_STARTER = re.compile(r"^  reg \\\$auto\$verilog_backend\S+  = 0;\n", re.MULTILINE)
_STARTED = re.compile(r"^    if \(\\\$auto\$verilog_backend\S+ \) begin end\n", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^  always @\*\n(    (?!if |case)[^;]*;\n)", re.MULTILINE)
_BLOCK = re.compile(r"^  always @\* begin\n", re.MULTILINE)


@dataclass(frozen=True)
class Port:
    """A pin of the Verilog module."""

    name: str
    direction: Literal["input", "output"]
    width: int


@dataclass(frozen=True)
class VerilogModule:
    """A module as text, and its pins: clock and reset first, the others in the order of the component's signature."""

    name: str
    config: AccelConfig
    ports: tuple[Port, ...]
    text: str

    @property
    def description(self) -> str:
        """The JSON text: pins, the full configuration, the build id that the driver compares, a hash of the Verilog."""
        fields = {
            "name": self.name,
            "build_id": f"0x{self.config.build_id:016x}",
            "design_hash": self.config.design_hash,
            "configuration": dataclasses.asdict(self.config),
            "clock": CLOCK,
            "reset": {"name": RESET, "active": "low", "synchronous": True, "clocks": RESET_CLOCKS},
            "ports": [dataclasses.asdict(port) for port in self.ports],
            "verilog_sha256": hashlib.sha256(self.text.encode()).hexdigest(),
        }
        return json.dumps(fields, indent=2) + "\n"


def _portable(module: re.Match[str]) -> str:
    """A module that tools other than Verilator read, too."""
    head, body = module[1], _ZEROS.sub(_LOOP, module[2])
    body = _STARTED.sub("", _STARTER.sub("", body))
    body = _ASSIGNMENT.sub(r"  always @* begin\n\1  end\n", body)
    body, blocks = _BLOCK.subn(lambda block: block[0] + "    if (\\$start ) begin end\n", body)
    start = "  reg \\$start ;\n  initial \\$start <= 1'h0;\n" if blocks else ""
    return f"{head}{start}{body}endmodule"


def to_verilog(
    top: Elaboratable, name: str, *, platform: object = None, ports: Mapping[str, Any] | None = None
) -> str:
    """Verilog for any tool, see above; arguments as of `hw.yosys.convert`.

    Raises ToolError where Yosys is missing or fails, ValueError for a text of Yosys that is not as those that this file
    was written for.
    """
    return _for_any_tool(convert(top, name, platform=platform, ports=ports))


def rtlil_to_verilog(text: str) -> str:
    """`to_verilog` of what `amaranth.back.rtlil` makes of a design. Raises the same."""
    return _for_any_tool(convert_rtlil(text))


def _for_any_tool(text: str) -> str:
    """From what Yosys writes."""
    # Yosys starts with a comment on how it was built itself.
    comment, _, text = text.partition("*/\n")
    if not comment.startswith("/* Generated by"):
        raise ValueError(f"unknown first line of Yosys: {comment[:80]!r}")
    text = _MODULE.sub(_portable, text)
    if "verilog_backend" in text or "always @*\n" in text:
        raise ValueError("Yosys writes blocks in a way that is not known here")
    return _LINT + text


def generate_verilog(
    component: wiring.Component, name: str, *, simulation: bool = False, ultra_ram: bool = False
) -> VerilogModule:
    """Verilog of a component that has a `config`; AXI pins get the names that `hw.memory.axi.pin_name` gives. Constants
    among its ports are no pins. With
    `ultra_ram` it is for an FPGA that has UltraRAM (`hw.watch.Synthesis`).

    Raises what `to_verilog` raises.
    """
    from amaranth.hdl._ir import PortDirection  # not exported; Verilog's `ports` cannot do without

    clock, reset = Signal(name=CLOCK), Signal(name=RESET)
    pins: dict[str, tuple[Value, PortDirection]] = {
        CLOCK: (clock, PortDirection.Input), RESET: (reset, PortDirection.Input)
    }
    for path, member, value in component.signature.flatten(component):
        if isinstance(Value.cast(value), Const):  # `ready` of a stream that is always ready
            continue
        direction = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
        pin = pin_name("__".join(str(part) for part in path))
        if pin in pins:
            raise ValueError(f"two ports of {name} would be called {pin}")
        pins[pin] = (Value.cast(value), direction)

    m = Module()
    m.domains.sync = domain = ClockDomain()
    domain.clk = clock  # the pin itself: an assignment would delay the clock by a delta cycle
    m.domains.pins = pin_domain = ClockDomain(reset_less=True)
    pin_domain.clk = clock
    in_reset = Signal(init=1)  # a register: it drives almost everything
    m.d.pins += in_reset.eq(~reset)
    m.d.comb += ResetSignal().eq(in_reset)
    m.submodules.core = component
    ports = tuple(Port(pin, direction.value, len(value)) for pin, (value, direction) in pins.items())
    platform = None if simulation else UltraRamSynthesis() if ultra_ram else Synthesis()
    text = to_verilog(m, name, platform=platform, ports=pins)
    config = component.config
    text = f"/* bitnet-fpga: {name}, configuration {config.name}, build 0x{config.build_id:016x} */\n{text}"
    return VerilogModule(name, config, ports, text)
