"""The tables of README.md are what `make readme` makes of the committed results."""

from __future__ import annotations

from tools import readme_table


def test_tables_are_those_of_the_results() -> None:
    assert readme_table.README.read_text() == readme_table.markdown(), "run `make readme`"
