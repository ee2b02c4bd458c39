"""What a board is. Every board is one object of this class in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Elaboratable
from amaranth.lib import wiring

from hw.config import AccelConfig

__all__ = ["Board"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, declared: nothing else knows anything about it.

    Attributes:
        name: what the command line takes, and the folder of what is built.
        title: one line for people.
        config: the machine that fits.
        clock_hz: frequency of the clock domain `sync`, which all of the machine uses; a build that misses it fails.
        platform: makes the Amaranth platform (amaranth-boards), mixed with `hw.watch.Synthesis`.
        domains: clock domains of the bitstream: sync, and what the memory needs besides.
        clock: makes the component that drives them.
        memory: makes the memory: `axi`, a `boards.memory.port.memory_port`, and `ready`.
        memory_bytes: what the host may use, from address 0.
        link: makes the host's end from the board: `m_axi` and `m_axi_lite`.
        flash: arguments of openFPGALoader that load a bitstream; `{bitstream}` stands for the file.
        documents: schematics and data sheets that the numbers come from.
    """

    name: str
    title: str
    config: AccelConfig
    clock_hz: float
    platform: Callable[[], Any]
    domains: tuple[str, ...]
    clock: Callable[[], Elaboratable]
    memory: Callable[[], wiring.Component]
    memory_bytes: int
    link: Callable[[Board], wiring.Component]
    flash: tuple[str, ...]
    documents: tuple[str, ...]
