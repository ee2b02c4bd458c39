"""Random damage to the files of a checkpoint: it reads, or it is refused by a CheckpointError; nothing else happens."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sw.checkpoint import Checkpoint, CheckpointError
from tests.sw.test_checkpoint import write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("fuzz"), layers=1)


@pytest.fixture(scope="module")
def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}


def read_everything(folder: Path) -> None:
    try:
        checkpoint = Checkpoint.open(folder)
        for name, info in checkpoint.tensors.items():
            if info.dtype == "U8":
                list(checkpoint.ternary(name).blocks())
            else:
                checkpoint.float(name)
    except CheckpointError:
        return


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3), st.integers(0, 3)), max_size=4)


@pytest.mark.filterwarnings("ignore:config.json has no quantization_config", "ignore:the index specifies")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["config.json", "model.safetensors"]), edits)
def test_damage(
    folder: Path, contents: dict[str, bytes], name: str, changes: list[tuple[float, bytes, int]]
) -> None:
    content = bytearray(contents[name])
    for place, inserted, removed in changes:
        end = len(content) if name == "config.json" else 8 + struct.unpack("<Q", contents[name][:8])[0]
        position = int(place * end)
        content[position : position + removed] = inserted
    try:
        (folder / name).write_bytes(content)
        read_everything(folder)
    finally:
        (folder / name).write_bytes(contents[name])


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1))
def test_truncation(folder: Path, contents: dict[str, bytes], part: float) -> None:
    content = contents["model.safetensors"]
    kept = int(part * len(content))
    try:
        (folder / "model.safetensors").write_bytes(content[:kept])
        if kept == len(content):
            Checkpoint.open(folder)
        else:
            with pytest.raises(CheckpointError):
                Checkpoint.open(folder)
    finally:
        (folder / "model.safetensors").write_bytes(content)
