# amaranth: UnusedElaboratable=no
"""The design of the ULX3S's bitstream between its pins: crystal, SDRAM chip and serial line run a model, bit for bit.

What is simulated is what is synthesised, with a faster line: accelerator, link, arbiter, controller, pads and PLL.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("litedram")

from boards import board
from boards.board import Board
from boards.build import plan
from boards.soc import Soc
from boards.uart import UartLink
from sim.bench import CONFIG_VARIABLE, PARAMETERS_VARIABLE, prepare_environment
from sim.boards.build import MODELS, bench_file
from sim.random_checkpoint import write_random_checkpoint
from sw.image import ModelImage
from sw.job import Layout
from sw.requests import Job
from tests.system.test_sim_equals_golden import DEMO, golden, image_of

pytestmark = pytest.mark.timeout(3600)  # builds a simulator of everything

ROOT = Path(__file__).parents[2]
FILES = [*MODELS, bench_file("ulx3s")]
BUILD_ARGS = ["--timing", "-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint"]
BAUD = 4_000_000
PROMPT = (3, 17, 29)


def simulator(subject: Board) -> Path:
    """Build the simulator of a board, or find it."""
    from cocotb_tools.runner import get_runner

    files = plan(subject, Soc(subject))
    sources = [files.files["top.il"], files.files["dram_controller.v"], *(path.read_text() for path in FILES)]
    digest = hashlib.sha256(json.dumps([*sources, BUILD_ARGS]).encode()).hexdigest()
    folder = ROOT / "build" / "sim" / f"board-{digest[:16]}"
    if not (folder / "complete").exists():
        files.extract(folder)
        subprocess.run([os.environ["YOSYS"], "-q", "-p", "read_rtlil top.il; write_verilog -noattr top.v"],
                       cwd=folder, check=True, timeout=600)
        get_runner("verilator").build(
            sources=[folder / "top.v", folder / "dram_controller.v", *FILES], hdl_toplevel="bench", build_dir=folder,
            timescale=("1ns", "1ps"), build_args=BUILD_ARGS, log_file=folder / "build.log",
        )
        (folder / "complete").touch()
    return folder


def as_words(image: ModelImage) -> str:
    """The content of the chip for $readmemh: words of 16 bit, the lower byte first."""
    content = bytes(image.memory)
    words = np.frombuffer(content + bytes(len(content) % 2), "<u2")
    return "\n".join(f"{word:04x}" for word in words) + "\n"


@pytest.mark.parametrize("model", ["random", "demo"])
def test_runs_a_model_over_the_serial_line(model: str, tmp_path: Path) -> None:
    """Tokens and logits are those of the golden model."""
    from cocotb_tools.runner import get_runner

    prepare_environment()
    subject = dataclasses.replace(board("ulx3s"), link=lambda one: UartLink(one, baud=BAUD))
    config = subject.config
    write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=68, layers=2, heads=1, kv_heads=1, vocab=40,
                            positions=64, seed=5)
    image = image_of(DEMO if model == "demo" else tmp_path / "m", config, tmp_path, context=32)
    assert Layout.of(config, image).end <= subject.memory_bytes
    hexadecimal, result = tmp_path / "image.hex", tmp_path / "result.json"
    hexadecimal.write_text(as_words(image))
    folder = simulator(subject)
    parameters = {
        "baud": BAUD, "clock_hz": int(subject.clock_hz), "memory_bytes": subject.memory_bytes, "prompt": PROMPT,
        "image": str(image.path), "result": str(result),
    }
    sys.path.insert(0, str(ROOT))
    try:
        get_runner("verilator").test(
            test_module="tests.boards.board_host", hdl_toplevel="bench", hdl_toplevel_lang="verilog",
            build_dir=folder, test_dir=tmp_path, plusargs=[f"+image={hexadecimal}"],
            extra_env={CONFIG_VARIABLE: json.dumps(dataclasses.asdict(config)),
                       PARAMETERS_VARIABLE: json.dumps(parameters)},
        )
    finally:
        sys.path.remove(str(ROOT))
    found = json.loads(result.read_text())
    expected = golden(config, image, Job(prompt=PROMPT, max_new_tokens=2, chunk=config.columns, all_logits=True))
    assert found["tokens"] == expected.tokens
    np.testing.assert_array_equal(np.array(found["logits"], np.float32), np.stack(expected.logits))
    print(f"\n{model}: {found['cycles']} clocks for {len(found['logits'])} positions")
