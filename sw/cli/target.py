"""Choice of the configuration: from --preset, or from --board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.contract.config import AccelConfig, preset
from sw.errors import JobError
from sw.session import DEFAULT_PRESET

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["choose_target"]


def choose_target(board_name: str | None, **options: str | None) -> tuple[AccelConfig, AnyBoard | None]:
    """Configuration and board. The board is None if `board_name` is None.

    `options` are the command-line options that a board sets itself, by name: `preset`, and for some commands `backend`.

    Raises:
        ConfigError: the preset or board does not exist.
        JobError: one of the options was given together with a board.
    """
    if board_name is None:
        return preset(options["preset"] or DEFAULT_PRESET), None
    from boards import board as board_of

    board = board_of(board_name)
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        brings = " and ".join([f"preset {board.config.name}", *([f"backend {board.backend}"] * ("backend" in options))])
        raise JobError(f"--board {board_name} sets {brings}: leave out {' and '.join(given)}")
    return board.config, board
