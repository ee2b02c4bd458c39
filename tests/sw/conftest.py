"""What several tests of the host's programs need."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.random_checkpoint import write_random_checkpoint


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two layers that runs fast; no test writes to it."""
    return write_random_checkpoint(
        tmp_path_factory.mktemp("small"), hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1, vocab=33,
        positions=32, seed=1,
    )
