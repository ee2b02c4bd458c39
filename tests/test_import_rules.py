"""hw imports none of the others, sw and boards only hw, sim the others.

Inside of hw arrows between folders run one way, and hw/contract/ is below all of them; it is all that sw knows of hw.
The roof of sw, its command line and the sessions of Python users, imports everything, inside of functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {"hw": set(), "sw": {"hw"}, "sim": {"hw", "sw", "boards"}, "boards": {"hw"}}
PACKAGES = set(ALLOWED)
BY_NAME = {"import_module", "__import__", "hasattr", "getattr", "setattr"}
"""What finds a thing by a string."""


def roof(path: Path) -> bool:
    """Whether a file of sw may know of simulators and boards."""
    own = path.relative_to(ROOT / "sw")
    return own.parts[0] == "cli" or str(own) in ("session.py", "__main__.py")


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module in ("amaranth", "amaranth.lib"):  # packages of modules
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
    return found


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_go_downwards(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package) if not (package == "sw" and roof(path))
        for line, name in imported(path)
        if name.split(".")[0] in PACKAGES - ALLOWED[package] - {package}
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_below_the_roof_of_sw() -> None:
    """It knows of hw the contract alone, and nothing of the roof."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("sw") if not roof(path)
        for line, name in imported(path)
        if (name.split(".")[0] == "hw" and not name.startswith("hw.contract."))
        or name.startswith(("sw.cli", "sw.session")) or name == "sw"
    ]
    assert not wrong, "\n".join(wrong)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: all but the insides of functions and what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from executed(child)


def test_the_roof_of_sw_imports_simulators_and_boards_inside_of_functions() -> None:
    """A command needs no package of another one."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("sw") if roof(path)
        for node in executed(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in ("sim", "boards")
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_of_sw_or_of_the_table_of_boards_is_looked_up_by_a_string() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} uses {name}"
        for path in [*sources("sw"), ROOT / "boards" / "__init__.py"]
        for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Name, ast.Attribute, ast.alias))
        for name in [node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute)
                     else node.name]
        if name in BY_NAME
    ]
    assert not wrong, "\n".join(wrong)


def test_help_imports_next_to_nothing() -> None:
    """It is there at once: no command's own imports are among those of the command line."""
    heavy = ("numpy", "tokenizers", "rich.progress", "amaranth", "cocotb", "serial", "asyncio", "boards", "sim", "hw",
             "sw.session", "sw.checkpoint")
    program = ("import sys; from sw.__main__ import main; code = main(['--help']); "
               "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    modules = done.stderr.split()
    assert "sw.cli.generate" in modules
    assert [name for name in modules if name in heavy or name.startswith(tuple(f"{one}." for one in heavy))] == []


CONTRACT = ROOT / "hw" / "contract"
BELOW_CONTRACT = {"numpy", "amaranth.hdl", "amaranth.lib.data", "amaranth.lib.enum", "amaranth.lib.crc"}


def test_the_contract_imports_nothing_of_the_hardware() -> None:
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in sorted(CONTRACT.rglob("*.py"))
        for line, name in imported(path)
        if not (name.startswith("hw.contract.") or name in BELOW_CONTRACT or name == "numpy.typing"
                or name.split(".")[0] in sys.stdlib_module_names)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_golden_model_knows_of_the_hardware_its_contract_alone() -> None:
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in sources("sim/golden")
        for line, name in imported(path)
        if name.startswith("hw.") and not name.startswith("hw.contract.")
    ]
    assert not wrong, "\n".join(wrong)


def test_arrows_between_files_run_one_way() -> None:
    below = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): {
            name for _, name in imported(path) if name.split(".")[0] in PACKAGES}
        for package in PACKAGES for path in sources(package)
    }
    TopologicalSorter(below).prepare()  # CycleError names the files of a circle


def folder(module: str) -> str:
    """The folder of hw that a module is in; a file in hw itself stands for itself."""
    return module.split(".")[1]


def test_arrows_between_the_folders_of_hw_run_one_way() -> None:
    below: dict[str, set[str]] = {}
    for path in sources("hw"):
        own = folder(".".join(path.relative_to(ROOT).with_suffix("").parts))
        names = {folder(name) for _, name in imported(path) if name.startswith("hw.")}
        below.setdefault(own, set()).update(names - {own})
    TopologicalSorter(below).prepare()  # CycleError names the folders of a circle


def test_float_reference_is_independent() -> None:
    names = {name.split(".")[0] for _, name in imported(ROOT / "sim" / "float_reference.py")}
    assert not names & PACKAGES
