"""docs/faults.md says what the machine does: every cell is run, and every test that it names is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hw.contract.config import AccelConfig
from tests.system.fault_table import OTHERS, OUTCOMES, cells, codes, markdown
from tests.system.test_faults import FOUR_PORTS, TINY, simulate

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.parametrize(("config", "port", "seed"), [
    pytest.param(config, port, seed, id=f"{config.name}, port {port}, seed {seed}") for config, port, seed in (
        (TINY, 0, 0), (TINY, 0, 3), (FOUR_PORTS, 0, 3), (FOUR_PORTS, 3, 0), (FOUR_PORTS, 3, 3))
])
def test_every_fault_on_every_access(config: AccelConfig, port: int, seed: int, tmp_path: Path) -> None:
    simulate(tmp_path, "every_fault", bench="tests.system.fault_table_bench", config=config, seed=seed, port=port,
             found=str(tmp_path / "found"))
    found = json.loads((tmp_path / "found").read_text())
    assert len(found) == len(cells(config.ports))
    for access, kind in cells(config.ports):
        error, clocks, recovery = found[f"{kind.name}, {access.name}"]
        print(f"{kind.name}, {access.name}: {clocks} clocks, {recovery}, {error}")
        outcome = OUTCOMES[kind]
        name = re.match("the accelerator stopped with ([A-Z_]+)(?: at memory port ([1-3]))?: ", error)
        assert name is not None, error
        assert int(name[2] or 0) == port
        assert name[1] in codes(kind, access)
        assert 0 <= clocks <= outcome.most_clocks(config)
        assert recovery in outcome.recovery


def test_the_document_is_up_to_date() -> None:
    assert (ROOT / "docs" / "faults.md").read_text() == markdown(), "run `python -m tests.system.fault_table`"


@pytest.mark.parametrize("test", [other[-1] for other in OTHERS])
def test_what_the_document_names_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
