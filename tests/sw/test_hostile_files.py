"""Damaged and hostile safetensors files and indices: each one is refused by a sentence."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sw.test_checkpoint import edit_header, refused, write

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
    "unknown dtype": (lambda h: _swap_in(h, dtype="I64"), "dtype 'I64'"),
    "dtype type": (lambda h: _swap_in(h, dtype=[]), "dtype"),
    "shape": (lambda h: _swap_in(h, shape=[33]), "needs 66"),
    "huge shape": (lambda h: _swap_in(h, shape=[1 << 60, 1 << 60]), "needs"),
    "negative shape": (lambda h: _swap_in(h, shape=[-32]), "invalid shape"),
    "zero shape": (lambda h: _swap_in(h, shape=[0, 32]), "invalid shape"),
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
    "empty": (lambda b: b"", "too short"),
    "seven bytes": (lambda b: b[:7], "too short"),
    "header too long": (lambda b: struct.pack("<Q", len(b) - 7) + b[8:], "declares a header"),
    "header of 2^63": (lambda b: struct.pack("<Q", 1 << 63) + b[8:], "declares a header"),
    "no JSON": (lambda b: struct.pack("<Q", 4) + b[8:], "not valid JSON"),
    "truncated": (lambda b: b[:-1], "but the file has"),
    "too long": (lambda b: b + b"\0", "unused bytes at its end"),
    "no tensors": (lambda b: struct.pack("<Q", 2) + b"{}", "more than there are tensors"),
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


def test_missing_files(tmp_path: Path) -> None:
    refused(tmp_path / "none", "not a folder")
    refused(tmp_path, "config.json does not exist")
    folder = write(tmp_path, shards=2)
    (folder / SECOND).unlink()
    refused(folder, "does not exist")
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, "has neither")
