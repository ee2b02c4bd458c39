"""Every logit is the same on every simulated memory: time changes nothing but clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from sim.links.simulated import SimulatedLink
from sim.memory.part import IDEAL, MEMORIES
from sw.__main__ import main
from sw.driver import Driver, Generation
from sw.errors import JobError
from sw.image import ModelImage
from sw.requests import Job
from tests.system.test_sim_equals_golden import DEMO, assert_same, awkward, golden, image_of

pytestmark = pytest.mark.timeout(1800)  # the first test of a preset builds its simulator

TINY = PRESETS["tiny"]


def run(image: ModelImage, job: Job, memory: str, seed: int = 0) -> tuple[Generation, int]:
    link = SimulatedLink(image, seed, memory)
    try:
        result = Driver(link).generate(job)
        assert link.stats
        return result, link.stats.cycles
    finally:
        link.close()


def test_logits_are_the_same_on_every_memory(tmp_path: Path) -> None:
    """With stalls too; half of the bytes per clock take more clocks."""
    image = image_of(awkward(tmp_path), TINY, tmp_path)
    job = Job(prompt=(5, 700, 33), max_new_tokens=2, chunk=TINY.columns, all_logits=True)
    expected = golden(TINY, image, job)
    clocks = {}
    for memory, seed in ((IDEAL, 0), ("sdr-x16", 0), ("ddr3-x16", 0), ("sdr-x16", 3)):
        result, clocks[memory, seed] = run(image, job, memory, seed)
        assert_same(result, expected)
    print(f"\n{clocks}")
    assert clocks[IDEAL, 0] < clocks["sdr-x16", 0] < clocks["sdr-x16", 3]


def test_the_link_refuses_a_memory_that_does_not_fit(tmp_path: Path) -> None:
    image = image_of(awkward(tmp_path), PRESETS["kv260"], tmp_path)
    with pytest.raises(JobError, match="sdr-x16 has 1 port, but the preset kv260 needs 4"):
        SimulatedLink(image, memory="sdr-x16")


REFUSED = {
    "--backend sim --memory ddr5": "there is no memory 'ddr5': use ideal, ddr3-x16, ",
    "--backend sim --memory ddr3-x16 --preset kv260": "the memory ddr3-x16 has 1 port, but the preset kv260 needs 4: ",
    "--memory hbm": "--memory applies to --backend sim, not to golden: ",
    "--board ulx3s --simulate --memory sdr-x16": "--memory applies to --backend sim, not to serial: ",
}


@pytest.mark.parametrize("options", REFUSED)
def test_generate_refuses(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(DEMO), "--prompt", "A", *options.split()]) == 2
    assert capsys.readouterr().err.startswith(f"error: {REFUSED[options]}")


def test_help_lists_the_memories(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["generate", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in MEMORIES)
