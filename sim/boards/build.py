"""Build of a board's simulator with Yosys and Verilator, cached by the sources."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path

from amaranth.hdl import Elaboratable

from boards.board import AnyBoard, Board
from boards.open_ecp5 import PACKAGES, plan
from boards.soc import Soc
from boards.uart import UartLink
from hw.contract.config import ConfigError
from hw.serial_link.uart import CLOCKS_IN_STEP
from hw.yosys import run_yosys
from sim.bench_process import ROOT
from sim.model_cache import cached, name_of
from sim.verilate import PROGRAM, verilate

__all__ = ["MODELS", "baud", "bench_file", "build_simulator", "check_simulated", "verilog"]

HERE = Path(__file__).parent
MODELS = (HERE / "ecp5_models.sv", HERE / "sdr_chip.sv")
"""Parts of the boards."""

BUILD_ARGS = (
    "--timing", "--timescale", "1ns/1ps", "-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint",
)


def _digest_of_sources() -> str:
    files = [path for name in ("hw", "boards", "sim/boards") for path in sorted((ROOT / name).rglob("*"))
             if path.suffix in (".py", ".sv", ".cpp")]
    digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files))
    digest.update("".join(version(name) for name in PACKAGES[:-1]).encode())
    return digest.hexdigest()


_SOURCES_DIGEST = _digest_of_sources()
"""Taken when this file is imported, as the hardware is: an edit while the process runs must not go by the new hash."""


def baud(board: AnyBoard) -> int:
    """Bits per second of the simulated line: as fast as it can be, so that loading takes few clocks."""
    return int(board.clock_hz) // CLOCKS_IN_STEP


def bench_file(name: str) -> Path:
    """File that builds the board of that name from parts: a module `bench` with the serial line, `rx` and `tx`."""
    return HERE / f"{name}.sv"


def check_simulated(board: AnyBoard) -> Board:
    """Return the board as a `Board`. Raises ConfigError if it cannot be simulated."""
    if isinstance(board, Board) and bench_file(board.name).is_file():
        return board
    raise ConfigError(f"{board.title} cannot be simulated as a whole board: use --backend sim --preset "
                      f"{board.config.name}, which simulates its accelerator")


def verilog(board: Board, top: Elaboratable, folder: Path, log: Path) -> list[str]:
    """Writes a design for a board as Verilog, made as for a bitstream; the names of the files: `top.v` with module
    `top`, and what it takes from others. Raises ToolError."""
    files = plan(board, top)
    files.extract(str(folder))
    run_yosys("read_rtlil top.il; write_verilog -noattr top.v", folder, log)
    return ["top.v", *(name for name in files.files if name.endswith(".v") and name != "top.debug.v")]


def build_simulator(board: Board) -> Path:
    """The program (main.cpp), built or found in the cache (sim/model_cache.py). Building takes a minute or two.

    It is the design of the bitstream but for the bit rate. Raises ToolError where a tool is missing or fails.
    """
    name = f"board-{name_of(_SOURCES_DIGEST, board.name, board.config.design_hash, BUILD_ARGS)}"
    return cached(name, lambda folder, log: _build(board, folder, log)) / PROGRAM


def _build(board: Board, folder: Path, log: Path) -> None:
    fast = dataclasses.replace(board, link=lambda one: UartLink(one, baud=baud(one), clocks_per_bit=CLOCKS_IN_STEP))
    sources = verilog(fast, Soc(fast), folder, log)
    for path in (*MODELS, bench_file(board.name), HERE / "main.cpp"):
        shutil.copy(path, folder)
        sources.append(path.name)
    verilate(folder, sources, "bench", BUILD_ARGS, log)
