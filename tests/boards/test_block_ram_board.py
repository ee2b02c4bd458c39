# amaranth: UnusedElaboratable=no
"""The design of the bitstream `ulx3s-bram` between crystal and serial line runs models, bit for bit.

The demo model has its context of 128 here, which fills the memory but for its last 16 KB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth_boards")

from boards.memory.bank_array import GROUP
from boards.ulx3s_bram import BANKS, DEPTH
from sim.boards.build import MODELS
from sw.image import ModelImage
from sw.requests import Job
from tests.boards.whole_board import fast_line, run, small_model
from tests.system.test_sim_equals_golden import DEMO, image_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]  # builds a simulator of everything

PROMPT = (3, 17, 29)
BENCH = """\
// The board with its design: crystal and serial line. +image=FOLDER has the content of every bank.
`timescale 1ns / 1ps
module bench(input rx, output tx, output ready);
  reg clk25 = 0;
  string folder;
  always #20 clk25 = ~clk25;
  top top(.clk25_0__io(clk25), .uart_0__rx__io(rx), .uart_0__tx__io(tx), .led_0__io(ready));
  initial begin
    #1 if ($value$plusargs("image=%s", folder)) begin
@banks@
    end
  end
endmodule
"""


def bench(folder: Path) -> Path:
    """The file of the bench."""
    banks = [f'      $readmemh({{folder, "/{n}.hex"}}, top.memory.array.bank_{n});' for n in range(BANKS)]
    path = folder / "bench.sv"
    path.write_text(BENCH.replace("@banks@", "\n".join(banks)))
    return path


def write_banks(image: ModelImage, folder: Path) -> None:
    """The content of every bank for $readmemh, by the addresses of `BankArray`: words of spare bits first."""
    groups = BANKS // GROUP
    words = np.zeros((groups + BANKS, DEPTH), "<u8")
    words.reshape(-1).view(np.uint8)[: len(image.memory)] = image.memory
    spare = np.zeros((BANKS, DEPTH), np.uint8)
    for group in range(groups):
        spare[group * GROUP : (group + 1) * GROUP] = words[group].view(np.uint8).reshape(DEPTH, GROUP).T
    folder.mkdir()
    for n in range(BANKS):
        rows = zip(spare[n], words[groups + n], strict=True)
        (folder / f"{n}.hex").write_text("".join(f"{high:02x}{low:016x}\n" for high, low in rows))


@pytest.mark.parametrize("model", ["random", "demo"])
def test_runs_a_model_over_the_serial_line(
    model: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Tokens and logits are those of the golden model."""
    subject = fast_line("ulx3s-bram")
    config = subject.config
    checkpoint, context = (DEMO, 128) if model == "demo" else (small_model(tmp_path), 64)
    image = image_of(checkpoint, config, tmp_path, context)
    job = Job(prompt=PROMPT, max_new_tokens=2, chunk=config.columns, last_logits=True)
    if model == "demo":
        assert image.plan.layout().used_end(job) == subject.memory_bytes - 0x4000
    write_banks(image, tmp_path / "banks")
    cycles = run(subject, (*MODELS, bench(tmp_path)), image, job, tmp_path / "banks", tmp_path)
    record_property("clocks", cycles)
    record_property("positions", job.fed(job.max_new_tokens))
