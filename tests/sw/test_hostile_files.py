"""Damaged and hostile safetensors files and indices: each one is refused by a sentence."""

import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hw.contract.config import PRESETS, ConfigError
from sw.checkpoint import Checkpoint, CheckpointError
from sw.model_config import MAX_JSON_BYTES
from sw.pack import pack
from tests.sw.test_checkpoint import edit_config, edit_header, refused, rewrite, write

NORM = "model.norm.weight"
UP = "model.layers.1.mlp.up_proj.weight"


def _shift(header: dict[str, Any], name: str, by: int) -> None:
    header[name]["data_offsets"] = [v + by for v in header[name]["data_offsets"]]


def _swap_in(header: dict[str, Any], **fields: Any) -> None:
    header[NORM].update(fields)


HEADERS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "overlap": (lambda h: h[NORM].update(data_offsets=h["model.layers.0.input_layernorm.weight"]["data_offsets"]),
                "overlaps"),
    "out of range": (lambda h: _shift(h, NORM, 1 << 20), "but the file has"),
    "far out of range": (lambda h: _shift(h, NORM, 1 << 61), "but the file has"),
    "negative": (lambda h: _shift(h, NORM, -(1 << 40)), "invalid data offsets"),
    "reversed": (lambda h: h[NORM]["data_offsets"].reverse(), "invalid data offsets"),
    "offset type": (lambda h: _swap_in(h, data_offsets=[0.0, 64.0]), "invalid data offsets"),
    "offset count": (lambda h: _swap_in(h, data_offsets=[0]), "invalid data offsets"),
    "no offsets": (lambda h: h[NORM].pop("data_offsets"), "invalid data offsets"),
    "dtype": (lambda h: _swap_in(h, dtype="F32"), "needs 128"),
    "unknown dtype": (lambda h: _swap_in(h, dtype="I63"), "dtype 'I63'"),
    "dtype of another size": (lambda h: _swap_in(h, dtype="I64"), "needs 256"),
    "integers": (lambda h: _swap_in(h, dtype="I16"), "has dtype I16, but BF16 or F16 or F32 is needed"),
    "dtype type": (lambda h: _swap_in(h, dtype=[]), "dtype"),
    "shape": (lambda h: _swap_in(h, shape=[33]), "needs 66"),
    "huge shape": (lambda h: _swap_in(h, shape=[1 << 60, 1 << 60]), "needs"),
    "negative shape": (lambda h: _swap_in(h, shape=[-32]), "invalid shape"),
    "zero shape": (lambda h: _swap_in(h, shape=[0, 32]), "needs 0"),
    "deep shape": (lambda h: _swap_in(h, shape=[1] * 100 + [32]), "invalid shape"),
    "shape type": (lambda h: _swap_in(h, shape=True), "invalid shape"),
    "other rank": (lambda h: _swap_in(h, shape=[4, 8]), "config.json implies"),
    "no description": (lambda h: h.update({NORM: 1}), "no description"),
    "gap": (lambda h: h.pop("model.layers.0.input_layernorm.weight"), "unused bytes"),
    "renamed": (lambda h: h.update({"other": h.pop(NORM)}), "model.norm.weight is missing"),
    "float packed": (lambda h: h[UP].update(dtype="BF16", shape=[12, 16]), "has dtype BF16"),
    "byte norm": (lambda h: _swap_in(h, dtype="U8", shape=[64]), "has dtype U8"),
}


@pytest.mark.parametrize(("change", "match"), HEADERS.values(), ids=HEADERS.keys())
def test_refused_header(tmp_path: Path, change: Callable[[dict[str, Any]], object], match: str) -> None:
    folder = write(tmp_path)
    edit_header(folder, change)
    refused(folder, match)


FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda b: b"", "is empty"),
    "seven bytes": (lambda b: b[:7], "too short"),
    "header too long": (lambda b: struct.pack("<Q", len(b) - 7) + b[8:], "declares a header"),
    "header of 2^63": (lambda b: struct.pack("<Q", 1 << 63) + b[8:], "declares a header"),
    "no JSON": (lambda b: struct.pack("<Q", 4) + b[8:], "not valid JSON"),
    "truncated": (lambda b: b[:-1], "but the file has"),
    "too long": (lambda b: b + b"\0", "unused bytes at its end"),
    "no tensors": (lambda b: struct.pack("<Q", 2) + b"{}", "but the checkpoint has only [0-9]+ tensors"),
}


@pytest.mark.parametrize(("change", "match"), FILES.values(), ids=FILES.keys())
def test_refused_file(tmp_path: Path, change: Callable[[bytes], bytes], match: str) -> None:
    file = write(tmp_path) / "model.safetensors"
    file.write_bytes(change(file.read_bytes()))
    refused(tmp_path, match)


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    change(index["weight_map"])
    file.write_text(json.dumps(index))


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDICES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "absolute": (lambda m: m.update({NORM: "/etc/passwd"}), "not a file of its folder"),
    "parent": (lambda m: m.update({NORM: "../model.safetensors"}), "not a file of its folder"),
    "dots": (lambda m: m.update({NORM: ".."}), "not a file of its folder"),
    "subfolder": (lambda m: m.update({NORM: f"sub/{SECOND}"}), "not a file of its folder"),
    "backslash": (lambda m: m.update({NORM: f"..\\{SECOND}"}), "not a file of its folder"),
    "nul": (lambda m: m.update({NORM: "a\0b"}), "not a file of its folder"),
    "no name": (lambda m: m.update({NORM: ""}), "not a file of its folder"),
    "line break": (lambda m: m.update({NORM: "a\nb"}), "not a file of its folder"),
    "half a character": (lambda m: m.update({NORM: "\ud800"}), "not a file of its folder"),
    "long name": (lambda m: m.update({NORM: "ä" * 128}), "not a file of its folder"),
    "hidden": (lambda m: m.update({NORM: f".{SECOND}"}), "not a file of its folder"),
    "no text": (lambda m: m.update({NORM: 1}), "no weight_map"),
    "other shard": (lambda m: m.update({NORM: FIRST}), "index does not say so"),
    "no such shard": (lambda m: m.update({NORM: "none.safetensors"}), "does not exist|index does not say so"),
    "not listed": (lambda m: m.pop(NORM), "index does not say so"),
    "not there": (lambda m: m.update({"other": SECOND}), "but it does not"),
    "empty": (lambda m: m.clear(), "no weight_map"),
}


@pytest.mark.parametrize(("change", "match"), INDICES.values(), ids=INDICES.keys())
def test_refused_index(tmp_path: Path, change: Callable[[dict[str, Any]], object], match: str) -> None:
    folder = write(tmp_path, shards=2)
    edit_index(folder, change)
    refused(folder, match)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"a"', "{}", '{"weight_map": []}', '{"weight_map": {}}', "{"])
def test_index_that_is_none(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path, shards=2)
    (folder / "model.safetensors.index.json").write_text(text)
    refused(folder, "JSON|no weight_map")


def test_index_with_a_tensor_twice(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=2)
    file = folder / "model.safetensors.index.json"
    file.write_text(file.read_text().replace('"weight_map": {', f'"weight_map": {{"{NORM}": "{SECOND}",'))
    refused(folder, "a key occurs twice")


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    """Whichever of the two the index means, the other should not be there."""
    folder = write(tmp_path, shards=2)
    shutil.copy(folder / SECOND, folder / "other.safetensors")
    edit_index(folder, lambda m: m.update({NORM: "other.safetensors"}))
    refused(folder, "the index does not say so")


def test_sizes_that_do_not_match_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=2)
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    held = index["metadata"]["total_size"]
    for size in (held + 1, -1, "many", 1e300):
        index["metadata"]["total_size"] = size
        file.write_text(json.dumps(index))
        with pytest.warns(UserWarning, match=f"the shards hold {held}"):
            Checkpoint.open(folder)
    for metadata in (None, [], {}, {"total_size": held}):  # a warning would be an error
        index["metadata"] = metadata
        file.write_text(json.dumps(index))
        Checkpoint.open(folder)


@pytest.mark.parametrize("absolute", [False, True])
def test_shard_that_is_a_link_out(tmp_path: Path, absolute: bool) -> None:
    folder, outside = write(tmp_path / "m", shards=2), tmp_path / "outside"
    (folder / SECOND).rename(outside)
    (folder / SECOND).symlink_to(outside if absolute else "../outside")
    refused(folder, "not a file of its folder")


def test_shard_that_is_a_link_inside(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=2)
    (folder / SECOND).rename(folder / "data")
    (folder / SECOND).symlink_to("data")
    Checkpoint.open(folder)


def test_links_of_the_hub_cache(tmp_path: Path) -> None:
    """MODEL/snapshots/REVISION holds links to MODEL/blobs; those lead out of the folder, but not out of the model.
    Files that models share lie in CACHE/blobs."""
    folder = write(tmp_path / "model" / "snapshots" / "revision", shards=2)
    blobs, shared = tmp_path / "model" / "blobs", tmp_path / "blobs" / "ab"
    blobs.mkdir()
    shared.mkdir(parents=True)
    for file in list(folder.iterdir()):
        file.rename(blobs / f"sha-{file.name}")
        file.symlink_to(f"../../blobs/sha-{file.name}")
    Checkpoint.open(folder).float(NORM)
    (blobs / f"sha-{SECOND}").rename(shared / "abcd")
    (blobs / f"sha-{SECOND}").symlink_to("../../blobs/ab/abcd")
    Checkpoint.open(folder).float(NORM)
    (folder / SECOND).unlink()
    (tmp_path / "outside").write_bytes((blobs / f"sha-{SECOND}").read_bytes())
    (folder / SECOND).symlink_to("../../../outside")
    refused(folder, "not a file of its folder")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
@pytest.mark.parametrize("kind", ["folder", "fifo", "device"])
def test_what_is_no_file(tmp_path: Path, name: str, kind: str) -> None:
    folder = write(tmp_path, shards=2 if "index" in name else 1)
    (folder / name).unlink()
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "fifo":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    refused(folder, "not a file")


# ---- what is refused before memory is taken for it ----
@pytest.fixture
def little_memory() -> Iterator[None]:
    """A test that takes 64 MB fails."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64e6


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_huge_json(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, shards=2)
    with (folder / name).open("wb") as file:
        file.truncate(1 << 40)
    refused(folder, f"larger than {MAX_JSON_BYTES} bytes")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("length", [MAX_JSON_BYTES + 1, (1 << 40) - 8])
def test_huge_header(tmp_path: Path, length: int) -> None:
    folder = write(tmp_path)
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(1 << 40)
    refused(folder, f"declares a header of {length} bytes, more than {MAX_JSON_BYTES}")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("digits", [30, 400, 5000])
def test_numbers_of_many_digits(tmp_path: Path, digits: int) -> None:
    folder = write(tmp_path)
    number = 10**digits if digits < 4000 else None
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    text = content[8 : 8 + length].replace(b'"shape":[32]', b'"shape":[' + b"1" + b"0" * digits + b"]", 1)
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    refused(folder, "invalid shape" if number else "not valid JSON")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "key",
    ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
     "vocab_size", "max_position_embeddings"],
)
@pytest.mark.parametrize("value", [0, -1, 10**9, 10**12, 10**400, True, 32.0, "32", [32], {}, 1e300])
def test_absurd_sizes(tmp_path: Path, key: str, value: Any) -> None:
    folder = write(tmp_path)
    edit_config(folder, lambda c: c.update({key: value}))
    refused(folder, f"{key} must be")


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta"])
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1", "0", "1e-300", "true", '"1e-5"', "[]"])
def test_absurd_numbers(tmp_path: Path, key: str, text: str) -> None:
    folder = write(tmp_path)
    file = folder / "config.json"
    edit_config(folder, lambda c: c.update({key: "HERE"}))
    file.write_text(file.read_text().replace('"HERE"', text))
    refused(folder, f"{key} must be|not a JSON number")


SCALINGS: list[dict[str, Any]] = [
    {"rope_scaling": {"type": "linear", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
    {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    {"rope_scaling": "linear"},
    {"rope_scaling": []},
    {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
    {"rope_parameters": {"rope_type": "default"}, "rope_theta": None},
    {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    {"partial_rotary_factor": 0.25},
]


@pytest.mark.parametrize("change", SCALINGS, ids=str)
def test_rotary_embeddings_that_are_not_computed(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write(tmp_path)
    edit_config(folder, lambda c: c.update(change))
    refused(folder, "rope|rotary")


# ---- files that change while they are read ----
@pytest.mark.parametrize("name", [NORM, UP, "model.embed_tokens.weight"])
def test_a_file_that_becomes_shorter(tmp_path: Path, name: str) -> None:
    checkpoint = Checkpoint.open(write(tmp_path))
    os.truncate(checkpoint.info(name).file, checkpoint.info(name).offset + 1)
    with pytest.raises(CheckpointError, match=f"ends inside tensor {name}"):
        checkpoint.raw(name)


def test_packing_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    """An error, not the death of the process, and no image."""
    checkpoint = Checkpoint.open(write(tmp_path / "m", hidden=64, heads=1, kv_heads=1, intermediate=64))
    file = tmp_path / "m" / "model.safetensors"

    def cut(part: str, _: int) -> None:
        if part == "stream":
            os.truncate(file, 2000)

    with pytest.raises(CheckpointError, match="truncated while it was read"):
        pack(checkpoint, tmp_path / "i", PRESETS["tiny"], progress=cut)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(write(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        checkpoint.float(NORM)


# ---- numbers that the image does not hold ----
@pytest.mark.parametrize("name", [NORM, "model.layers.0.mlp.ffn_sub_norm.weight", "model.embed_tokens.weight"])
def test_values_beyond_bf16(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "m", dtype="F32", hidden=64, heads=1, kv_heads=1, intermediate=64)
    values = Checkpoint.open(folder).raw(name)
    values.flat[-1] = -3.4e38  # float32 goes to 3.4028e38, bf16 to 3.39e38
    rewrite(folder, name, values)
    with pytest.raises(CheckpointError, match=f"tensor {name} holds values that are too large for bf16"):
        pack(Checkpoint.open(folder), tmp_path / "i", PRESETS["tiny"])


def test_a_model_that_the_packet_stream_cannot_describe(tmp_path: Path) -> None:
    """2^20 blocks of 4224 bytes: the stride from one KV head to the next has 32 bits."""
    folder = write(tmp_path / "m", hidden=128, heads=1, kv_heads=1, intermediate=64, positions=1 << 24)
    config = PRESETS["tiny"].replace(max_positions=1 << 24)
    with pytest.raises(ConfigError, match="packet stream: field kv_head_stride of ATTEND is 4429185024"):
        pack(Checkpoint.open(folder), tmp_path / "i", config)
    pack(Checkpoint.open(folder), tmp_path / "i", config, context=64)


def test_missing_files(tmp_path: Path) -> None:
    refused(tmp_path / "none", "not a folder")
    refused(tmp_path, "config.json does not exist")
    folder = write(tmp_path, shards=2)
    (folder / SECOND).unlink()
    refused(folder, "does not exist")
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, "has neither")
