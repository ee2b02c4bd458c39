# amaranth: UnusedElaboratable=no
"""The design of the ECPIX-5 with a model of its memory's PHY and chip runs models over its serial line, bit for bit.

What is simulated is what is synthesised, training and test of the memory included, with a faster line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("litedram")

from sim.boards.build import MODELS
from sw.requests import Job
from tests.boards.memory.ddr3_model import with_model, write_banks
from tests.boards.whole_board import PROMPT, fast_line, run, run_host, small_model
from tests.system.test_sim_equals_golden import DEMO, image_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]  # builds a simulator of everything

FILES = (*MODELS, Path(__file__).with_name("ddr3_board_bench.sv"))


@pytest.mark.parametrize("model", ["random", "demo"])
def test_runs_a_model_over_the_serial_line(
    model: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Tokens and logits are those of the golden model."""
    subject = with_model(fast_line("ecpix5"))
    checkpoint = DEMO if model == "demo" else small_model(tmp_path)
    image = image_of(checkpoint, subject.config, tmp_path, context=32)
    job = Job(prompt=PROMPT, max_new_tokens=2, chunk=subject.config.columns, all_logits=True)
    write_banks(bytes(image.memory), tmp_path / "banks")
    tested = [0, *(1 << bit for bit in range(4, len(image.memory).bit_length() - 1))]
    cycles = run(subject, FILES, image, job, tmp_path / "banks", tmp_path, tested)
    record_property("clocks", cycles)
    record_property("positions", job.fed(job.max_new_tokens))


def test_memory_that_does_not_work_is_told(tmp_path: Path) -> None:
    """No delay is right: the host gets an error instead of silence."""
    run_host("refuses", with_model(fast_line("ecpix5")), FILES, tmp_path, ["+broken"])
