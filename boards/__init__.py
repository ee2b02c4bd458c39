"""Boards by name. A board is an object in a file of its own; docs/new-board.md says how to add one.

A board is imported on first use, so that a host does not need the packages of all boards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from boards.board import AnyBoard  # before `board` is defined, which is also the name of that file
from hw.contract.config import ConfigError

__all__ = ["BOARDS", "board"]


def _ulx3s() -> AnyBoard:
    from boards.ulx3s import ULX3S

    return ULX3S


def _ecpix5() -> AnyBoard:
    from boards.ecpix5 import ECPIX5

    return ECPIX5


def _kv260() -> AnyBoard:
    from boards.kv260 import KV260

    return KV260


def _orangecrab() -> AnyBoard:
    from boards.orangecrab import ORANGECRAB

    return ORANGECRAB


def _ulx3s_bram() -> AnyBoard:
    from boards.ulx3s_bram import ULX3S_BRAM

    return ULX3S_BRAM


BOARDS: Mapping[str, Callable[[], AnyBoard]] = {
    "ulx3s": _ulx3s, "ecpix5": _ecpix5, "kv260": _kv260, "orangecrab": _orangecrab, "ulx3s-bram": _ulx3s_bram,
}
"""Function that returns each board, by name."""


def board(name: str) -> AnyBoard:
    """The board of that name. Raises ConfigError: there is none; ModuleNotFoundError: a package that it needs."""
    if name not in BOARDS:
        raise ConfigError(f"there is no board {name!r}: use {', '.join(BOARDS)}")
    return BOARDS[name]()
