# amaranth: UnusedElaboratable=no
"""Reports, refusals, and what the command line says of boards; no tool of the bitstream flow runs here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib.memory import Memory

from boards import BOARDS, board
from boards.board import Board
from boards.open_ecp5 import BuildError, read_report, refuse_bad_netlist, refuse_slow_clocks
from hw.contract.config import PRESETS, ConfigError
from sw.__main__ import main
from sw.session import BACKENDS


def step(kind: str, delay: float, start: str, end: str) -> dict:
    """A piece of a path as nextpnr tells it."""
    return {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}


NEXTPNR = {
    "critical_paths": [
        {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": [
            step("clk-to-q", 0.5, "a_FF", "a_FF"), step("routing", 1.25, "a_FF", "lut"),
            step("logic", 0.25, "lut", "lut"), step("routing", 2.0, "lut", "b_FF"), step("setup", 0.0, "b_FF", "b_FF"),
        ]},
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": [step("routing", 9.0, "pad", "c_FF")]},
        {"from": "<async>", "to": "<async>", "path": [step("routing", 0.1, "dll", "strobe")]},
    ],
    "fmax": {"$glbnet$clk": {"achieved": 51.239, "constraint": 50.0}},
    "utilization": {
        "TRELLIS_COMB": {"used": 30000, "available": 83640}, "TRELLIS_FF": {"used": 20000, "available": 83640},
        "DP16KD": {"used": 70, "available": 208}, "MULT18X18D": {"used": 64, "available": 156},
        "DCCA": {"used": 1, "available": 56},
    },
}


def test_report() -> None:
    report = read_report(NEXTPNR)
    assert report["resources"] == {
        "lut": {"used": 30000, "available": 83640}, "ff": {"used": 20000, "available": 83640},
        "block_ram": {"used": 70, "available": 208}, "dsp": {"used": 64, "available": 156},
    }
    assert report["clocks"] == {"clk": {"fmax_mhz": 51.24, "required_mhz": 50.0}}
    assert report["slowest_paths"] == [
        {"clock": "clk", "from": "a_FF", "to": "b_FF", "ns": 4.0, "routing_ns": 3.25}]
    refuse_slow_clocks(report | {"board": "ulx3s"}, 50e6)
    with pytest.raises(BuildError, match=r"constrained to the accelerator's 100 MHz, only to \[50\.0\] MHz"):
        refuse_slow_clocks(report | {"board": "ulx3s"}, 100e6)


def test_slow_clock() -> None:
    report = read_report(NEXTPNR | {"fmax": {"clk": {"achieved": 49.991, "constraint": 50.0}}})
    with pytest.raises(BuildError, match=r"clock clk reaches 49\.99 MHz, but needs 50\.0: .* boards/ulx3s_bram\.py"):
        refuse_slow_clocks(report | {"board": "ulx3s-bram"}, 50e6)


@pytest.mark.parametrize("delay", [9.9, 10.1])
def test_way_between_two_clocks(delay: float) -> None:
    """At most a period of the faster one, 10 ns here."""
    way = {"from": "posedge $glbnet$clk", "to": "negedge fast", "path": [step("routing", delay, "a_FF", "b_FF")]}
    report = read_report(NEXTPNR | {
        "critical_paths": [*NEXTPNR["critical_paths"], way],
        "fmax": NEXTPNR["fmax"] | {"fast": {"achieved": 200.0, "constraint": 100.0}},
    }) | {"board": "ulx3s"}
    assert report["crossings"] == [{"from_clock": "clk", "to_clock": "fast", "ns": delay}]
    if delay < 10:
        refuse_slow_clocks(report, 50e6)
        return
    with pytest.raises(BuildError, match=r"from clock clk to fast takes 10\.1 ns, but must take at most 10\.00: try"):
        refuse_slow_clocks(report, 50e6)


@pytest.mark.parametrize("line, sentence", [
    ("Warning: multiple conflicting drivers for top.\\a.b [3]:", "top.\\a.b is driven from two places"),
    ("Latch inferred for signal `\\top.q' from process", "\\top.q became a latch"),
    ("using FF mapping for memory top.unit.words", "top.unit.words is a memory that became flip-flops"),
    ("using FF mapping for memory top.controller.words", "top.controller.words is a memory that became flip-flops"),
    ("Warning: found logic loop in module top:", "top has a combinational loop"),
])
def test_bad_netlist(line: str, sentence: str) -> None:
    m = Module()
    m.submodules.unit = unit = Module()
    for name in ("table", "words"):
        unit.submodules[name] = words = Memory(shape=8, depth=4, init=[1, 2, 3])
        words.read_port()
    words.write_port()
    text = rtlil.convert(m, name="top", ports=[])
    refuse_bad_netlist("mapping memory top.words via $__DP16KD_\nusing FF mapping for memory top.unit.table\n", text)
    with pytest.raises(BuildError) as error:
        refuse_bad_netlist(f"first\n{line}\nlast\n", text)
    assert sentence in str(error.value)


def test_unknown_board() -> None:
    with pytest.raises(ConfigError, match=f"there is no board 'none': use {', '.join(BOARDS)}"):
        board("none")


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_is_declared_under_its_name(name: str) -> None:
    pytest.importorskip("amaranth_boards")
    declared = board(name)
    assert declared.name == name
    assert declared.config == PRESETS[declared.config.name]
    assert declared.backend in BACKENDS
    assert declared.documents
    if isinstance(declared, Board):
        assert declared.domains[0] == "sync"
        assert any("{bitstream}" in part for part in declared.flash)


def test_boards_and_flash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is built, of which configuration; the exact command of a dry run; no bitstream."""
    folder = tmp_path / "ulx3s"
    folder.mkdir()

    def states() -> dict[str, dict]:
        assert main(["boards", "--json", "-o", str(tmp_path)]) == 0
        return {state["board"]: state for state in json.loads(capsys.readouterr().out)}

    ulx3s = states()["ulx3s"]
    assert (ulx3s["bitstream"], ulx3s["current"]) == (None, False)
    for build_id in (ulx3s["build_id"], "0" * 16):
        (folder / "report.json").write_text(json.dumps({"build_id": build_id}))
        found = states()["ulx3s"]
        assert found["bitstream"] == str(folder / "ulx3s.bit")
        assert found["current"] == (build_id == ulx3s["build_id"])

    assert main(["flash", "--board", "ulx3s", "--dry-run", "-o", str(tmp_path)]) == 0
    command = capsys.readouterr().out.split()
    assert command[1:] == ["--board", "ulx3s", str(folder / "ulx3s.bit")]
    assert main(["flash", "--board", "ulx3s", "--persistent", "--dry-run", "-o", str(tmp_path)]) == 0
    command = capsys.readouterr().out.split()
    assert command[1:] == ["--write-flash", "--board", "ulx3s", str(folder / "ulx3s.bit")]
    assert main(["flash", "--board", "ulx3s", "-o", str(tmp_path)]) == 2
    assert "run `make bitstream BOARD=ulx3s` first" in capsys.readouterr().err
    assert main(["flash", "--board", "kv260", "-o", str(tmp_path)]) == 2
    assert f"is not loaded over USB: copy {tmp_path}/kv260 to the board, then run load.sh" in capsys.readouterr().err


def test_flash_tells_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ulx3s"
    folder.mkdir()
    (folder / "ulx3s.bit").write_bytes(b"bits")
    monkeypatch.setenv("OPENFPGALOADER", "false")
    assert main(["flash", "--board", "ulx3s", "-o", str(tmp_path)]) == 3
    assert "failed with exit code 1: check that ULX3S 85F" in capsys.readouterr().err
    broken = tmp_path / "loader"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("OPENFPGALOADER", str(broken))
    assert main(["flash", "--board", "ulx3s", "-o", str(tmp_path)]) == 2
    assert "cannot start: sudo apt-get install libusb" in capsys.readouterr().err
    monkeypatch.setenv("OPENFPGALOADER", "true")
    assert main(["flash", "--board", "ulx3s", "-o", str(tmp_path)]) == 0
