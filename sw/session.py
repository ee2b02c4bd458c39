"""What a model runs on, by name: the one place where the host knows of simulators and boards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.contract.config import AccelConfig
from sw.errors import JobError
from sw.image import ModelImage
from sw.links.link import Link

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["BACKENDS", "open_link", "simulate_board"]

BACKENDS = ("golden", "sim", "mmap", "serial")
"""golden: NumPy; sim: the accelerator in Verilator; mmap: the one on this chip; serial: a board on a serial port."""


def open_link(
    backend: str, config: AccelConfig, image: ModelImage, *, port: str = "auto", memory_seed: int = 0
) -> Link:
    """The link of a backend on an image. `port` is for serial, `memory_seed` for sim.

    Raises JobError that lists the backends, HardwareError where no machine answers.
    """
    match backend:
        case "golden":
            from sim.links.golden import GoldenLink

            return GoldenLink(config, image)
        case "sim":
            from sim.links.simulated import SimulatedLink

            return SimulatedLink(config, image, memory_seed)
        case "mmap":
            from sw.links import mmap
            from sw.links.machine import MachineLink

            chip = mmap.connect()
            return MachineLink(config, image, chip, chip.base)
        case "serial":
            from sw.links import serial
            from sw.links.machine import MachineLink

            return MachineLink(config, image, serial.connect(port))
    raise JobError(f"no backend named {backend!r}; there are: {', '.join(BACKENDS)}")


def simulate_board(board: AnyBoard, image: ModelImage) -> Link:
    """The link to a board that is simulated from pin to pin. Raises ConfigError for one that cannot be."""
    from sim.links.board import SimulatedBoardLink

    return SimulatedBoardLink(board.config, image, board)
