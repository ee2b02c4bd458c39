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


def test_rows_of_a_bench() -> None:
    """A preset without a figure has an empty cell; a projection says so."""
    decode = {"layer_efficiency": 0.5, "projection": {"stream_efficiency": 0.25}}
    found = readme_table.performance_rows({
        "model": {"hidden": 2560, "intermediate": 6912, "heads": 20, "kv_heads": 5, "head_dim": 128},
        "decode": {"4095": decode},
        "prefill": {"128": {"array_utilization": 0.75, "cycles_by_first_position": {"0": 1}}},
        "attend": {"cycles_per_position_and_layer": 21.25, "cycles_at_one_position": 1000},
        "norm_cycles_per_layer": {"decode": 2000, "chunk": 9000},
        "demo": {"cycles_per_position": 1234.5}, "simulated_cycles_per_second": 4e4,
    })
    assert list(found.values()) == [
        "2,560, 6,912, 20, 5, 128", "0.500", "0.250", "21.2", "1,000", "2,000", "9,000", "0.750", "1,234", "40,000"]
    assert [name for name in found if "projected" in name] == [
        "stream efficiency of a token behind 4,095 positions, *projected*"]


def test_projected_speeds() -> None:
    """Clocks of a token, or of all layers for a prompt and of the LM head once, at a clock in MHz."""
    found = readme_table.projected_speeds({
        "model": {"layers": 30}, "prefill": {"128": {"layer_cycles": 1_000_000}},
        "decode": {"4095": {"projection": {"cycles_per_token": 10_000_000, "lm_head_cycles": 2_000_000}}},
    }, 250.0)
    assert found == [("4,095", "25.0", ""), ("prompt of 128: first token after 0.13 s", "", "1000")]
