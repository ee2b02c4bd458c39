# amaranth: UnusedElaboratable=no
"""The project for Vivado without Vivado: its Tcl runs in tclsh on commands that only record, and what is recorded, the
wrapper, the overlay and the driver must agree with the ports of the Verilog."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from amaranth.hdl import Value

from boards import BOARDS
from boards.kv260 import HP_PORTS, KV260
from boards.vivado import fill, parameters, write_project
from hw.accelerator import Accelerator
from hw.contract.config import AccelConfig, ConfigError
from hw.contract.register_map import ADDRESS_BITS
from hw.memory.axi import pin_name
from hw.tool import ToolError, only_one
from sim.verilate import lint
from sw.links.mmap import BUFFER_NAME, MAX_BUFFER_BYTES, REGISTER_BYTES, UIO_NAME

FILES = Path(__file__).parents[2] / "boards" / "vivado_files"
SMALL = dataclasses.replace(KV260, config=AccelConfig(
    name="small", ports=4, rows=8, columns=1, max_hidden=256, max_intermediate=256, stream_fifo_beats=128,
))
"""The board with a machine that is generated in seconds: four ports of 64 bit."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kv260") / "project"
    write_project(SMALL, folder)
    return folder


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install tcl device-tree-compiler")


def run_tcl(
    project: Path, folder: Path, wns: str = "0.123", board_part: str = "kv260_som"
) -> tuple[list[list[str]], subprocess.CompletedProcess[str]]:
    """What build.tcl calls, and the finished process."""
    need("tclsh")
    shutil.copytree(project, folder / "p")
    run = folder / "run"
    run.mkdir()
    (run / "system_wrapper.bit").write_bytes(b"bits")
    environment = os.environ | {"RECORD": str(folder / "record"), "RUN": str(run), "WNS": wns, "BOARD_PART": board_part}
    done = subprocess.run(
        ["tclsh", str(Path(__file__).with_name("vivado.tcl")), str(folder / "p" / "build.tcl")],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )
    return [line.split("\t") for line in (folder / "record").read_text().splitlines()], done


@pytest.fixture(scope="module")
def calls(project: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    lines, done = run_tcl(project, tmp_path_factory.mktemp("run"))
    assert done.returncode == 0, done.stderr
    return lines


def description(project: Path) -> dict[str, tuple[str, int]]:
    """Pins of the generated Verilog."""
    ports = json.loads((project / "accelerator.json").read_text())["ports"]
    return {port["name"]: (port["direction"], port["width"]) for port in ports}


def masters(project: Path) -> list[str]:
    return sorted({name.removesuffix("_araddr") for name in description(project) if name.endswith("_araddr")}
                  - {"s_axi_ctrl"})


def options(calls: list[list[str]]) -> dict[str, str]:
    """Configuration of the processing system."""
    found: dict[str, str] = {}
    for call in calls:
        if call[:2] == ["set_property", "-dict"] and call[-1] == "ps":
            words = call[2].split()
            found |= dict(zip(words[::2], words[1::2], strict=True))
    return {name.removeprefix("CONFIG."): value for name, value in found.items()}


# ---- block design


def test_every_memory_port_has_a_port_of_the_processing_system(project: Path, calls: list[list[str]]) -> None:
    links = [call[1:] for call in calls if call[0] == "connect_bd_intf_net"]
    of = {core.removeprefix("core/"): ps for core, ps in links if core.startswith("core/m_axi")}
    assert sorted(of) == masters(project) == [f"m_axi_{n}" for n in range(SMALL.config.ports)]
    assert len(set(of.values())) == len(of)
    configured = options(calls)
    for name, ps in of.items():
        match = re.fullmatch(r"ps/S_AXI_HP(\d)_FPD", ps)
        assert match
        gp = int(match[1]) + 2  # UG1085: S_AXI_HP0_FPD is S_AXI_GP2
        assert configured[f"PSU__USE__S_AXI_GP{gp}"] == "1"
        assert int(configured[f"PSU__SAXIGP{gp}__DATA_WIDTH"]) == description(project)[f"{name}_rdata"][1]
    assert ["ps/M_AXI_HPM0_FPD", "bridge/S00_AXI"] in links
    assert ["bridge/M00_AXI", "core/s_axi_ctrl"] in links
    assert configured["PSU__USE__M_AXI_GP0"] == "1"
    assert len(links) == SMALL.config.ports + 2


def test_one_clock_and_its_reset_reach_everything(calls: list[list[str]]) -> None:
    nets = {call[1]: set(call[2:]) for call in calls if call[0] == "connect_bd_net"}
    hp = {f"ps/saxihp{n}_fpd_aclk" for n in range(SMALL.config.ports)}
    assert nets["ps/pl_clk0"] == hp | {"core/aclk", "bridge/aclk", "reset/slowest_sync_clk", "ps/maxihpm0_fpd_aclk"}
    assert nets["ps/pl_resetn0"] == {"reset/ext_reset_in"}
    assert nets["reset/peripheral_aresetn"] == {"core/aresetn"}
    assert nets["reset/interconnect_aresetn"] == {"bridge/aresetn"}
    assert nets["core/irq"] == {"ps/pl_ps_irq0"}
    assert options(calls)["PSU__USE__IRQ0"] == "1"
    assert len(nets) == 5
    assert float(options(calls)["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"]) == KV260.clock_hz / 1e6


def test_addresses(project: Path, calls: list[list[str]]) -> None:
    """Registers where driver and overlay have them; each master sees both halves of DDR through its own port."""
    assigned = [call for call in calls if call[0] == "assign_bd_address"]
    ctrl = next(call for call in assigned if "core/s_axi_ctrl" in call)
    assert int(ctrl[ctrl.index("-offset") + 1], 0) == KV260.ctrl_address
    assert int(ctrl[ctrl.index("-range") + 1], 0) == 1 << description(project)["s_axi_ctrl_araddr"][1]
    assert ctrl[ctrl.index("-target_address_space") + 1] == "ps/Data"
    for n in range(SMALL.config.ports):
        mine = [call for call in assigned if f"core/m_axi_{n}" in call]
        assert {call[3] for call in mine} == {f"ps/SAXIGP{n + 2}/HP{n}_DDR_{half}" for half in ("LOW", "HIGH")}
    assert len(assigned) == 1 + 2 * SMALL.config.ports
    assert 0xA000_0000 <= KV260.ctrl_address < 0xB000_0000  # UG1085: the low window of M_AXI_HPM0_FPD
    assert KV260.ctrl_address % REGISTER_BYTES == 0


def test_order(calls: list[list[str]]) -> None:
    """Nothing is connected after the validation, nothing built before."""
    names = [call[0] for call in calls]
    at = names.index("validate_bd_design")
    assert not {"connect_bd_net", "connect_bd_intf_net", "assign_bd_address", "create_bd_cell"} & set(names[at:])
    assert names.index("launch_runs") > at
    assert ["exec", "bootgen", "-arch", "zynqmp", "-image", "bitnet.bif", "-process_bitstream", "bin", "-w"] in calls
    assert names[-1] == "exec"


# ---- results


def test_report(project: Path, tmp_path: Path) -> None:
    _, done = run_tcl(project, tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "p" / "report.json").read_text())
    assert report["build_id"] == f"{SMALL.config.build_id:016x}"
    assert report["worst_setup_slack_ns"] == 0.123
    assert report["resources"] == {
        "lut": {"used": 60123, "available": 117120}, "ff": {"used": 70456, "available": 234240},
        "block_ram": {"used": 101.5, "available": 144}, "ultra_ram": {"used": 16, "available": 64},
        "dsp": {"used": 123, "available": 1248},
    }
    available = [entry["available"] for entry in report["resources"].values()]
    assert available == list(KV260.resources.values())
    assert (tmp_path / "p" / "bitnet.bit").read_bytes() == b"bits"


def test_a_bitstream_that_misses_its_clock_is_not_handed_out(project: Path, tmp_path: Path) -> None:
    calls, done = run_tcl(project, tmp_path, wns="-0.5")
    assert done.returncode != 0
    assert "misses 200 MHz by 0.5 ns: lower clock_hz" in done.stderr
    assert not (tmp_path / "p" / "bitnet.bit").exists()
    assert not [call for call in calls if call[0] in ("exec", "write_hw_platform")]
    assert json.loads((tmp_path / "p" / "report.json").read_text())["worst_setup_slack_ns"] == -0.5


def test_board_files_that_are_missing(project: Path, tmp_path: Path) -> None:
    calls, done = run_tcl(project, tmp_path, board_part="")
    assert done.returncode != 0
    assert "no board files for *kv260_som*" in done.stderr
    assert [call[0] for call in calls] == ["create_project"]


# ---- wrapper


def pins(text: str) -> dict[str, tuple[str, int, str]]:
    """Direction, width and attribute of the wrapper's pins."""
    found = re.findall(
        r'\(\* X_INTERFACE_INFO = "([^"]+)" \*\)\n    (input|output) wire (?:\[(\d+):0\] )?(\w+),?$', text, re.M)
    return {name: (direction, int(high or 0) + 1, info) for info, direction, high, name in found}


def test_wrapper_has_every_pin_with_its_interface(project: Path) -> None:
    text = (project / "bitnet.v").read_text()
    ours, theirs = description(project), pins(text)
    assert list(ours) == list(theirs)
    for name, (direction, width) in ours.items():
        interface, _, member = name.rpartition("_")
        their_direction, their_width, info = theirs[name]
        assert their_direction == direction
        assert info == {
            "aclk": "xilinx.com:signal:clock:1.0 aclk CLK", "aresetn": "xilinx.com:signal:reset:1.0 aresetn RST",
            "irq": "xilinx.com:signal:interrupt:1.0 irq INTERRUPT",
        }.get(name, f"xilinx.com:interface:aximm:1.0 {interface} {member.upper()}")
        of_ps = {"id": 6, "addr": 49} if interface.startswith("m_axi") else {}
        expected = next((bits for end, bits in of_ps.items() if re.fullmatch(f"(ar|aw|r|b){end}", member)), width)
        assert their_width == expected >= width
    busif = re.search(r"ASSOCIATED_BUSIF (\S+), ASSOCIATED_RESET aresetn", text)
    assert busif
    assert busif[1].split(":") == [*masters(project), "s_axi_ctrl"]
    modes = re.findall(r"XIL_INTERFACENAME (m_axi_\d),.* READ_WRITE_MODE (\w+),", text)
    assert modes == [(f"m_axi_{n}", "READ_WRITE") for n in range(SMALL.config.ports)]
    assert "XIL_INTERFACENAME irq, SENSITIVITY LEVEL_HIGH" in text
    assert text.count("X_INTERFACE_PARAMETER") == 3 + SMALL.config.ports + 1


def test_wrapper_fits_the_verilog(project: Path, tmp_path: Path) -> None:
    """Verilator finds no width, pin or driver that is wrong."""
    lint(project, ["--top-module", "bitnet", "bitnet.v", "accelerator.v"], tmp_path / "log")
    text = (project / "bitnet.v").read_text()
    for name, (direction, width, _) in pins(text).items():
        own = description(project)[name][1]
        assert f".{name}({name}{f'[{own - 1}:0]' if width > own else ''})" in text
        assert (f"assign {name}[{width - 1}:{own}] = 0;" in text) == (width > own and direction == "output")


def test_the_board_fits_its_machine() -> None:
    """Of kv260 itself, without generating it: as many ports as there are, as wide as they can be."""
    config, machine = KV260.config, Accelerator(KV260.config)
    widths = {pin_name("__".join(map(str, path))): len(Value.cast(value))
              for path, _, value in machine.signature.flatten(machine)}
    assert sum(name.endswith("_rdata") and name.startswith("m_axi") for name in widths) == config.ports == HP_PORTS
    assert widths["m_axi_3_rdata"] == 128 == int(parameters(KV260)["port_bits"])
    assert 40 <= widths["m_axi_0_araddr"] <= 49  # DDR_HIGH starts at 0x8_0000_0000


# ---- overlay


def overlay() -> str:
    return fill(KV260, (FILES / "bitnet.dtso").read_text())


def test_overlay_agrees_with_driver_and_block_design(calls: list[list[str]]) -> None:
    text = overlay()
    node = re.search(r'(\S+)@(\w+) \{\s+compatible = "generic-uio";\s+reg = <0x0 (\w+) 0x0 (\w+)>;', text)
    assert node
    assert node[1] == UIO_NAME
    assert int(node[2], 16) == int(node[3], 16) == KV260.ctrl_address
    assert int(node[4], 16) == REGISTER_BYTES == 1 << ADDRESS_BITS == int(parameters(KV260)["ctrl_bytes"])
    # UG1085: pl_ps_irq0 is 121 to 128 of the chip, and shared interrupts of the GIC are counted from 32; a level
    assert f"interrupts = <0 {121 - 32} 4>;" in text
    buffer = re.search(r'device-name = "(\S+)";\s+size = <0x0 (\w+)>;\s+dma-mask = <(\d+)>;', text)
    assert buffer
    assert buffer[1] == BUFFER_NAME
    assert int(buffer[2], 16) == KV260.memory_bytes <= MAX_BUFFER_BYTES
    assert int(buffer[3]) == KV260.config.address_bits
    rate = re.search(r"assigned-clock-rates = <(\d+)>", text)
    assert rate
    assert int(rate[1]) == KV260.clock_hz == float(options(calls)["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"]) * 1e6
    registers = {int(n): int(value, 0) for n, value in re.findall(r"<(\d+) (\w+)>", text[text.index("config-afi") :])}
    widths = {128: 0, 64: 1, 32: 2}
    for gp in range(2, 2 + HP_PORTS):  # a register for reads and one for writes of each S_AXI port
        assert registers[2 * gp] == registers[2 * gp + 1] == widths[128]
    assert registers[14] >> 8 & 3 == {"32": 0, "64": 1, "128": 2}[options(calls)["PSU__MAXIGP0__DATA_WIDTH"]]
    assert 'firmware-name = "bitnet.bit.bin";' in text
    assert (FILES / "bitnet.bif").read_text().split() == ["all:", "{", "bitnet.bit", "}"]


def test_overlay_compiles(tmp_path: Path) -> None:
    """No warning, but for nodes without a unit address that is meant so; the parts that matter are in the blob."""
    need("dtc")
    file = tmp_path / "bitnet.dtso"
    file.write_text(overlay())
    run = subprocess.run(["dtc", "-@", "-I", "dts", "-O", "dtb", "-o", str(tmp_path / "o"), str(file)],
                         capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert not run.stderr, run.stderr
    blob = (tmp_path / "o").read_bytes()
    for text in (b"bitnet@a0000000", b"generic-uio", b"ikwzm,u-dma-buf", b"fpga_full", b"zynqmp_clk"):
        assert text in blob


def test_nothing_is_left_to_fill(project: Path) -> None:
    assert not re.findall(r"@\w+@", overlay())
    assert not re.findall(r"@\w+@", (project / "bitnet.dtso").read_text())


# ---- command and script


def test_without_vivado_the_project_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    built = SMALL.build(tmp_path / "p", seed=None)
    assert not built.files
    assert "to go on, run `vivado -mode batch -source build.tcl`" in built.lines[0]
    with pytest.raises(ConfigError, match=r"kv260 is built by Vivado, which has no seed .*: leave it out"):
        SMALL.build(tmp_path / "q", seed=2)
    names = {path.name for path in (tmp_path / "p").iterdir()}
    assert names == {"accelerator.v", "accelerator.json", "bitnet.v", "parameters.tcl", "build.tcl", "bitnet.bif",
                     "bitnet.dtso", "shell.json", "load.sh", "NOTICE-bitnet-fpga.txt", "lock"}


def test_with_vivado_it_is_built(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("tclsh")
    monkeypatch.setattr("boards.vivado.write_project",
                        lambda board, folder: shutil.copytree(project, folder, dirs_exist_ok=True))
    (tmp_path / "system_wrapper.bit").write_bytes(b"bits")
    vivado = tmp_path / "vivado"
    vivado.write_text(f"#!/bin/sh\nexec tclsh {Path(__file__).with_name('vivado.tcl')} \"$4\"\n")
    vivado.chmod(0o755)
    for name, value in (("RECORD", tmp_path / "r"), ("RUN", tmp_path), ("WNS", "0.1"), ("BOARD_PART", "kv260_som"),
                        ("PATH", f"{tmp_path}:{os.environ['PATH']}")):
        monkeypatch.setenv(name, str(value))
    built = SMALL.build(tmp_path / "p", seed=None)
    assert built.lines == [f"{tmp_path}/p/bitnet.bit.bin: built, 0.1 ns of slack at 200 MHz"]
    assert built.report == json.loads((tmp_path / "p" / "report.json").read_text())
    assert built.report["build_id"] == f"{SMALL.config.build_id:016x}"
    monkeypatch.setenv("WNS", "-0.1")
    with pytest.raises(ToolError, match=r"exit code 1: ERROR: the bitstream misses 200 MHz by 0\.1 ns"):
        SMALL.build(tmp_path / "p", seed=None)
    assert not (tmp_path / "p" / "report.json").exists()  # nor is the old one taken for it
    with only_one(tmp_path / "p" / "lock", 0, "busy"), pytest.raises(ToolError, match="another process builds in"):
        SMALL.build(tmp_path / "p", seed=None)


@pytest.mark.parametrize("board", BOARDS)
def test_make_bitstream(board: str) -> None:
    for more, seed in (([], ""), (["SEED=3"], " --seed 3")):
        command_line = ["make", "--no-print-directory", "-n", "bitstream", f"BOARD={board}", *more]  # also in make test
        recipe = subprocess.run(command_line, cwd=FILES.parents[1], capture_output=True, text=True, check=True).stdout
        assert recipe.splitlines()[-1] == f".venv/bin/python -m sw build --board {board}{seed}"


def test_load_script(project: Path, tmp_path: Path) -> None:
    subprocess.run(["sh", "-n", str(project / "load.sh")], check=True)
    run = subprocess.run(["sh", str(project / "load.sh")], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "bitnet.bit.bin is missing" in run.stderr
    text = (project / "load.sh").read_text()
    assert f"-qx {UIO_NAME} " in text
    assert f"/dev/{BUFFER_NAME} " in text
    assert json.loads((project / "shell.json").read_text())["num_slots"] == "1"
