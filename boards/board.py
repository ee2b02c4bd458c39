"""Description of a board. Each board is one object, in a file of its own."""

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
    """Properties of a board that the command line uses, for every kind of chip and tools.

    Attributes:
        backend: backend (`sw.session.BACKENDS`) that connects to it.
        name: name on the command line, and of the build folder.
        title: one line of text for users.
        config: configuration of the accelerator on this board.
        toolchain: tools that build the bitstream.
        clock_hz: frequency of the accelerator; a build that misses it fails.
        memory_bytes: bytes of memory that the host may use.
        flash: arguments of openFPGALoader that load a bitstream, with `{bitstream}` for the file. Empty if the board is
            not loaded over USB.
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
        """Build the bitstream with the board's toolchain; see `Toolchain.build`."""
        return self.toolchain.build(self, folder, seed)


@dataclass(frozen=True, kw_only=True)
class Board(AnyBoard):
    """Declaration of a board with an FPGA and a serial link. All facts about the board are here.

    Attributes, in addition to those of every board:
        clock_hz: of the clock domain `sync`.
        memory_bytes: from address 0.
        platform: makes the Amaranth platform (amaranth-boards), mixed with `hw.watch.Synthesis`.
        domains: clock domains of the bitstream: sync, and those that the memory needs.
        clock: makes the component that drives them; None if the memory drives them.
        memory: makes the memory: `axi`, a `boards.memory.port.memory_port`, and `ready`.
        link: makes the host's end from the board: `m_axi` and `m_axi_lite`.
        lut_memories: modules of the design, with `*` as wildcard, whose memories are made of LUTs to save block RAM.
            By default the tools use block RAM for 64 words or more.
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
