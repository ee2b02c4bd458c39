# amaranth: UnusedElaboratable=no
"""BlockRam: every byte of every bank, spare bits among them; a word per clock; errors and refusals."""

from __future__ import annotations

import pytest

from boards.memory.block_ram import BlockRam, block_ram_bytes
from hw.contract.config import ConfigError, preset
from sim.bench import run_bench


@pytest.mark.parametrize("banks, depth", [(19, 16), (8, 32), (3, 64), (47, 2)])
@pytest.mark.filterwarnings("default")
def test_behind_a_foreign_master(banks: int, depth: int) -> None:
    """Two groups of spare bits and banks of none; nothing else than a group; no group."""
    memory = BlockRam(banks=banks, depth=depth, address_bits=20)
    assert block_ram_bytes(banks, depth) == 8 * depth * (banks + banks // 8)
    parameters = {"size": block_ram_bytes(banks, depth), "spare": 8 * depth * (banks // 8)}
    run_bench(memory, preset("ulx3s"), "tests.boards.memory.block_ram_bench", parameters=parameters)


@pytest.mark.parametrize("banks, depth", [(0, 512), (4, 500), (4, 1)])
def test_refusals(banks: int, depth: int) -> None:
    with pytest.raises(ConfigError, match=f"a power of two of rows, not {banks} of {depth}"):
        BlockRam(banks=banks, depth=depth, address_bits=20)
