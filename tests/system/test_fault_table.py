"""docs/faults.md says what the machine does: every cell is run, and every test that it names is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.system.fault_table import OTHERS, OUTCOMES, cells, codes, markdown
from tests.system.test_faults import TINY, simulate

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 3])
def test_every_fault_on_every_access(seed: int, tmp_path: Path) -> None:
    simulate(tmp_path, "every_fault", bench="tests.system.fault_table_bench", seed=seed, found=str(tmp_path / "found"))
    found = json.loads((tmp_path / "found").read_text())
    assert len(found) == len(cells())
    for access, kind in cells():
        error, clocks, recovery = found[f"{kind.name}, {access.name}"]
        print(f"{kind.name}, {access.name}: {clocks} clocks, {recovery}, {error}")
        outcome = OUTCOMES[kind]
        name = re.match("the accelerator stopped with ([A-Z_]+): ", error)
        assert name is not None, error
        assert name[1] in codes(kind, access)
        assert 0 <= clocks <= outcome.most_clocks(TINY)
        assert recovery in outcome.recovery


def test_the_document_is_up_to_date() -> None:
    assert (ROOT / "docs" / "faults.md").read_text() == markdown(), "run `python -m tests.system.fault_table`"


@pytest.mark.parametrize("test", [other[-1] for other in OTHERS])
def test_what_the_document_names_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
