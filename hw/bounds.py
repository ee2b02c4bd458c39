"""The table of docs/numerics.md, section 8: the bounds that the units declare. `python -m hw.bounds` writes it.

Each unit declares its bounds beside its signals (`hw.bound.bounded`); this file elaborates the machine to collect them.
tests/hw/test_bounds.py proves every signal wide enough, for the presets and for configurations drawn at random.
"""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Fragment

from hw.accelerator import Accelerator
from hw.bound import Bounds
from hw.contract.config import PRESETS, AccelConfig
from hw.contract.shortlist import SHORTLIST_ROWS
from hw.contract.tables import with_table

__all__ = ["DOCUMENT", "PROGRAM", "collected", "document", "table", "with_options"]

SMALL_LIST = 64
"""Rows of the list of a split head; no bound depends on them."""


def collected(config: AccelConfig) -> Bounds:
    """All bounds of the machine of that configuration. Raises ValueError if two of them have the same name."""
    bounds = Bounds()
    Fragment.get(Accelerator(config), bounds)
    return bounds


def with_options(config: AccelConfig) -> AccelConfig:
    """The configuration with shortlists and, where it may have one, a split head with a small list."""
    candidates = SMALL_LIST if config.kv_bits == 8 and config.query_rows > 1 else 0
    return config.replace(shortlist=SHORTLIST_ROWS, candidates=config.candidates or candidates)


def table() -> str:
    """The table of docs/numerics.md: per preset the bound and the bits that it needs, in the order of elaboration.

    Those of shortlists and of the split head are there for every preset that may have them, whether it does or not.
    """
    columns = [{bound.what: bound for bound in collected(with_options(config)).shapes} for config in PRESETS.values()]
    lines = [
        "| integer | bound | " + " | ".join(PRESETS) + " |",
        "| --- | --- |" + " --- |" * len(PRESETS),
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    for name in names:
        row = [column.get(name) for column in columns]
        cells = " | ".join(f"{max(bound.most, -bound.least)}: {bound.bits}" if bound else "" for bound in row)
        formula = next(bound.formula for bound in row if bound)
        lines.append(f"| {name} | {formula} | {cells} |")
    return "\n".join(lines) + "\n"


DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "numerics.md"
PROGRAM = "python -m hw.bounds"


def document() -> str:
    """The text of docs/numerics.md with this table."""
    return with_table(DOCUMENT.read_text(), PROGRAM, table())


if __name__ == "__main__":
    DOCUMENT.write_text(document())
