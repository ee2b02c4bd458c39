"""Icarus Verilog, which knows X: a module compiled and watched after its reset, and cocotb's tests run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from hw.contract.config import AccelConfig
from hw.contract.register_map import find
from hw.verilog import CLOCK, RESET, VerilogModule
from sim.bench import CONFIG_VARIABLE, PARAMETERS_VARIABLE
from sim.bench_process import ROOT

__all__ = ["LANGUAGES", "needs_icarus", "run_tests", "said_after_reset"]

LANGUAGES = ("2005", "2012")
"""For `iverilog -g`: Verilog-2005, and SystemVerilog, which cocotb's runner chooses."""

needs_icarus = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="iverilog is missing; install it with: sudo apt-get install iverilog")

WATCH = """
module watch;
  {declarations}
  reg failed = 0;
  {name} dut ({connections});
  always #5 {clock} = ~{clock};
  initial begin
    s_axi_ctrl_araddr = {status};
    s_axi_ctrl_arvalid = 1;
    s_axi_ctrl_rready = 1;
    repeat (4) @(posedge {clock});
    #1 {reset} = 1;
    repeat (50) @(negedge {clock}) begin
      {checks}
      if (s_axi_ctrl_rvalid && s_axi_ctrl_rdata !== 0) $display("STATUS is %h", s_axi_ctrl_rdata);
    end
    if (s_axi_ctrl_arready === 1 || s_axi_ctrl_rvalid === 1) $display("watched");
    $finish;
  end
endmodule
"""


def said_after_reset(module: VerilogModule, language: str, folder: Path) -> list[str]:
    """Lines about outputs that are X in one of 50 clocks after a reset in which STATUS is read again and again, and
    about a STATUS that is not 0; `watched` at the end. Warnings of the compiler are errors: all that -Wall knows."""
    names = [port.name for port in module.ports if port.direction == "output"]
    text = WATCH.format(
        name=module.name, clock=CLOCK, reset=RESET, status=find("STATUS").address,
        declarations="\n  ".join(
            f"{'reg' if port.direction == 'input' else 'wire'} [{port.width - 1}:0] {port.name}"
            f"{' = 0' if port.direction == 'input' else ''};" for port in module.ports),
        connections=", ".join(f".{port.name}({port.name})" for port in module.ports),
        checks="\n      ".join(f'if (^{name} === 1\'bx) $display("{name} is X: %b", {name});' for name in names),
    )
    (folder / "watch.v").write_text(text)
    (folder / "module.v").write_text(module.text)
    compiled = subprocess.run(["iverilog", "-Wall", f"-g{language}", "-o", "watch", "watch.v", "module.v"], cwd=folder,
                              capture_output=True, text=True, check=False)
    assert (compiled.returncode, compiled.stderr) == (0, "")
    run = subprocess.run(["vvp", "watch"], cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    return sorted(set(run.stdout.splitlines()))


def run_tests(
    file: Path, top: str, test_module: str, folder: Path, config: AccelConfig, parameters: Mapping[str, object]
) -> None:
    """Run the cocotb tests of a module on a Verilog file, as `sim.bench` does in Verilator.

    Raises AssertionError if one fails, with the end of the log.
    """
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    runner = get_runner("icarus")
    runner.build(sources=[file], hdl_toplevel=top, build_dir=folder, timescale=("1ns", "1ps"),
                 log_file=folder / "build.log")
    variables = {
        CONFIG_VARIABLE: json.dumps(asdict(config)),
        PARAMETERS_VARIABLE: json.dumps(dict(parameters)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "COCOTB_ANSI_OUTPUT": "0",
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
    }
    log = folder / "test.log"
    try:
        results = runner.test(test_module=test_module, hdl_toplevel=top, build_dir=folder, test_dir=folder,
                              log_file=log, extra_env=variables)
    except SystemExit as error:
        raise AssertionError(log.read_text()[-5000:]) from error
    tests, failed = get_results(results)
    assert tests
    assert not failed, log.read_text()[-5000:]
