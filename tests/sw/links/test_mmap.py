"""Registers and memory by memory mapping, on a chip that is a folder with a golden machine in it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS
from hw.contract.register_map import find
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.machine import MachineLink
from sw.links.mmap import BUFFER_NAME, CACHE_LINE_BYTES, MmapBus
from sw.links.stop import Stopped
from sw.pack import pack
from sw.requests import Job
from tests.sw.links.mmap_device import PHYSICAL, ChipInFolder, chip_in_folder

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models" / "shakespeare-nano"
CONFIG = PRESETS["tiny"]
SIZE = 16 << 20
BASE = 0x8_7004_0000


@pytest.fixture
def chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChipInFolder]:
    with chip_in_folder(tmp_path / "root", CONFIG, SIZE, monkeypatch) as chip:
        monkeypatch.setattr("sw.links.mmap.MmapBus", partial(MmapBus, root=chip.root))
        yield chip


def packed(checkpoint: Path, path: Path) -> ModelImage:
    pack(Checkpoint.open(checkpoint), path, CONFIG)
    return ModelImage.open(path, CONFIG)


def test_generate_equals_golden(chip: ChipInFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo model from the command line: image into memory, prompt, tokens and every logit back."""
    found = []
    for backend in ("golden", "mmap"):
        file = tmp_path / f"{backend}.npz"
        arguments = ["generate", str(DEMO), "--prompt", "ROMEO:", "--max-new-tokens", "12"]
        stats = ["--stats", str(tmp_path / "stats.json")] if backend == "mmap" else []
        assert main([*arguments, "--backend", backend, "--logits", str(file), *stats]) == 0
        found.append((capsys.readouterr().out, np.load(file)))
    (text, golden), (mapped_text, mapped) = found
    assert mapped_text == text
    for name in ("tokens", "logits"):
        np.testing.assert_array_equal(mapped[name], golden[name])
    assert chip.runs == 1
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert (stats["positions_fed"], stats["busy_cycles"]["stream"]) == (6 + 11, chip.register("STREAM_BUSY_LO"))
    assert "read_bytes" not in stats  # nobody counts it there


def test_stats_need_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(DEMO), "--prompt", "a", "--stats", "s.json"]) == 2
    assert "which the golden model does not have" in capsys.readouterr().err


def test_drawn_tokens_equal_golden(chip: ChipInFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A run per token, each with its row of logits."""
    found = []
    for backend in ("golden", "mmap"):
        arguments = ["generate", str(DEMO), "--prompt", "ROMEO:", "--max-new-tokens", "8", "--temperature", "0.9"]
        assert main([*arguments, "--backend", backend]) == 0
        found.append(capsys.readouterr().out)
    assert found[1] == found[0]
    assert chip.runs == 8


def test_a_batch_equals_golden(
    chip: ChipInFolder, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several runs on one image; KV memory stays between them."""
    prompts = tmp_path / "prompts"
    prompts.write_text("".join(f'{{"prompt_ids": {ids}}}\n' for ids in ([1, 2, 3], [4], [5, 6])))
    found = []
    for backend in ("golden", "mmap"):
        arguments = ["generate", str(small), "--batch", str(prompts), "--max-new-tokens", "5"]
        assert main([*arguments, "--backend", backend]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert chip.runs > 3


def test_the_image_starts_at_the_first_aligned_address(chip: ChipInFolder, small: Path, tmp_path: Path) -> None:
    image = packed(small, tmp_path / "i")
    bus = MmapBus(root=chip.root)
    assert bus.base == BASE
    MachineLink(image, bus).load()
    start = BASE - PHYSICAL
    np.testing.assert_array_equal(chip.memory[start : start + len(image.memory)], image.memory)


def test_a_write_keeps_what_the_machine_wrote_beside_it(chip: ChipInFolder) -> None:
    """Both are in one cache line, which the processor has read before."""
    bus = MmapBus(root=chip.root)

    async def write() -> None:
        await bus.read_memory(BASE, CACHE_LINE_BYTES)
        at = BASE - PHYSICAL
        chip.memory[at : at + 64] = 7
        await bus.write_memory(BASE + 3, b"\x01\x02")
        assert [*chip.memory[at : at + 64]] == [7, 7, 7, 1, 2, *[7] * 59]
        assert [*await bus.read_memory(BASE + 2, 4)] == [7, 1, 2, 7]

    asyncio.run(write())


def test_a_run_that_hangs_is_aborted(chip: ChipInFolder, small: Path, tmp_path: Path) -> None:
    image = packed(small, tmp_path / "i")
    bus = MmapBus(root=chip.root)
    link = MachineLink(image, bus)
    chip.stuck = True
    with pytest.raises(HardwareError, match=r"hangs: it read nothing from the packet stream for .* clocks; check"):
        list(link.run(Job(prompt=(1,), max_new_tokens=1, chunk=1)))
    chip.stuck = False
    assert len(list(link.run(Job(prompt=(1,), max_new_tokens=3, chunk=1)))) == 3
    assert link.stats
    assert link.stats.cycles > 0


def test_closing_a_run_aborts_it(chip: ChipInFolder, small: Path, tmp_path: Path) -> None:
    bus = MmapBus(root=chip.root)
    link = MachineLink(packed(small, tmp_path / "i"), bus)
    run = link.run(Job(prompt=(1,), max_new_tokens=3, chunk=1))
    next(run)
    run.close()
    chip.settled()
    assert asyncio.run(bus.read_registers([0x014])) == [0]
    assert link.stats is None


def test_memory_that_forgets_is_noticed(
    chip: ChipInFolder, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, bus = packed(small, tmp_path / "i"), MmapBus(root=chip.root)

    def forgetful(*arguments: object) -> int:
        size = chip.pwrite(*arguments)
        chip.memory[BASE - PHYSICAL + 5000] = image.memory[5000] ^ 1
        return size

    monkeypatch.setattr(os, "pwrite", forgetful)
    with pytest.raises(HardwareError, match=f"does not keep the image: the byte at {BASE + 5000:#x}"):
        MachineLink(image, bus).load()


# ---- interrupt


def test_the_interrupt_ends_the_wait(
    chip: ChipInFolder, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pauses longer than the test may take, every run is seen to end."""
    monkeypatch.setattr("sw.links.mmap.PAUSE_S", 1000)
    monkeypatch.setattr("sw.links.mmap.INTERRUPT_PAUSE_S", 1000)
    chip.with_interrupt(monkeypatch)
    with closing(MmapBus(root=chip.root)) as bus:
        link = MachineLink(packed(small, tmp_path / "i"), bus)
        for runs in (1, 2, 3):
            assert len(list(link.run(Job(prompt=(1,), max_new_tokens=3, chunk=1)))) == 3
            assert chip.runs == runs
    assert chip.interrupts == 3


def test_a_lost_interrupt_costs_time_alone(
    chip: ChipInFolder, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip.with_interrupt(monkeypatch)
    chip.deaf = True
    with closing(MmapBus(root=chip.root)) as bus:
        link = MachineLink(packed(small, tmp_path / "i"), bus)
        assert len(list(link.run(Job(prompt=(1,), max_new_tokens=3, chunk=1)))) == 3
    assert chip.interrupts == 0


def test_a_wait_for_an_interrupt_can_be_stopped(
    chip: ChipInFolder, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread does it, in the middle of a pause that would last longer than the test."""
    chip.with_interrupt(monkeypatch)
    chip.stuck = True
    bus = MmapBus(root=chip.root)
    link = MachineLink(packed(small, tmp_path / "i"), bus)
    link.load()
    with monkeypatch.context() as change:
        change.setattr("sw.links.mmap.PAUSE_S", 1000)
        timer = threading.Timer(0.2, lambda: (change.setattr("sw.links.mmap.PAUSE_S", 0.001), link.stop.ask()))
        timer.start()
        with pytest.raises(Stopped):
            list(link.run(Job(prompt=(1,), max_new_tokens=3, chunk=1)))
        timer.join()
    chip.settled()
    assert asyncio.run(bus.read_registers([find("STATUS").address])) == [0]
    bus.close()
    bus.close()
    with pytest.raises(HardwareError, match="was closed"):
        asyncio.run(bus.pause(0))


def test_an_interrupt_that_fails(chip: ChipInFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, word: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    chip.with_interrupt(monkeypatch)
    with closing(MmapBus(root=chip.root)) as bus:
        monkeypatch.setattr(os, "write", refuse)
        with pytest.raises(HardwareError, match=r"interrupt of .*uio7 failed: Input/output error; load"):
            asyncio.run(bus.pause(0))
        monkeypatch.undo()


# ---- what is not there


def test_a_buffer_that_is_too_small(chip: ChipInFolder, small: Path, tmp_path: Path) -> None:
    """Rows of logits need room only where they are asked for."""
    image, bus = packed(small, tmp_path / "i"), MmapBus(root=chip.root)
    layout, job = image.plan.layout(bus.base), Job(prompt=(1,), max_new_tokens=3, chunk=1)
    bus.memory.size = layout.logits - PHYSICAL - 1
    with pytest.raises(HardwareError, match="outside of the accelerator's memory"):
        MachineLink(image, bus).load()
    bus.memory.size += 1
    link = MachineLink(image, bus)
    assert len(list(link.run(job))) == 3
    scored = replace(job, all_logits=True)
    bus.memory.size = layout.used_end(scored) - PHYSICAL - 1
    with pytest.raises(HardwareError, match="outside of the accelerator's memory"):
        next(link.run(scored))
    assert chip.runs == 1
    bus.memory.size += 1
    assert len(list(link.run(scored))[-1].rows) == 3


@pytest.mark.parametrize("address", [PHYSICAL - 1, PHYSICAL + SIZE - 3, 0])
def test_memory_outside_of_the_buffer(chip: ChipInFolder, address: int) -> None:
    bus = MmapBus(root=chip.root)
    with pytest.raises(HardwareError, match=f"4 bytes at {address:#x} are outside"):
        asyncio.run(bus.read_memory(address, 4))
    with pytest.raises(HardwareError, match="are outside"):
        asyncio.run(bus.write_memory(address, bytes(4)))


@pytest.mark.parametrize("path, text, reason", [
    ("sys/class/uio/uio7/name", "other\n", "no UIO device named bitnet: load the bitstream"),
    ("sys/class/uio/uio7/maps/map0/size", "0x800\n", "window of 2048 bytes; the registers take 4096"),
    ("sys/class/uio/uio7/maps/map0/size", "none\n", "size does not hold a number"),
    (f"sys/class/u-dma-buf/{BUFFER_NAME}/size", f"{1 << 32}\n", "must stay below 4 GiB"),
    (f"sys/class/u-dma-buf/{BUFFER_NAME}/size", f"{SIZE + 4096}\n", "cannot map"),
])
def test_devices_that_do_not_fit(chip: ChipInFolder, path: str, text: str, reason: str) -> None:
    (chip.root / path).write_text(text)
    with pytest.raises(HardwareError, match=reason):
        MmapBus(root=chip.root)


@pytest.mark.parametrize("path, reason", [
    ("dev/uio7", "cannot open .*uio7: No such file"), (f"dev/{BUFFER_NAME}", "cannot open .*: No such file"),
    (f"sys/class/u-dma-buf/{BUFFER_NAME}/phys_addr", "phys_addr does not hold a number"),
    (f"sys/class/u-dma-buf/{BUFFER_NAME}/sync_for_cpu", "cannot open .*sync_for_cpu"),
])
def test_devices_that_are_missing(chip: ChipInFolder, path: str, reason: str) -> None:
    (chip.root / path).unlink()
    with pytest.raises(HardwareError, match=reason):
        MmapBus(root=chip.root)


def test_no_permission(chip: ChipInFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HardwareError, match=r"no permission to open .*uio7: run as root"):
        MmapBus(root=chip.root)


def test_a_machine_without_the_devices(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(small), "--prompt-ids", "1", "--max-new-tokens", "1", "--backend", "mmap"]
    assert main(arguments) == 3
    assert "error: there is no UIO device named bitnet" in capsys.readouterr().err
