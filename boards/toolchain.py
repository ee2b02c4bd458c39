"""What makes a bitstream of a board: the tools of one vendor or project, as an object that a board names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

__all__ = ["Built", "Toolchain"]

Declared_contra = TypeVar("Declared_contra", contravariant=True)


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes:
        files: what belongs into the board's folder, by name.
        report: fields of report.json, as far as the build has come.
        lines: the same for people.
    """

    files: dict[str, bytes]
    report: dict[str, Any]
    lines: list[str]


class Toolchain(ABC, Generic[Declared_contra]):
    """Builds boards of one kind. It has no state: what it writes and finds is in the folder of a build."""

    @abstractmethod
    def bitstream_name(self, board: Declared_contra) -> str:
        """Name of the file that a build makes."""

    @abstractmethod
    def build(self, board: Declared_contra, folder: Path, seed: int) -> Built:
        """Makes the bitstream, with what the tools read and say in `folder`.

        Raises ConfigError if it would be of no use, ToolError if a tool is missing or fails.
        """
