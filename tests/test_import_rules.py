"""hw imports none of the others, sw and boards only hw, sim the others. Links are imported by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {"hw": set(), "sw": {"hw"}, "sim": {"hw", "sw", "boards"}, "boards": {"hw"}}
PACKAGES = set(ALLOWED)


def imported(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
    return found


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_go_downwards(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, name in imported(path)
        if name.split(".")[0] in PACKAGES - ALLOWED[package] - {package}
    ]
    assert not wrong, "\n".join(wrong)


def test_float_reference_is_independent() -> None:
    names = {name.split(".")[0] for _, name in imported(ROOT / "sim" / "float_reference.py")}
    assert not names & PACKAGES
