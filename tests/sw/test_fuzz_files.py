"""Seeded damage to valid files of every format that is read: each reads, or is refused by an error of ours, in less
than two seconds and little memory."""

from __future__ import annotations

import json
import random
import resource
import shutil
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hw.contract.config import PRESETS, ConfigError
from sw.checkpoint import Checkpoint, CheckpointError
from sw.cli.prompts import read_batch
from sw.errors import ImageError, JobError
from sw.image import ModelImage
from sw.model_plan import HEADER_SIZE, ModelPlan
from sw.pack import model_shape, pack
from sw.text import CheckpointText
from sw.tokenizer import CheckpointTokenizer
from tests.sw.test_checkpoint import write

TINY = PRESETS["tiny"]
DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
CASES = 250
SECONDS = 2.0
MEMORY = 300e6
REFUSALS = (CheckpointError, ConfigError, ImageError, JobError)
HOSTILE = (
    "null", "true", "0", "-1", "0.5", "1e400", "-1e400", "NaN", "Infinity", "9" * 30, "9" * 4000, "9" * 6000, "1e-400",
    "9223372036854775808", '""', '"' + "x" * 100_000 + '"', '"\\ud800"', '"\\u0000"', "[]", "{}", "[[[[[1]]]]]",
    "[" * 900 + "]" * 900, "[" * 200_000, '{"a":' * 50_000, "[" + "0," * 100_000 + "0]", '{"a":1,"a":1}', "\xff", "'",
)
MARK = "here comes what is hostile"


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container inside of a JSON value, with each of its keys or indices."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def damage_json(text: bytes, chance: random.Random) -> bytes:
    """A value replaced, removed or given twice, or some bytes changed."""
    if chance.random() < 0.3:
        return damage_bytes(text, chance)
    value = json.loads(text)
    container, key = chance.choice(places(value))
    kind = chance.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[chance.choice(["", "x" * 300, "\ud800", "\0", "../x", *container])] = container[key]
    else:
        container[key] = MARK
    return json.dumps(value).encode().replace(f'"{MARK}"'.encode(), chance.choice(HOSTILE).encode("latin-1"))


def damage_bytes(content: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut out, repeated or inserted; or the end cut off."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at, size = chance.randrange(len(data) + 1), chance.choice([1, 1, 2, 8, 100, 5000])
        kind = chance.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = data[at : at + size]
        elif kind == 3:
            data[at : at + size] = chance.randbytes(size)
        elif kind == 4 and chance.random() < 0.2:
            del data[at:]
    return bytes(data)


def damage_tensors(content: bytes, chance: random.Random) -> bytes:
    """The header of a safetensors file, or the length in front of it, or its data."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    kind = chance.randrange(6)
    if kind == 0:
        said = chance.choice([0, 1, length - 1, length + 1, 1 << 31, 1 << 63, (1 << 64) - 1])
        return struct.pack("<Q", said) + content[8:]
    if kind == 1:
        return content[: 8 + length] + damage_bytes(data, chance)
    header = damage_json(header, chance)
    return struct.pack("<Q", len(header)) + header + data


def damage_image(content: bytes, chance: random.Random) -> bytes:
    """The JSON, the fields in front of it, or anything; mostly with a header whose CRC is correct."""
    fixed = struct.Struct("<8sIIQQI")
    values = list(fixed.unpack_from(content))
    start = fixed.size + 28 * values[2]
    text, table = content[start : start + values[5]], content[fixed.size : start]
    kind = chance.randrange(4)
    if kind == 0:
        text = damage_json(text, chance)[: HEADER_SIZE - 4 - start]
    elif kind == 1:
        field = chance.randrange(1, 6)
        most = 1 << (64 if field in (3, 4) else 32)
        values[field] = chance.choice([0, 1, values[field] + 1, most - 1, chance.randrange(most)])
    elif kind == 2:
        table = damage_bytes(table, chance)[: len(table)].ljust(len(table), b"\xff")
    if kind != 1:
        values[5] = len(text)
    body = content[HEADER_SIZE:] if kind < 3 else damage_bytes(content[HEADER_SIZE:], chance)
    head = (fixed.pack(*values) + table + text).ljust(HEADER_SIZE - 4, b"\0")
    sealed = zlib.crc32(head) if chance.random() < 0.9 else 0
    return head + struct.pack("<I", sealed) + body


def read_checkpoint(path: Path) -> None:
    checkpoint = Checkpoint.open(path.parent)
    for name, info in checkpoint.tensors.items():
        if info.dtype == "U8":
            list(checkpoint.ternary(name).blocks())
        else:
            checkpoint.float(name)
    ModelPlan(TINY, model_shape(checkpoint))


def read_image(path: Path) -> None:
    ModelImage.open(path, TINY).verify()


def read_tokenizer(path: Path) -> None:
    tokenizer = CheckpointTokenizer(path)
    tokenizer.decode(tokenizer.encode("ROMEO: To be, or not to be"))


def read_prompts(path: Path) -> None:
    read_batch(path, CheckpointText.open(DEMO, 512), 4, 1)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    write(folder / "plain", layers=1)
    write(folder / "shards", layers=1, shards=2)
    shutil.copy(DEMO / "tokenizer.json", folder)
    (folder / "batch").write_text(
        '{"prompt": "ROMEO:", "max_new_tokens": 5}\n{"prompt_ids": [17, 2, 3]}\n\n'
        '{"prompt_ids": [9], "max_new_tokens": 0}\n'
    )
    write(folder / "large", hidden=64, heads=1, kv_heads=1, intermediate=64, layers=1)
    pack(Checkpoint.open(folder / "large"), folder / "image", TINY)
    return folder


Damage = Callable[[bytes, random.Random], bytes]
FORMATS: dict[str, tuple[str, Damage, Callable[[Path], None]]] = {
    "config": ("plain/config.json", damage_json, read_checkpoint),
    "tensors": ("plain/model.safetensors", damage_tensors, read_checkpoint),
    "shard": ("shards/model-00002-of-00002.safetensors", damage_tensors, read_checkpoint),
    "index": ("shards/model.safetensors.index.json", damage_json, read_checkpoint),
    "tokenizer": ("tokenizer.json", damage_json, read_tokenizer),
    "batch": ("batch", lambda content, chance: b"\n".join(
        damage_json(line, chance) if line and chance.random() < 0.5 else line for line in content.split(b"\n")
    ), read_prompts),
    "image": ("image", damage_image, read_image),
}


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name: str, originals: Path) -> None:
    """Some are refused and some are not, or the damage would be of no use."""
    file, damage, read = FORMATS[name]
    path, chance = originals / file, random.Random(name)
    content, refused = path.read_bytes(), 0
    read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for case in range(CASES):
            path.write_bytes(damage(content, chance))
            start = time.process_time()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(path)
            except REFUSALS:
                refused += 1
            except Exception as error:
                kind, begin = type(error).__name__, path.read_bytes()[:300]
                pytest.fail(f"case {case}: {kind}: {str(error)[:200]}; the file begins {begin!r}")
            assert time.process_time() - start < SECONDS, case
    finally:
        path.write_bytes(content)
    assert refused > CASES // 4
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MEMORY
