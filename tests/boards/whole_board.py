# amaranth: UnusedElaboratable=no
"""The whole design of a board between its pins, with a host at its serial line, for tests to run models on.

What is simulated is what is synthesised, with a faster line: accelerator, link, arbiter, controller, pads and PLL.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boards import board
from boards.board import Board
from boards.open_ecp5 import plan
from boards.soc import Soc
from boards.uart import UartLink
from sim.bench import CONFIG_VARIABLE, PARAMETERS_VARIABLE
from sim.bench_process import BenchProcess
from sim.boards.build import verilog
from sim.model_cache import cached, name_of
from sim.random_checkpoint import write_random_checkpoint
from sim.verilate import verilate_for_cocotb
from sw.image import ModelImage
from sw.requests import Job
from tests.system.test_sim_equals_golden import golden

BUILD_ARGS = ["--timing", "-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint"]
CLOCKS_PER_BIT = 10
PROMPT = (3, 17, 29)


def fast_baud(subject: Board) -> int:
    """Bits per second of a line that needs no minutes of simulated time."""
    return int(subject.clock_hz) // CLOCKS_PER_BIT


def fast_line(name: str) -> Board:
    """A board with such a line."""
    return dataclasses.replace(board(name), link=lambda one: UartLink(one, baud=fast_baud(one)))


def simulator(subject: Board, models: Sequence[Path]) -> Path:
    """Build the simulator of a board, or find it. The models have a module `bench` with the design in it."""
    files = plan(subject, Soc(subject))
    parts = [files.files["top.il"], files.files.get("dram_controller.v", ""), *(path.read_text() for path in models)]

    def build(folder: Path, log: Path) -> None:
        sources = verilog(subject, Soc(subject), folder, log)
        for path in models:
            shutil.copy(path, folder)
            sources.append(path.name)
        verilate_for_cocotb(folder, sources, "bench", BUILD_ARGS, log)

    return cached(name_of(parts, BUILD_ARGS), build)


def small_model(folder: Path) -> Path:
    """Random weights."""
    write_random_checkpoint(folder / "m", hidden=64, intermediate=68, layers=2, heads=1, kv_heads=1, vocab=40,
                            positions=64, seed=5)
    return folder / "m"


def run_host(
    testcase: str, subject: Board, models: Sequence[Path], folder: Path, plusargs: Sequence[str], **parameters: object,
) -> None:
    """Runs a test of tests/boards/board_host.py at the line of the simulated board."""
    parameters |= {"baud": fast_baud(subject), "clock_hz": int(subject.clock_hz), "memory_bytes": subject.memory_bytes}
    variables = {CONFIG_VARIABLE: json.dumps(dataclasses.asdict(subject.config)),
                 PARAMETERS_VARIABLE: json.dumps(parameters)}
    bench = BenchProcess(simulator(subject, models), "bench", "tests.boards.board_host", variables=variables,
                         plusargs=plusargs, testcase=testcase)
    try:
        bench.finish()
    finally:
        bench.end()


def run(
    subject: Board, models: Sequence[Path], image: ModelImage, job: Job, memory: Path, folder: Path,
    overwritten: Sequence[int] = (),
) -> int:
    """Runs a job on the simulated board, whose memory is filled from the file or folder `memory`; clocks of the run.

    Tokens and logits must be those of the golden model. The host writes the words at the addresses `overwritten`.
    """
    config, result = subject.config, folder / "result.json"
    assert image.plan.layout().used_end(job) <= subject.memory_bytes
    run_host("runs_a_model", subject, models, folder, [f"+image={memory}"], job=dataclasses.asdict(job),
             image=str(image.path), result=str(result), overwritten=overwritten)
    found, expected = json.loads(result.read_text()), golden(config, image, job)
    assert found["tokens"] == expected.tokens
    np.testing.assert_array_equal(np.array(found["logits"], np.float32), np.stack(expected.logits))
    return found["cycles"]
