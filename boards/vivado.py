"""Build of a bitstream for a Zynq UltraScale+ board: writes a Vivado project, and runs Vivado if it is installed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from boards.board import AnyBoard
from boards.toolchain import Built, Toolchain
from boards.zynq_wrapper import wrapper
from hw.accelerator import Accelerator
from hw.contract.config import ConfigError
from hw.contract.register_map import ADDRESS_BITS
from hw.inventory import Inventory
from hw.notice import NOTICE, notice
from hw.tool import ToolError, only_one, run_tool
from hw.verilog import generate_verilog

__all__ = ["VIVADO", "Vivado", "ZynqBoard", "fill", "parameters", "write_project"]

FILES = Path(__file__).with_name("vivado_files")
COPIED = ("build.tcl", "bitnet.bif", "shell.json", "load.sh")
VIVADO_TIMEOUT_S = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class ZynqBoard(AnyBoard):
    """A board whose memory and processor are those of a Zynq UltraScale+.

    Attributes, besides those of every board:
        config: the machine that fits; a memory port for each S_AXI_HP port.
        clock_hz: pl_clk0, which all of the machine uses; Vivado's timing report decides whether it holds.
        part, board_parts: the chip, and a pattern of Vivado's name for its board files, which know the DDR4.
        ctrl_address: of the registers, in the window of M_AXI_HPM0_FPD.
        memory_bytes: of the u-dma-buf that holds model, KV cache and results.
        resources: LUT, FF, RAMB36, URAM and DSP of the chip.
    """

    backend: ClassVar[str] = "mmap"
    part: str
    board_parts: str
    ctrl_address: int
    resources: dict[str, int]

    def ram_use(self, design: Inventory) -> dict[str, tuple[float, int]]:
        """Memories that are marked for UltraRAM go there if the chip has any."""
        ultra = self.resources["URAM"] > 0
        block, large = (sum(one.primitives(name) for one in design.block_memories
                            if (one.ultra_ram and ultra) == wanted)
                        for name, wanted in (("RAMB36", False), ("URAM288", True)))
        return {"RAMB36": (block, self.resources["RAMB36"]), "URAM288": (large, self.resources["URAM"])}


class Vivado(Toolchain[ZynqBoard]):
    """Vivado 2022.1 or later. If `vivado` is not in the PATH, a build only writes the project."""

    def bitstream_name(self, board: ZynqBoard) -> str:
        """Name of the file for the kernel's firmware loader."""
        return "bitnet.bit.bin"

    def build(self, board: ZynqBoard, folder: Path, seed: int | None) -> Built:
        """Write the project, and run Vivado if it is installed, which writes the bitstream and report.json.

        Raises:
            ConfigError: a seed was given, which Vivado does not support.
            ToolError: Vivado failed, or the design misses its clock; see vivado.log in the folder.
        """
        if seed is not None:
            raise ConfigError(f"{board.name} is built by Vivado, which has no seed for place and route: leave it out")
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"another process builds in {folder}: wait for it, or choose another --output"
        with only_one(folder / "lock", 0, busy):
            return _build(board, folder)


VIVADO = Vivado()


def _remove_results(board: ZynqBoard, folder: Path) -> None:
    """Remove the bitstream and report.json."""
    for made in ("report.json", board.bitstream):
        (folder / made).unlink(missing_ok=True)


def _build(board: ZynqBoard, folder: Path) -> Built:
    _remove_results(board, folder)  # of an older project
    write_project(board, folder)
    vivado = shutil.which("vivado")
    if vivado is None:
        report = {"board": board.name, "preset": board.config.name, "build_id": f"{board.config.build_id:016x}"}
        return Built({}, report, [
            f"{folder}: Vivado project written; to go on, run `vivado -mode batch -source build.tcl` in it on a "
            "machine with Vivado 2022.1 or later"])
    log = folder / "vivado.log"
    log.unlink(missing_ok=True)
    try:
        run_tool([vivado, "-mode", "batch", "-source", "build.tcl", "-nolog"], folder, log,
                 timeout_s=VIVADO_TIMEOUT_S)
    except ToolError:
        _remove_results(board, folder)  # Vivado writes them also where the clock is missed
        raise
    report = json.loads((folder / "report.json").read_text())
    return Built({}, report, [f"{folder / board.bitstream}: built, {report['worst_setup_slack_ns']} ns of slack at "
                              f"{board.clock_hz / 1e6:g} MHz"])


def parameters(board: ZynqBoard) -> dict[str, str]:
    """What build.tcl takes from parameters.tcl."""
    return {
        "board": board.name, "preset": board.config.name, "build_id": f"{board.config.build_id:016x}",
        "part": board.part, "board_parts": board.board_parts, "clock_mhz": f"{board.clock_hz / 1e6:g}",
        "ports": str(board.config.ports), "port_bits": str(board.config.port_bits),
        "ctrl_address": f"{board.ctrl_address:#x}", "ctrl_bytes": str(1 << ADDRESS_BITS), "jobs": "4",
    }


def fill(board: ZynqBoard, template: str) -> str:
    """The device-tree overlay: every `@name@` of the template gets its value."""
    for name, value in {
        "clock_hz": str(board.clock_hz), "ctrl_node": f"{board.ctrl_address:x}",
        "ctrl_address": f"{board.ctrl_address:#x}", "ctrl_bytes": f"{1 << ADDRESS_BITS:#x}",
        "memory_bytes": f"{board.memory_bytes:#x}", "address_bits": str(board.config.address_bits),
    }.items():
        template = template.replace(f"@{name}@", value)
    return template


def write_project(board: ZynqBoard, folder: Path) -> None:
    """All that Vivado and the board need, without Vivado: Verilog, Tcl, device-tree overlay, script that loads."""
    module = generate_verilog(Accelerator(board.config), "accelerator", ultra_ram=board.resources["URAM"] > 0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "accelerator.v": module.text,
        "accelerator.json": module.description,
        "bitnet.v": wrapper(module, "bitnet"),
        "parameters.tcl": "".join(f"set {name} {{{value}}}\n" for name, value in parameters(board).items()),
        "bitnet.dtso": fill(board, (FILES / "bitnet.dtso").read_text()),
    }.items():
        (folder / name).write_text(text, newline="\n")
    (folder / NOTICE).write_bytes(notice())
    for name in COPIED:
        shutil.copy(FILES / name, folder / name)
