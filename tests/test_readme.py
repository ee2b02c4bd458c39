"""The tables of README.md are what `make readme` makes of the committed results; its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import readme_table

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_tables_are_those_of_the_results() -> None:
    assert readme_table.README.read_text() == readme_table.markdown(), "run `make readme`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files that a page links to, and files of docs/ that its text names, are there."""
    text = page.read_text()
    linked = [page.parent / target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)
              if not re.match(r"https?:|#|mailto:", target)]
    named = [ROOT / name for name in re.findall(r"(?<![\w/])docs/[\w./-]+\.(?:md|json)", text)]
    missing = [str(path) for path in (*linked, *named) if not path.exists()]
    assert not missing, f"{page.name} names files that are not there"
