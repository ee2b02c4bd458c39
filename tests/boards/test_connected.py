"""`bitnet-fpga boards` asks what is connected: which board, of which build, or why nothing answers."""

from __future__ import annotations

import json
import os
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("amaranth_boards")
pytest.importorskip("serial")

from boards import board
from hw.contract.config import PRESETS
from sim.golden.serial_link import GoldenBoard
from sw.__main__ import main
from sw.links import mmap, serial
from tests.sw.links.mmap_device import ChipInFolder
from tests.sw.links.test_serial import PtyBoard, Registers

MOST_S = 10
"""The sentence in docs/link-protocol.md is 8 s."""


def golden(preset: str, clock_hz: float) -> GoldenBoard:
    config, ulx3s = PRESETS[preset], board("ulx3s")
    return GoldenBoard(config, Registers(config.build_id), memory_bytes=ulx3s.memory_bytes, clock_hz=int(clock_hz))


@pytest.fixture
def silent() -> Iterator[str]:
    """A port where nobody answers."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def states(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    assert main(["boards", "--json", "-o", str(folder)]) == 0
    return {state["board"]: state for state in json.loads(capsys.readouterr().out)}


def test_serial_ports(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The board with today's machine, the board with another, another board, and none, all in a bounded time."""
    ulx3s = board("ulx3s")
    ports = [PtyBoard(golden(*one)) for one in
             (("ulx3s", ulx3s.clock_hz), ("tiny", ulx3s.clock_hz), ("tiny", 25e6))]
    current, old, other = (port.name for port in ports)
    monkeypatch.setattr(serial, "_ports", lambda: [current, old, other, silent])
    started = time.monotonic()
    found = states(tmp_path, capsys)
    assert time.monotonic() - started < MOST_S
    answers = {answer["at"]: answer for answer in found["ulx3s"]["connected"]}
    build_id = f"{ulx3s.config.build_id:016x}"
    assert answers[current] == {"at": current, "build_id": build_id, "this_board": True, "current": True,
                                "problem": None}
    assert (answers[old]["this_board"], answers[old]["current"]) == (True, False)
    assert answers[old]["build_id"] == f"{PRESETS['tiny'].build_id:016x}"
    assert (answers[other]["this_board"], answers[other]["current"]) == (False, False)
    assert answers[silent]["build_id"] is None
    assert "no board answers" in answers[silent]["problem"]
    assert found["kv260"]["connected"] == []

    assert main(["boards", "-o", str(tmp_path)]) == 0
    lines = capsys.readouterr().out
    assert f"not built; connected at {current}, connected at {old} with another build" in lines
    assert f"{other}: not a known board, build {PRESETS['tiny'].build_id:016x}" in lines
    assert f"{silent}: no board was found." in lines
    for port in ports:
        port.unplug()


def test_nothing_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serial, "_ports", list)
    assert [state["connected"] for state in states(tmp_path, capsys).values()] == [[]] * len(states(tmp_path, capsys))
    assert main(["boards", "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("not built; not connected") == len(states(tmp_path, capsys))


def test_on_the_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The KV260 looks at itself."""
    monkeypatch.setattr(serial, "_ports", list)
    kv260 = board("kv260")
    find = mmap.find
    monkeypatch.setattr(mmap, "find", lambda: find(tmp_path))
    with ChipInFolder(tmp_path, kv260.config, 1 << 20):
        (answer,) = states(tmp_path, capsys)["kv260"]["connected"]
        assert answer == {"at": "/dev/uio7", "build_id": f"{kv260.config.build_id:016x}", "this_board": True,
                          "current": True, "problem": None}
        (tmp_path / "sys/class/uio/uio7/maps/map0/size").write_text("16\n")
        (answer,) = states(tmp_path, capsys)["kv260"]["connected"]
        assert "has a window of 16 bytes" in answer["problem"]
