"""Docstrings of components begin with a sentence on their purpose and end with `Members:`, which names every port."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "hw").rglob("*.py") if "wiring.Component" in path.read_text())
ENTRY = re.compile(r"    (\w[\w<>]*(?:, \w[\w<>]*)*): \S")


def components(source: str) -> Iterator[ast.ClassDef]:
    """Public classes that are components."""
    for node in ast.parse(source).body:
        component = isinstance(node, ast.ClassDef) and "wiring.Component" in map(ast.unparse, node.bases)
        if isinstance(node, ast.ClassDef) and component and not node.name.startswith("_"):
            yield node


def text_of(key: ast.expr | None) -> str | None:
    """The name that a key stands for: `m_axi_<n>` for f"m_axi_{n}"; None for a key that is computed otherwise."""
    if isinstance(key, ast.Constant):
        return str(key.value)
    if isinstance(key, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"<{ast.unparse(part.value)}>"
            for part in key.values if isinstance(part, ast.Constant | ast.FormattedValue))
    return None


def ports(component: ast.ClassDef) -> set[str]:
    """Ports that its constructor names. Those of a dictionary from elsewhere are not among them."""
    constructor = next(node for node in component.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    pairs: list[tuple[ast.expr | None, ast.expr]] = []
    for node in ast.walk(constructor):
        if isinstance(node, ast.Dict):
            pairs += zip(node.keys, node.values, strict=True)
        elif isinstance(node, ast.DictComp):
            pairs.append((node.key, node.value))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "dict.fromkeys":
            names, value = node.args
            pairs += [(name, value) for name in getattr(names, "elts", [])]
    directed = (key for key, value in pairs if isinstance(value, ast.Call) and ast.unparse(value.func) in ("In", "Out"))
    return {name for name in map(text_of, directed) if name}


def problems(component: ast.ClassDef) -> list[str]:
    """What its docstring lacks."""
    sections = (ast.get_docstring(component) or "").split("\n\n")
    purpose, last = sections[0], sections[-1]
    lines = last.splitlines() or [""]
    entries = [line for line in lines[1:] if not line.startswith("        ")]
    named = {name for line in entries if (entry := ENTRY.match(line)) for name in entry[1].split(", ")}
    sentence = len(sections) > 1 and re.match(r"[A-Z`].*\.", purpose, re.DOTALL)
    found = [] if sentence else ["the first paragraph is no sentence"]
    if lines[0] != "Members:":
        return [*found, "the last section is not `Members:`"]
    found += [f"no entry: {line.strip()}" for line in entries if not ENTRY.match(line)]
    return found + [f"port {name} is not among the members" for name in sorted(ports(component) - named)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT / "hw")))
def test_docstrings_of_components(file: Path) -> None:
    wrong = [f"{one.name}: {problem}" for one in components(file.read_text()) for problem in problems(one)]
    assert not wrong, "\n".join(wrong)


GOOD = '''
class Unit(wiring.Component):
    """Adds.

    Members:
        i, axi_<n>: terms.
        o: the sum,
            later.
    """

    def __init__(self):
        super().__init__({"i": In(1), "o": Out(1), **{f"axi_{n}": In(1) for n in range(2)}})
'''


@pytest.mark.parametrize(("old", "new", "problem"), [
    ("Adds.", "Adds.", None),
    ("Adds.", "\n", "the first paragraph is no sentence"),
    ("Adds.", "adding", "the first paragraph is no sentence"),
    ("Members:", "Attributes:", "the last section is not `Members:`"),
    ("later.\n", "later.\n\n    More.\n", "the last section is not `Members:`"),
    ("o: the sum,", "sum: the sum,", "port o is not among the members"),
    (", axi_<n>", "", "port axi_<n> is not among the members"),
    ("o: the sum,", "o the sum,", "no entry: o the sum,"),
])
def test_what_counts_as_a_docstring(old: str, new: str, problem: str | None) -> None:
    (component,) = components(GOOD.replace(old, new, 1))
    assert (problem in problems(component)) if problem else not problems(component)
