"""Interface of a toolchain: the tools of one vendor or project that build the bitstream of a board."""

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
        files: content of the files for the board's folder, by name.
        report: fields of report.json. If only a project was written, fields of the bitstream are missing.
        lines: the report as lines of text.
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
    def build(self, board: Declared_contra, folder: Path, seed: int | None) -> Built:
        """Build the bitstream, with the board's seed of place and route if it is None. Inputs and logs are in `folder`.

        Raises:
            ConfigError: the design is faulty or misses its clock.
            ToolError: a tool is missing or fails.
        """
