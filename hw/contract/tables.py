"""Tables of pages that programs write: each stands between a comment that names its program and `END`."""

from __future__ import annotations

__all__ = ["END", "mark", "with_table"]

END = "<!-- end -->\n"


def mark(program: str) -> str:
    """The comment in front of the table that a program writes."""
    return f"<!-- {program} -->\n"


def with_table(page: str, program: str, table: str) -> str:
    """The text of a page with this table of a program in place of the one before.

    Raises ValueError if the page has no place for it.
    """
    before, found, rest = page.partition(mark(program))
    _, ended, behind = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"the page has no {mark(program).strip()} followed by {END.strip()}: add both comments")
    return before + found + table + END + behind
