"""Choice of the configuration: from --preset, from --board, or a board with another preset than its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hw.contract.config import AccelConfig
from hw.contract.preset_file import find_preset
from sw.errors import JobError
from sw.session import DEFAULT_PRESET

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["MachineOptions", "choose_target"]


def choose_target(
    board_name: str | None, *, preset: str | None, backend: str | None = None
) -> tuple[AccelConfig, AnyBoard | None]:
    """Configuration and board. The board is None if `board_name` is None.

    `preset` is the name or file that was given; with a board, the board's bitstream was built with it.

    Raises:
        ConfigError: the preset or board does not exist, or the preset does not fit the board.
        JobError: a backend was given together with a board, which has its own.
    """
    if board_name is None:
        return find_preset(preset or DEFAULT_PRESET), None
    from boards import board as board_of

    board = board_of(board_name)
    if backend is not None:
        raise JobError(f"--board {board_name} sets backend {board.backend}: leave out --backend")
    if preset is not None:
        board = board.with_config(find_preset(preset))
    return board.config, board


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """The options that say which model runs, and where, as the command line has them. `port` is the serial one."""

    PORT_OPTION: ClassVar[str] = "--port"

    checkpoint: str
    board_name: str | None
    backend: str | None
    preset_name: str | None
    context: int | None
    image: Path | None
    memory: str | None
    memory_seed: int
    port: str
    simulate: bool

    def target(self) -> tuple[AccelConfig, AnyBoard | None, str]:
        """Configuration, board and backend. Raises JobError for options that do not go together."""
        config, board = choose_target(self.board_name, preset=self.preset_name, backend=self.backend)
        backend = board.backend if board else self.backend or "golden"
        if self.simulate and board is None:
            raise JobError("--simulate needs --board: name the board to simulate")
        if self.simulate and self.port != "auto":
            raise JobError(f"--simulate uses a simulated serial port: leave out {self.PORT_OPTION}")
        if backend != "serial" and self.port != "auto":
            raise JobError(f"{self.PORT_OPTION} applies to --backend serial, not to {backend}: leave it out, or use "
                           "--backend serial")
        if backend != "sim" and self.memory_seed:
            raise JobError(f"--memory-seed applies to --backend sim, not to {backend}: leave it out, or use --backend "
                           "sim")
        if backend != "sim" and self.memory is not None:
            raise JobError(f"--memory applies to --backend sim, not to {backend}: leave it out, or use --backend sim")
        if self.memory is not None:
            _check_memory(self.memory, config)
        if self.image is not None and self.context is not None:
            raise JobError("an image has a fixed context: leave out --context or --image")
        return config, board, backend


def _check_memory(name: str, config: AccelConfig) -> None:
    """Before the model is packed. Raises JobError: there is no such memory, or it does not fit the accelerator."""
    from sim.memory.part import memory_part

    part = memory_part(name)
    if part:
        part.check(config)
