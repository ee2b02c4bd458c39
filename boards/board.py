"""What a board is. Every board is one object in a file of its own."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from amaranth.hdl import Elaboratable
from amaranth.lib import wiring

from boards.memory.litedram_core import MODULE, PACKAGES
from hw.contract.config import AccelConfig
from hw.notice import NOTICE, notice

__all__ = ["AnyBoard", "Board", "Built"]


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes:
        files: what belongs into the board's folder, by name.
        report: fields of report.json, as far as the build has come.
        lines: the same for people.
    """

    files: dict[str, bytes]
    report: dict[str, Any]
    lines: list[str]


@dataclass(frozen=True, kw_only=True)
class AnyBoard:
    """What the command line knows of a board, whatever chip and tools it has.

    Attributes:
        backend: name of the link (`sw.driver`) that reaches it.
        name: what the command line takes, and the folder of what is built.
        title: one line for people.
        config: the machine that fits.
        clock_hz: frequency of the machine; a build that misses it fails.
        memory_bytes: what the host may use.
        flash: arguments of openFPGALoader that load a bitstream; `{bitstream}` stands for the file. Empty where the
            board loads itself.
        documents: schematics and data sheets that the numbers come from.
    """

    backend: ClassVar[str]
    name: str
    title: str
    config: AccelConfig
    clock_hz: float
    memory_bytes: int
    flash: tuple[str, ...] = ()
    documents: tuple[str, ...]

    @property
    def bitstream(self) -> str:
        """Name of the file that a build makes."""
        return f"{self.name}.bit"

    @abstractmethod
    def build(self, folder: Path, seed: int) -> Built:
        """Makes the bitstream, with what the tools read and say in `folder`.

        Raises ConfigError if it would be of no use, ToolError if a tool is missing or fails.
        """


@dataclass(frozen=True, kw_only=True)
class Board(AnyBoard):
    """A board with an FPGA alone and a serial line, declared: nothing else knows anything about it.

    Attributes, besides those of every board:
        clock_hz: of the clock domain `sync`.
        memory_bytes: from address 0.
        platform: makes the Amaranth platform (amaranth-boards), mixed with `hw.watch.Synthesis`.
        domains: clock domains of the bitstream: sync, and what the memory needs besides.
        clock: makes the component that drives them; None where the memory does.
        memory: makes the memory: `axi`, a `boards.memory.port.memory_port`, and `ready`.
        link: makes the host's end from the board: `m_axi` and `m_axi_lite`.
        lut_memories: modules of the design, `*` for any text, whose memories shall be made of LUTs where block RAM is
            short; by themselves the tools take block RAM from 64 words on.
        placer: nextpnr's. `static` needs less wire than `heap`, nextpnr's default; which clock is faster differs.
    """

    backend: ClassVar[str] = "serial"
    platform: Callable[[], Any]
    domains: tuple[str, ...]
    clock: Callable[[], Elaboratable] | None
    memory: Callable[[], wiring.Component]
    link: Callable[[Board], wiring.Component]
    lut_memories: tuple[str, ...] = ()
    placer: str = "static"

    def build(self, folder: Path, seed: int) -> Built:
        """By the open tools, in `work` below the folder. Raises BuildError, and what the parts of the machine raise."""
        from boards.build import build  # both import this file
        from boards.soc import Soc

        made = build(self, Soc(self), folder / "work", seed)
        with_controller = (folder / "work" / f"{MODULE}.v").is_file()
        report, used = made.report, made.report["resources"]
        return Built(
            {self.bitstream: made.content, "report.json": (json.dumps(report, indent=2) + "\n").encode(),
             NOTICE: notice(PACKAGES if with_controller else ())}, report,
            [f"{folder / self.bitstream}: {len(made.content):,} bytes, preset {self.config.name}, "
             f"build {report['build_id']}",
             *(f"  {name:<10} {count['used']:>6} of {count['available']}" for name, count in used.items()),
             *(f"  {net}: {clock['fmax_mhz']} MHz, needs {clock['required_mhz']}"
               for net, clock in report["clocks"].items())],
        )
