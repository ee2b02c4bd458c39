"""Scrubbing against an array that plays a machine's memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.config import PRESETS
from sim.random_checkpoint import write_random_checkpoint
from sw import scrub as module
from sw.checkpoint import Checkpoint
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.pack import pack
from sw.scrub import scrub

BASE = 0x3_0000
TINY = PRESETS["tiny"].replace(candidates=64)
CONFIGS = {"one port": TINY, "two ports": TINY.replace(name="two ports", ports=2, rows=4)}


@pytest.fixture(params=CONFIGS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> ModelImage:
    write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1, vocab=33,
                            positions=24, seed=3)
    pack(Checkpoint.open(tmp_path / "m"), tmp_path / "i", CONFIGS[request.param], split=True)
    return ModelImage.open(tmp_path / "i", CONFIGS[request.param])


def memory_of(image: ModelImage) -> NDArray[np.uint8]:
    """The image at BASE, with something else around it."""
    return np.concatenate([np.full(BASE, 0xEE, np.uint8), image.memory, np.full(4096, 0xEE, np.uint8)])


def run(image: ModelImage, memory: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """What the progress was."""
    seen: list[tuple[int, int]] = []
    scrub(lambda address, size: memory[address : address + size].copy(), image, BASE,
          lambda done, total: seen.append((done, total)))
    return seen


@pytest.mark.parametrize("chunk_bytes", [1000, 4096, 1 << 22])
def test_a_good_image(image: ModelImage, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte of every region is read once, and the progress ends at all of them."""
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    seen = run(image, memory_of(image))
    total = sum(region.area for region in image.plan.regions.values())
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (total, total)


@pytest.mark.parametrize("chunk_bytes", [1000, 1 << 22])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("name", ["stream", "head", "embed", "rope", "high"])
def test_a_flipped_bit(
    image: ModelImage, name: str, place: str, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    region, memory = image.plan.regions[name], memory_of(image)
    offset = {"first": 0, "middle": region.area // 2, "last": region.area - 1}[place]
    at = BASE + region.offset + offset
    memory[at] ^= 4
    with pytest.raises(HardwareError, match=(
        f"^region {name} of the image is damaged in the accelerator's memory: byte {offset} of it, at {at:#x}, is "
        f"{memory[at]:#04x}, not {memory[at] ^ 4:#04x}; load the image again$"
    )):
        run(image, memory)


def test_a_file_that_has_changed_as_well(image: ModelImage) -> None:
    """The CRC of the table decides."""
    memory = memory_of(image)
    with image.path.open("r+b") as file:
        file.seek(image.plan.regions["rope"].offset)
        file.write(b"\x55")
    memory[BASE + image.plan.regions["rope"].offset] = 0x55
    with pytest.raises(HardwareError, match=r"region rope .*the file has changed as well"):
        run(image, memory)


def test_what_lies_beside_the_image_does_not_count(image: ModelImage) -> None:
    memory = memory_of(image)
    memory[BASE - 1] ^= 1
    memory[BASE + len(image.memory)] ^= 1
    run(image, memory)
