"""Description of a board. Each board is one object, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from amaranth.hdl import Elaboratable
from amaranth.lib import wiring

from boards.toolchain import Built, Toolchain
from hw.contract.config import AccelConfig, ConfigError
from hw.inventory import Inventory

BoardT = TypeVar("BoardT", bound="AnyBoard")

SAME = ("ports", "port_bits", "address_bits")
"""Fields of a configuration that the memory and the link of a board depend on."""

__all__ = ["AnyBoard", "Board"]


@dataclass(frozen=True, kw_only=True)
class AnyBoard:
    """Properties of a board that the command line uses, for every kind of chip and tools.

    Attributes:
        backend: backend (`sw.session.BACKENDS`) that connects to it.
        name: name on the command line.
        title: one line of text for users.
        config: configuration of the accelerator on this board.
        toolchain: tools that build the bitstream.
        clock_hz: frequency of the accelerator; a build that misses it fails.
        memory_bytes: bytes of memory that the host may use.
        memory_bytes_per_s: sequential reads, as simulated or computed; the accelerator's ports may take less.
        load_bytes_per_s: what the link carries while the image is loaded; None if the board has no link, because its
            own processor loads the image.
        flash: arguments of openFPGALoader that load a bitstream, with `{bitstream}` for the file. Empty if the board is
            not loaded over USB.
        documents: schematics and data sheets that the numbers come from.
        own_config: whether `config` is the board's own; False after `with_config`.
    """

    backend: ClassVar[str]
    name: str
    title: str
    config: AccelConfig
    toolchain: Toolchain[Any]
    clock_hz: float
    memory_bytes: int
    memory_bytes_per_s: float
    load_bytes_per_s: float | None = None
    flash: tuple[str, ...] = ()
    documents: tuple[str, ...]
    own_config: bool = True

    @property
    def folder(self) -> str:
        """Name of the build folder: the board's name, with the build ID unless the configuration is the board's own."""
        return self.name if self.own_config else f"{self.name}-{self.config.build_id:016x}"

    def with_config(self: BoardT, config: AccelConfig) -> BoardT:
        """The board with another configuration; it keeps clock, memory and link.

        Raises:
            ConfigError: ports or widths differ from those of the board's own configuration.
        """
        if config.design_hash == self.config.design_hash:
            return self
        for name in SAME:
            needed, given = getattr(self.config, name), getattr(config, name)
            if given != needed:
                raise ConfigError(f"preset {config.name} has {name} = {given}, but the memory of board {self.name} "
                                  f"needs {needed}: set {name} to {needed} (base = \"{self.config.name}\" does)")
        return replace(self, config=config, own_config=False)

    @property
    def bitstream(self) -> str:
        """Name of the file that a build makes."""
        return self.toolchain.bitstream_name(self)

    def ram_use(self, design: Inventory) -> dict[str, tuple[float, int]]:
        """Estimated RAM primitives that a design takes, and those that the chip has for it, by name."""
        raise NotImplementedError

    def build(self, folder: Path, seed: int | None) -> Built:
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
        block_rams: DP16KD of the chip that the memory leaves to the accelerator.
        seed: of nextpnr, where none is given.
    """

    backend: ClassVar[str] = "serial"
    platform: Callable[[], Any]
    domains: tuple[str, ...]
    clock: Callable[[], Elaboratable] | None
    memory: Callable[[], wiring.Component]
    link: Callable[[Board], wiring.Component]
    lut_memories: tuple[str, ...] = ()
    block_rams: int = 208  # of an ECP5-85F
    seed: int = 1

    def ram_use(self, design: Inventory) -> dict[str, tuple[float, int]]:
        """Without the memories that become LUTs, and without the buffers of link and DRAM controller."""
        used = sum(one.primitives("DP16KD") for one in design.block_memories
                   if not any(fnmatch(f"accelerator.{one.unit}", pattern) for pattern in self.lut_memories))
        return {"DP16KD": (used, self.block_rams)}
