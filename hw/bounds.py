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

__all__ = ["DOCUMENT", "PROGRAM", "collected", "document", "table"]


def collected(config: AccelConfig) -> Bounds:
    """All bounds of the machine of that configuration. Raises ValueError if two of them have the same name."""
    bounds = Bounds()
    Fragment.get(Accelerator(config), bounds)
    return bounds


def table() -> str:
    """The table of docs/numerics.md: per preset the bound and the bits that it needs, in the order of elaboration.

    Those of shortlists are there for every preset, whether it has lists or not. Raises KeyError if a bound is not
    declared for every preset.
    """
    columns = [{bound.what: bound for bound in collected(config.replace(shortlist=SHORTLIST_ROWS)).shapes}
               for config in PRESETS.values()]
    lines = [
        "| integer | bound | " + " | ".join(PRESETS) + " |",
        "| --- | --- |" + " --- |" * len(PRESETS),
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    for name in names:
        row = [column[name] for column in columns]
        cells = " | ".join(f"{max(bound.most, -bound.least)}: {bound.bits}" for bound in row)
        lines.append(f"| {name} | {row[0].formula} | {cells} |")
    return "\n".join(lines) + "\n"


DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "numerics.md"
PROGRAM = "python -m hw.bounds"


def document() -> str:
    """The text of docs/numerics.md with this table."""
    return with_table(DOCUMENT.read_text(), PROGRAM, table())


if __name__ == "__main__":
    DOCUMENT.write_text(document())
