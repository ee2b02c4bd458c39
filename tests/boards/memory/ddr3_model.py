"""Boards with a model of their DDR3 chip: the controller is the one that is synthesised, PHY and chip are models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from boards.board import Board
from boards.memory.ddr3 import Ddr3Dram
from boards.memory.litedram_core import generate_core

__all__ = ["WINDOWS", "with_model", "write_banks"]

WORD_BYTES, BANKS, ROW_WORDS = 16, 8, 128

WINDOWS = ((1, 2, 5), (2, 0, 3))
"""Of both byte lanes the bitslip, the first and the last delay where reads are right."""


def with_model(subject: Board) -> Board:
    """The board with tests/boards/memory/litedram_model.py in place of the controller and all behind it."""
    memory = subject.memory()
    assert isinstance(memory, Ddr3Dram)
    memory._MustUse__used = True  # only for its settings
    model = generate_core(memory.core.settings | {"windows": WINDOWS}, "tests.boards.memory.litedram_model")
    assert (model.start, model.registers) == (memory.core.start, memory.core.registers)
    return dataclasses.replace(subject, memory=lambda: Ddr3Dram(model))


def write_banks(content: bytes, folder: Path) -> None:
    """What +image=FOLDER loads the memory with, from address 0 on. Its words are spread over rows and banks."""
    lines: list[list[str]] = [[] for _ in range(BANKS)]
    for n in range(0, len(content), WORD_BYTES):
        rest, column = divmod(n // WORD_BYTES, ROW_WORDS)
        row, bank = divmod(rest, BANKS)
        value = int.from_bytes(content[n : n + WORD_BYTES], "little")
        lines[bank].append(f"@{2 * (row * ROW_WORDS + column):x} {value:032x}")  # the model uses every second place
    folder.mkdir()
    for bank, text in enumerate(lines):
        (folder / f"bank{bank}.hex").write_text("\n".join([*text, ""]))
