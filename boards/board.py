"""What a board is. Every board is one object in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from amaranth.hdl import Elaboratable
from amaranth.lib import wiring

from boards.toolchain import Built, Toolchain
from hw.contract.config import AccelConfig

__all__ = ["AnyBoard", "Board"]


@dataclass(frozen=True, kw_only=True)
class AnyBoard:
    """What the command line knows of a board, whatever chip and tools it has.

    Attributes:
        backend: name of the link (`sw.session.BACKENDS`) that reaches it.
        name: what the command line takes, and the folder of what is built.
        title: one line for people.
        config: the machine that fits.
        toolchain: what makes the bitstream.
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
    toolchain: Toolchain[Any]
    clock_hz: float
    memory_bytes: int
    flash: tuple[str, ...] = ()
    documents: tuple[str, ...]

    @property
    def bitstream(self) -> str:
        """Name of the file that a build makes."""
        return self.toolchain.bitstream_name(self)

    def build(self, folder: Path, seed: int) -> Built:
        """By the toolchain: see there."""
        return self.toolchain.build(self, folder, seed)


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
