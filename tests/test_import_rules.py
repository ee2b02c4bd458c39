"""hw imports none of the others, sw and boards only hw, sim the others. Links are imported by name.

Inside of hw arrows between folders run one way, and hw/contract/ is below all of them."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
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


CONTRACT = ROOT / "hw" / "contract"
BELOW_CONTRACT = {"numpy", "amaranth.hdl", "amaranth.lib.data", "amaranth.lib.enum", "amaranth.lib.crc"}


def modules(path: Path) -> list[tuple[int, str]]:
    """As `imported`, and with `from package import module` as the module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in ("amaranth", "amaranth.lib"):
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return found


def test_the_contract_imports_nothing_of_the_hardware() -> None:
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in sorted(CONTRACT.rglob("*.py"))
        for line, name in modules(path)
        if not (name.startswith("hw.contract.") or name in BELOW_CONTRACT or name == "numpy.typing"
                or name.split(".")[0] in sys.stdlib_module_names)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_golden_model_knows_of_the_hardware_its_contract_alone() -> None:
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in sorted((ROOT / "sim" / "golden").rglob("*.py"))
        for line, name in modules(path)
        if name.startswith("hw.") and not name.startswith("hw.contract.")
    ]
    assert not wrong, "\n".join(wrong)


def test_arrows_between_the_files_of_boards_run_one_way() -> None:
    below = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): {
            name for _, name in imported(path) if name.startswith("boards.")}
        for path in sorted((ROOT / "boards").rglob("*.py"))
    }
    TopologicalSorter(below).prepare()


def folder(module: str) -> str:
    """The folder of hw that a module is in; a file in hw itself stands for itself."""
    return module.split(".")[1]


def test_arrows_between_the_folders_of_hw_run_one_way() -> None:
    below: dict[str, set[str]] = {}
    for path in sorted((ROOT / "hw").rglob("*.py")):
        own = folder(".".join(path.relative_to(ROOT).with_suffix("").parts))
        names = {folder(name) for _, name in imported(path) if name.startswith("hw.")}
        below.setdefault(own, set()).update(names - {own})
    TopologicalSorter(below).prepare()  # CycleError names the folders of a circle


def test_float_reference_is_independent() -> None:
    names = {name.split(".")[0] for _, name in imported(ROOT / "sim" / "float_reference.py")}
    assert not names & PACKAGES
