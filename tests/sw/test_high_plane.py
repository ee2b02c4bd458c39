"""The region `high` of an image, read byte by byte as docs/isa.md has it, without what packs it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig, ConfigError
from hw.contract.isa import Flags, Opcode, decode_header
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack

TINY = PRESETS["tiny"]
DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
CONFIGS = {
    1: TINY.replace(name="one port", candidates=64),
    2: TINY.replace(name="two ports", ports=2, rows=4, candidates=128),
    4: PRESETS["kv260"].replace(name="four ports", candidates=8192),
}


def packed(folder: Path, config: AccelConfig, split: bool, separate_head: bool = False) -> ModelImage:
    """A model whose rows are no whole groups, and whose inputs are no whole beats of two codes in a byte."""
    checkpoint = write_random_checkpoint(folder / "c", hidden=104, intermediate=72, layers=1, heads=2, kv_heads=1,
                                         head_dim=52, vocab=83, positions=16, seed=3, separate_head=separate_head)
    path = folder / f"{config.name}-{split}"
    pack(Checkpoint.open(checkpoint), path, config, split=split)
    image = ModelImage.open(path, config)
    image.verify()
    return image


def beat(config: AccelConfig, content: bytes, number: int, port: int) -> bytes:
    """A beat of a port, counted from the start of the payload."""
    start = (number * config.ports + port) * config.port_bits // 8
    return content[start : start + config.port_bits // 8]


def int8_row(config: AccelConfig, content: bytes, row: int, row_beats: int) -> tuple[bytes, float]:
    """The bytes of row i: row i // P mod s of group i // (P s), on port i mod P; and its scale."""
    s = config.port_bits // 32
    group, place, port = row // (config.ports * s), row // config.ports % s, row % config.ports
    first = group * (1 + s * row_beats)
    at = first + 1 + place * row_beats
    codes = b"".join(beat(config, content, at + n, port) for n in range(row_beats))
    return codes, struct.unpack_from("<f", beat(config, content, first, port), 4 * place)[0]


def signed(byte: int, bits: int) -> int:
    return byte - (1 << bits) if byte >> bits - 1 else byte


@pytest.mark.parametrize("separate_head", [False, True])
@pytest.mark.parametrize("ports", CONFIGS)
def test_every_code_of_the_plane(ports: int, separate_head: bool, tmp_path: Path) -> None:
    config = CONFIGS[ports]
    image = packed(tmp_path, config, True, separate_head)
    region = image.view("high").tobytes()
    header, payload = decode_header(region[: config.header_bytes]), region[config.header_bytes :]
    assert (header["opcode"], header["flags"]) == (Opcode.LM_HEAD.value, Flags.HIGH.value)
    assert (header["hidden"], header["vocabulary"]) == (104, 83)
    assert header["payload_beats"] * config.stream_bytes == len(payload)
    width = config.port_bits // 8
    wide, half, s = -(-104 // width), -(-104 // (2 * width)), config.port_bits // 32

    first = (1 + s * wide) * config.stream_bytes
    complements, _ = int8_row(config, payload, 0, wide)
    assert set(complements[:104]) <= set(range(1, 18))
    assert len(set(complements[:104])) > 8
    row_0 = {(1 + n) * config.stream_bytes + byte for n in range(wide) for byte in range(width)}
    assert not any(payload[n] for n in range(first) if n not in row_0)
    assert not any(complements[104:])

    head, plane = image.view("head").tobytes()[config.header_bytes :], payload[first:]
    for row in range(83):
        codes, scale = int8_row(config, head, row, wide)
        high, same = int8_row(config, plane, row, half)
        assert scale == same
        for element in range(2 * width * half):
            byte = high[element // (2 * width) * width + element % width]
            code = signed(byte >> 4 if element // width % 2 else byte & 15, 4)
            if element >= 104:
                assert code == 0
                continue
            d = 17 - complements[element]
            assert code == (signed(codes[element], 8) + 127 + d) // 17 - 8
    groups = len(plane) // ((1 + s * half) * config.stream_bytes)
    assert groups == -(-83 // (ports * s))
    for row in range(83, groups * ports * s):
        high, scale = int8_row(config, plane, row, half)
        assert not any(high)
        assert scale == 0


@pytest.mark.parametrize("ports", CONFIGS)
def test_the_other_regions_are_what_they_are_without_it(ports: int, tmp_path: Path) -> None:
    full, split = (packed(tmp_path, CONFIGS[ports], split) for split in (False, True))
    assert [*split.plan.regions] == [*full.plan.regions, "high"]
    for name, region in full.plan.regions.items():
        assert split.plan.regions[name] == region
        np.testing.assert_array_equal(split.view(name), full.view(name))
    assert split.plan.regions["high"].stripes == ports
    assert not full.plan.split
    assert split.plan.split


def test_candidates_alone_change_no_byte_but_the_build_id(tmp_path: Path) -> None:
    """And the CRC over it, and the name."""
    contents = []
    for config in (CONFIGS[1], CONFIGS[1].replace(candidates=0)):
        pack(Checkpoint.open(DEMO), tmp_path / "i", config)
        contents.append(np.fromfile(tmp_path / "i", np.uint8))
    differ = np.flatnonzero(contents[0] != contents[1])
    assert {int(at) for at in differ} <= {*range(16, 24), *range(4092, 4096)}


def test_packing_again_makes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the rows that are converted at a time: here, all and a group."""
    pack(Checkpoint.open(DEMO), tmp_path / "a", CONFIGS[1], split=True)
    monkeypatch.setattr("sw.pack.PACK_CHUNK_ELEMENTS", 1)
    pack(Checkpoint.open(DEMO), tmp_path / "b", CONFIGS[1], split=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_preset_without_a_split_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="preset tiny has no split head: set candidates"):
        pack(Checkpoint.open(DEMO), tmp_path / "i", TINY, split=True)
    assert main(["pack", str(DEMO), "-o", str(tmp_path / "i"), "--head", "split"]) == 2
    assert "preset tiny has no split head: set candidates" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_packs_and_describes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = "examples/presets/tiny-split.toml"
    arguments = [str(DEMO), "-o", str(tmp_path / "i"), "--preset", preset, "--json"]
    regions = []
    for head in ("full", "split"):
        assert main(["pack", *arguments, "--head", head]) == 0
        regions.append(json.loads(capsys.readouterr().out)["regions"])
    assert [*regions[0]] == ["stream", "head", "embed", "rope"]
    assert {name: regions[1][name] for name in regions[0]} == regions[0]
    assert regions[1]["high"]["bytes"] < 0.52 * regions[0]["head"]["bytes"]
    assert main(["inspect", str(tmp_path / "i"), "--preset", preset, "--json"]) == 0
    assert "high" in json.loads(capsys.readouterr().out)["regions"]
