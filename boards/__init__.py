"""Boards by name. A board is an object in a file of its own; docs/new-board.md says how to add one."""

from __future__ import annotations

from importlib import import_module

from boards.board import AnyBoard
from hw.contract.config import ConfigError

__all__ = ["BOARDS", "board"]

BOARDS = {
    "ulx3s": "boards.ulx3s:ULX3S", "ecpix5": "boards.ecpix5:ECPIX5", "kv260": "boards.kv260:KV260",
    "orangecrab": "boards.orangecrab:ORANGECRAB", "ulx3s-bram": "boards.ulx3s_bram:ULX3S_BRAM",
}
"""Where a board is declared; imported when it is asked for, so that a host needs no board's packages."""


def board(name: str) -> AnyBoard:
    """The board of that name. Raises ConfigError: there is none; ModuleNotFoundError: a package that it needs."""
    if name not in BOARDS:
        raise ConfigError(f"no board named {name!r}; there are: {', '.join(BOARDS)}")
    module, _, member = BOARDS[name].partition(":")
    return getattr(import_module(module), member)
