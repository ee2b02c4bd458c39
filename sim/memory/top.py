"""Joins a generated module with the simulated memory. This file writes the wrapper and reads the memory's bytes.

The wrapper `bench_top` has the pins of the module without its memory ports; behind each `m_axi_<n>` sits an
`axi_memory`. Every clock of the memory is C++; Python is not woken.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.verilog import CLOCK, RESET, Port, VerilogModule
from sim.memory.part import Part

__all__ = ["SOURCES", "TOP", "SimulatedMemory", "join_memory", "memory_bytes"]

TOP = "bench_top"
"""Name of the wrapper."""

SOURCES = tuple(Path(__file__).with_name(name) for name in (
    "axi_memory.sv", "axi_memory.cpp", "dram.h", "dram_channel.h", "dram_checker.h", "dram_part.h"))
"""The memory itself."""

_MASTER = re.compile(r"(m_axi_(\d+))_([a-z]+)")
_INPUTS = (  # of axi_memory; tied to 0 where the module has no such pin
    "awid", "awaddr", "awlen", "awsize", "awburst", "awvalid", "wdata", "wstrb", "wlast", "wvalid", "bready",
    "arid", "araddr", "arlen", "arsize", "arburst", "arvalid", "rready",
)
_OUTPUTS = ("awready", "wready", "bid", "bresp", "bvalid", "arready", "rid", "rdata", "rresp", "rlast", "rvalid")

_MEASURES = ("contents", "fault", "beats_read", "beats_written")  # 64 bits each, not of AXI


@dataclass(frozen=True, kw_only=True)
class SimulatedMemory:
    """Contents and behaviour of the memory behind all `m_axi` ports.

    Attributes:
        file: its first bytes, for example a model image; a run does not change the file. None: all 0.
        size: bytes in all, a multiple of 4096; what the file does not fill is 0.
        base: address of the first byte. Outside of the memory the answer is DECERR.
        latency: clocks from an address, or the last beat of a write, to the answer.
        part: a DRAM, whose time takes the place of the latency (docs/memory-model.md); None: that latency.
        seed: 0 for exactly this time and no stalls; else random latency (but with a part), stalls on every channel, and
            any order between ids. Bit 0: reads see the memory when their address is taken, not when they are answered.
            Bit 1: writes take effect with their last beat, not with their response.
    """

    file: Path | None = None
    size: int
    base: int = 0
    latency: int = 32
    part: Part | None = None
    seed: int = 0

    def plusargs(self) -> list[str]:
        """For axi_memory.sv."""
        numbers = {"bytes": self.size, "base": self.base, "latency": self.latency, "seed": self.seed}
        file = [f"+memory_file={self.file.resolve()}"] if self.file else []
        part = [f"+memory_part={self.part.text()}"] if self.part else []
        return file + part + [f"+memory_{name}={value}" for name, value in numbers.items()]


def _declaration(port: Port) -> str:
    return f"[{port.width - 1}:0] {port.name}" if port.width > 1 else port.name


def _memory(number: str, master: str, widths: dict[str, int]) -> str:
    """An instance of axi_memory with the wires of a port that exist."""
    connected = [f".aclk({CLOCK})", f".aresetn({RESET})"]
    for pin in (*_INPUTS, *_OUTPUTS):
        if pin in widths:
            connected.append(f".{pin}({master}_{pin})")
        else:
            connected.append(f".{pin}('0)" if pin in _INPUTS else f".{pin}()")
    connected += [f".{pin}({master}_{pin})" for pin in _MEASURES]
    parameters = {
        "DATA_BITS": widths.get("rdata") or widths["wdata"],
        "ADDRESS_BITS": widths.get("araddr") or widths["awaddr"],
        "ID_BITS": widths.get("arid") or widths.get("awid") or 1,
        "PORT": number,
    }
    settings = ", ".join(f".{name}({value})" for name, value in parameters.items())
    return f"    axi_memory #({settings}) memory_{number} (\n        " + ",\n        ".join(connected) + "\n    );"


def join_memory(module: VerilogModule) -> tuple[str, list[str]]:
    """Verilog of the wrapper, and the names of its pins.

    Besides the pins of the module there are, for each memory port, `m_axi_<n>_contents` (see `memory_bytes`),
    `m_axi_<n>_fault` (see faults.py), `m_axi_<n>_beats_read` and `m_axi_<n>_beats_written`.

    Raises ValueError for a module without a memory port.
    """
    masters: dict[str, dict[str, int]] = {}
    pins, wires = [], []
    for port in module.ports:
        match = _MASTER.fullmatch(port.name)
        if match:
            masters.setdefault(match[1], {})[match[3]] = port.width
            wires.append(f"    wire {_declaration(port)};")
        else:
            pins.append(port)
    if not masters:
        raise ValueError(f"{module.name} has no port m_axi_0")
    ports = [*pins, *(Port(f"{master}_{name}", "output", 64) for master in masters
                      for name in _MEASURES)]
    lines = [
        f"module {TOP} (",
        ",\n".join(f"    {port.direction} wire {_declaration(port)}" for port in ports),
        ");",
        *wires,
        f"    {module.name} dut (",
        ",\n".join(f"        .{port.name}({port.name})" for port in module.ports),
        "    );",
        *(_memory(master.rpartition("_")[2], master, widths) for master, widths in masters.items()),
        "endmodule",
    ]
    return "\n".join(lines) + "\n", [port.name for port in ports]


def memory_bytes(dut: Any) -> NDArray[np.uint8]:
    """Inside the simulator: the bytes of the memory, to read and to write, without any clock passing.

    Raises RuntimeError before the first trigger of a test: the memory is set up by the first step of the simulation.
    """
    import cocotb

    address = int(dut.m_axi_0_contents.value)
    if not address:
        raise RuntimeError("the memory is created in the first simulation step: await a trigger first")
    area = ctypes.c_uint8 * int(cocotb.plusargs["memory_bytes"])
    return np.ctypeslib.as_array(area.from_address(address))
