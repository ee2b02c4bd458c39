"""Versions of this package and of the packages that pyproject.toml requires, from the installation's metadata."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["NAME", "ROOT", "Package", "commit", "packages", "report", "requires_python", "version"]

NAME = "bitnet-fpga"
ROOT = Path(__file__).parents[1]
"""The folder that this package is in: the clone, where it runs from one."""

GIT_TIMEOUT_S = 5


@dataclass(frozen=True)
class Package:
    """A package that this one needs.

    Attributes:
        name: as registries have it.
        extra: extra that installs it; empty if it is always required.
        needed: required versions; empty for any.
        version: installed version; None if it is not installed.
        fits: whether the installed version is one of the required versions.
    """

    name: str
    extra: str
    needed: str
    version: str | None
    fits: bool


def version(name: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def packages() -> Iterator[Package]:
    """Packages that the installation requires, those of extras included; none if the source is not installed."""
    if version(NAME) is None:
        return
    for line in metadata.requires(NAME) or []:
        requirement = Requirement(line)
        if requirement.name == NAME:  # an extra that includes another one
            continue
        extra = str(requirement.marker).partition('"')[2].rstrip('"') if requirement.marker else ""
        found = version(requirement.name)
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        yield Package(requirement.name, extra, str(requirement.specifier), found, fits)


def requires_python() -> str:
    """Required Python versions; empty, which means any, if the source is not installed."""
    return "" if version(NAME) is None else "".join(metadata.metadata(NAME).get_all("Requires-Python", []))


def commit() -> str | None:
    """Commit of the clone that this runs from, with `-dirty` if files have been changed; None without git or clone."""
    if not (ROOT / ".git").exists():
        return None
    try:
        run = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"],
                             capture_output=True, text=True, check=False, timeout=GIT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None


def report() -> list[str]:
    """Lines for a bug report: versions of this package, of Python and of the packages in use."""
    made = commit()
    lines = [f"{NAME} {version(NAME) or '(not installed)'}" + (f", commit {made}" if made else ""),
             f"Python {platform.python_version()}, {platform.platform()}"]
    found: dict[str, list[str]] = {}
    for package in packages():
        if package.version:
            found.setdefault(package.extra, []).append(f"{package.name} {package.version}")
    lines += [(f"{extra}: " if extra else "") + ", ".join(names) for extra, names in found.items() if extra != "test"]
    return lines
