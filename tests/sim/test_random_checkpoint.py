"""The writer of random checkpoints: files that the safetensors library reads, and memory that stays small."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("master_weights", [False, True])
def test_the_library_reads_the_same(tmp_path: Path, dtype: str, master_weights: bool) -> None:
    folder = write_random_checkpoint(
        tmp_path, hidden=24, intermediate=36, layers=2, heads=3, kv_heads=1, vocab=11, positions=16, seed=1, shards=2,
        dtype=dtype, master_weights=master_weights,
    )
    checkpoint, seen = Checkpoint.open(folder), set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "np") as opened:
            names = opened.keys()
            for name in names:
                seen.add(name)
                described = opened.get_slice(name)
                assert described.get_dtype() == checkpoint.info(name).dtype
                assert tuple(described.get_shape()) == checkpoint.info(name).shape
                if checkpoint.info(name).dtype != "BF16":
                    assert np.array_equal(opened.get_tensor(name), checkpoint.raw(name))
    assert seen == set(checkpoint.tensors)


def test_blocks_are_no_part_of_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for elements in (1 << 20, 100):
        monkeypatch.setattr("sim.random_checkpoint.BLOCK_ELEMENTS", elements)
        folder = write_random_checkpoint(
            tmp_path / str(elements), hidden=24, intermediate=36, layers=1, heads=3, kv_heads=1, vocab=11, positions=16,
            seed=1,
        )
        contents.append((folder / "model.safetensors").read_bytes())
    assert contents[0] == contents[1]


def test_memory_is_some_blocks(tmp_path: Path) -> None:
    tracemalloc.start()
    folder = write_random_checkpoint(
        tmp_path, hidden=512, intermediate=512, layers=1, heads=8, kv_heads=8, vocab=60_000, positions=16, seed=1
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6 < (folder / "model.safetensors").stat().st_size
