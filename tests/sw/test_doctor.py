"""A healthy board passes; a fault is found by the check that is nearest to it, and named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.config import PRESETS
from sim.golden.machine import GoldenMachine
from sw.__main__ import main
from sw.cli.doctor.examine import examine
from sw.cli.doctor.finding import Finding
from sw.links.mmap import MmapBus
from tests.sw.links.mmap_device import ChipInFolder, chip_in_folder

CONFIG = PRESETS["tiny"]
SIZE = (1 << 20) + 0xC000
"""From its first multiple of 64 KiB on, the buffer has 1 MiB."""
CHECKS = ["build", "data lines", "address lines", "random content", "all memory", "embedding and head", "bitlinear",
          "token"]


class Faulty(MmapBus):
    """`damage` gets an address of memory, from the base on, and what was read there, and changes it."""

    damage: Callable[[int, NDArray[np.uint8]], None] = staticmethod(lambda at, content: None)
    alias: Callable[[int], int] = staticmethod(lambda at: at)

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        at = self.base + self.alias(address - self.base)
        content = await super().read_memory(at, size)
        self.damage(address - self.base, content)
        return content

    async def write_memory(self, address: int, content: bytes) -> None:
        await super().write_memory(self.base + self.alias(address - self.base), content)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    with chip_in_folder(tmp_path / "root", CONFIG, SIZE, monkeypatch) as chip:
        yield Faulty(root=chip.root)


def findings(bus: Faulty, full: bool = False) -> list[Finding]:
    return list(examine(CONFIG, bus, full=full, progress=lambda done, total: None))


def last(bus: Faulty, full: bool = False) -> Finding:
    found = findings(bus, full)
    assert all(finding.ok for finding in found[:-1])
    assert not found[-1].ok
    assert [finding.check for finding in found] == [c for c in CHECKS if full or c != "all memory"][: len(found)]
    return found[-1]


@pytest.mark.parametrize("full", [False, True])
def test_a_healthy_board(bus: Faulty, full: bool) -> None:
    found = findings(bus, full)
    assert [finding.check for finding in found] == [check for check in CHECKS if full or check != "all memory"]
    assert all(finding.ok for finding in found), found


def test_another_build(bus: Faulty) -> None:
    other = CONFIG.replace(name="other", stream_fifo_beats=CONFIG.stream_fifo_beats * 2)
    found = list(examine(other, bus, full=False, progress=lambda done, total: None))
    assert [(finding.check, finding.ok) for finding in found] == [("build", False)]
    assert "use the preset that it was built with" in found[0].text


def test_a_data_line_that_is_stuck(bus: Faulty) -> None:
    def damage(at: int, content: NDArray[np.uint8]) -> None:
        content[(5 - at) % 8 :: 8] |= 0x10

    bus.damage = damage
    finding = last(bus)
    assert finding.check == "data lines"
    assert "bits 44 of 64 never change" in finding.text


def test_two_data_lines_that_touch(bus: Faulty) -> None:
    def damage(at: int, content: NDArray[np.uint8]) -> None:
        both = content[(-at) % 8 :: 8] & 3 == 3
        content[(-at) % 8 :: 8] = content[(-at) % 8 :: 8] & ~np.uint8(3) | 3 * both

    bus.damage = damage
    finding = last(bus)
    assert finding.check == "data lines"
    assert "bits 0, 1 of 64 read back wrong" in finding.text


@pytest.mark.parametrize("bit", [6, 12, 19])
@pytest.mark.parametrize("level", [0, 1])
def test_an_address_line_that_is_stuck(bus: Faulty, bit: int, level: int) -> None:
    bus.alias = lambda at: at & ~(1 << bit) | level << bit
    finding = last(bus)
    assert finding.check == "address lines"
    assert f"address bit {bit} is open or shorted" in finding.text


def test_less_memory_than_the_board_says(bus: Faulty) -> None:
    bus.alias = lambda at: at % (1 << 18)
    finding = last(bus)
    assert finding.check == "address lines"
    assert "address bit 18 " in finding.text
    assert re.search(r"the memory is smaller than the [\d,]+ bytes that the board reports", finding.text)


def test_a_cell_that_forgets(bus: Faulty) -> None:
    """In the last block, where no line is tested."""
    place = bus.memory_bytes - 77

    def damage(at: int, content: NDArray[np.uint8]) -> None:
        if at <= place < at + len(content):
            content[place - at] ^= 0x42

    bus.damage = damage
    finding = last(bus)
    assert finding.check == "random content"
    assert f"1 of 16384 bytes at {bus.base + bus.memory_bytes - 16384:#x} are wrong" in finding.text
    assert f"{bus.base + place:#x}, in bits 1, 6 of the byte" in finding.text


def test_a_cell_that_only_all_of_memory_shows(bus: Faulty) -> None:
    place = 300_001

    def damage(at: int, content: NDArray[np.uint8]) -> None:
        if at <= place < at + len(content):
            content[place - at] |= 1

    bus.damage = damage
    assert all(finding.ok for finding in findings(bus)[:4])
    finding = last(bus, full=True)
    assert finding.check == "all memory"
    assert f"{bus.base + place:#x}" in finding.text


def test_reads_that_are_wrong_now_and_then(bus: Faulty) -> None:
    """A checksum was wrong, the bytes that are read afterwards are right."""
    checksums, count = bus.checksums, [0]

    async def marginal(address: int, size: int) -> list[int]:
        found = await checksums(address, size)
        count[0] += 1
        return [found[0] ^ 1, *found[1:]] if count[0] == 12 else found

    bus.checksums = marginal
    finding = last(bus)
    assert finding.check == "random content"
    assert "attempt 4 of 8, and correctly afterwards" in finding.text


@pytest.mark.parametrize(("method", "check", "suspect"), [
    ("embed", "embedding and head", "the scratchpad"), ("matmul", "bitlinear", "the ternary array"),
    ("attend", "token", "attention"),
])
def test_a_unit_that_computes_wrong(
    bus: Faulty, monkeypatch: pytest.MonkeyPatch, method: str, check: str, suspect: str
) -> None:
    """The golden machine in the chip has a wrong sign, the one of the host does not."""
    right = getattr(GoldenMachine, method)

    def wrong(machine: GoldenMachine, header: Any, payload: NDArray[np.uint8]) -> None:
        right(machine, header, payload)
        if "from_memory" in str(machine.image.path) and not (method == "attend" and max(machine.positions) == 0):
            area = machine.h if method == "embed" else machine.work
            area[:] = 0 - area

    monkeypatch.setattr(GoldenMachine, method, wrong)
    finding = last(bus)
    assert finding.check == check
    assert suspect in finding.text


def run(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    code = main(["doctor", "--board", "kv260", *options])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def kv260(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChipInFolder]:
    with chip_in_folder(tmp_path / "root", PRESETS["kv260"], SIZE, monkeypatch) as chip:
        monkeypatch.setattr("sw.links.mmap.MmapBus", partial(MmapBus, root=chip.root))
        yield chip


def test_command(kv260: ChipInFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--full")
    assert (code, err) == (0, "")
    assert [line[:21].strip() for line in out.splitlines()] == ["link", *CHECKS]
    assert "UIO device uio7, 1,048,576 bytes" in out


def test_command_in_json(kv260: ChipInFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--json")
    assert not err
    result = json.loads(out)
    assert (code, result["board"], result["ok"]) == (0, "kv260", True)
    assert {check["check"] for check in result["checks"]} == {"link", *CHECKS} - {"all memory"}


def test_command_on_a_sick_board(
    kv260: ChipInFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sw.links.mmap.MmapBus", partial(Faulty, root=kv260.root))
    monkeypatch.setattr(Faulty, "alias", staticmethod(lambda at: at & ~(1 << 13)))
    code, out, err = run(capsys)
    assert code == 3
    assert out.splitlines()[-1].startswith("address lines        WRONG  ")
    assert "address bit 13" in out
    assert err.splitlines() == [
        "error: AMD Kria KV260, 4 GiB DDR4: the check 'address lines' failed; see its line above"]


def test_command_without_a_board(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert code == 3
    assert out.startswith("link                 WRONG  there is no UIO device")
    assert "the check 'link' failed" in err
