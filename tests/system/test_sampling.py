"""Sequences whose tokens are drawn: the same on golden and simulated machines, alone and together with others."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation, Link
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.pack import pack
from sw.requests import Job
from sw.sampling import Sampling
from sw.scheduler import generate_batch

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
TINY = PRESETS["tiny"]
VOCAB, EOS = 33, (4, 11, 17)
JOB = Job(prompt=(3, 1, 30, 5, 15), max_new_tokens=9, chunk=2, end_ids=EOS,
          sampling=Sampling(temperature=1.5, seed=2))


@pytest.fixture
def image(tmp_path: Path) -> ModelImage:
    folder = write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1,
                                     vocab=VOCAB, positions=24, seed=3, separate_head=True)
    pack(Checkpoint.open(folder), tmp_path / "model.img", TINY, sequences=2)
    return ModelImage.open(tmp_path / "model.img", TINY)


def golden(image: ModelImage) -> Driver:
    return Driver(GoldenLink(image))


def same(got: Generation, expected: Generation) -> bool:
    return (got.tokens, got.stopped) == (expected.tokens, expected.stopped)


def mixed_jobs() -> list[Job]:
    """Drawn in several ways, and greedy; more than there are columns."""
    return [
        JOB, replace(JOB, sampling=None), replace(JOB, sampling=Sampling(temperature=3.0, top_k=9, seed=8)),
        replace(JOB, prompt=(9,), sampling=Sampling(temperature=0.9, top_p=0.7)), replace(JOB, max_new_tokens=0),
        replace(JOB, prompt=(7, 7), sampling=None, all_logits=True), replace(JOB, max_new_tokens=1, all_logits=True),
    ]


def test_golden_and_simulated_draw_the_same(image: ModelImage) -> None:
    """Bit-equal logits and the same seed: alone and in a batch, whose partners change nothing."""
    alone = [golden(image).generate(job) for job in mixed_jobs()]
    assert not same(alone[0], alone[1])
    with closing(SimulatedLink(image, 3)) as link:
        driver = Driver(link)
        for job, expected in list(zip(mixed_jobs(), alone, strict=True))[:4]:
            assert same(driver.generate(job), expected)
        for machine in (driver, golden(image)):
            together = dict(generate_batch(machine, mixed_jobs()))
            for number, expected in enumerate(alone):
                assert same(together[number], expected)
                assert len(together[number].logits) == len(expected.logits)
                for row, expected_row in zip(together[number].logits, expected.logits, strict=True):
                    np.testing.assert_array_equal(row, expected_row)


def rows_of(link: Link, job: Job) -> list[np.ndarray]:
    with closing(link.run(job)) as steps:
        return [row for step in steps for row in step.rows]


@pytest.mark.parametrize("most", [0, 1, 4])
def test_last_logits_are_the_last_of_all(most: int, image: ModelImage) -> None:
    job = replace(JOB, prompt=(3, 1, 30), max_new_tokens=most, sampling=None)
    with closing(SimulatedLink(image)) as link:
        for machine in (GoldenLink(image), link):
            every = rows_of(machine, replace(job, all_logits=True))
            last = rows_of(machine, replace(job, last_logits=True))
            assert len(last) == most
            for row, expected in zip(last, every[len(every) - most :], strict=True):
                np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize("together", [False, True])
def test_top_1_is_greedy(together: bool, image: ModelImage) -> None:
    jobs = [Job(prompt=(n,), max_new_tokens=30, chunk=1) for n in range(8)]
    drawn = [replace(job, sampling=Sampling(temperature=5.0, top_k=1)) for job in jobs]
    driver = golden(image)
    if together:
        results = dict(generate_batch(driver, drawn))
    else:
        results = {number: driver.generate(job) for number, job in enumerate(drawn)}
    for number, job in enumerate(jobs):
        assert same(results[number], driver.generate(job))


def test_ends_of_drawn_sequences(image: ModelImage) -> None:
    """The first end id, though the largest logit was another's; the context; the limit. A token tells as it comes."""
    driver, reasons = golden(image), set()
    for seed in range(25):
        told: list[int] = []
        job = replace(JOB, max_new_tokens=(3, 50)[seed % 2], sampling=Sampling(temperature=2.0, seed=seed))
        result = driver.generate(job, told.append)
        assert told == result.tokens
        ends = [token in EOS for token in result.tokens]
        assert True not in ends[:-1]
        assert result.stopped.startswith("end id") == ends[-1]
        assert len(result.tokens) + len(job.prompt) <= driver.shape.context + 1
        reasons.add(result.stopped.split()[0] + " " + result.stopped.split()[-1])
    assert {"end 4", "end 11", "end 17", "3 reached", "context full"} <= reasons


def test_all_logits_of_a_drawn_sequence(image: ModelImage) -> None:
    """Those with which the prompt and the drawn tokens are scored."""
    job = replace(JOB, all_logits=True)
    result = golden(image).generate(job)
    fed = job.prompt + tuple(result.tokens[:-1])
    scored = golden(image).generate(Job(prompt=fed, max_new_tokens=0, chunk=2, all_logits=True))
    np.testing.assert_array_equal(np.stack(result.logits), np.stack(scored.logits))
    assert not golden(image).generate(JOB).logits


def test_a_callback_that_fails_ends_the_sequence(image: ModelImage) -> None:
    driver = golden(image)

    def fail(token: int) -> None:
        raise InterruptedError(token)

    with pytest.raises(InterruptedError):
        driver.generate(JOB, fail)
    assert same(driver.generate(JOB), golden(image).generate(JOB))


def test_a_run_without_its_token(image: ModelImage, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = golden(image)
    monkeypatch.setattr(driver.link, "run", lambda request: (step for step in ()))
    with pytest.raises(HardwareError, match="ended after 0 tokens, before any stop condition"):
        driver.generate(JOB)


def test_clocks_of_drawing(tmp_path: Path) -> None:
    """A run per token costs the start of a run and what was prefetched across tokens. With a shortlist it also costs
    the record and, where rows have only 128 elements, that more of them enter the list than their beats take clocks.
    The same tokens every time."""
    pack(Checkpoint.open(DEMO), tmp_path / "model.img", TINY)
    image = ModelImage.open(tmp_path / "model.img", TINY)
    greedy = Job(prompt=(50, 47, 45, 37, 47, 26), max_new_tokens=24, chunk=2)
    with closing(SimulatedLink(image)) as link:
        clocks, tokens = [], []
        for sampling in (None, Sampling(temperature=1e-4), Sampling(temperature=1.0, top_k=1)):
            driver = Driver(link)
            tokens.append(driver.generate(replace(greedy, sampling=sampling)).tokens)
            assert driver.total
            clocks.append(driver.total.cycles)
        assert driver.total.runs == 24
    assert tokens[0] == tokens[1] == tokens[2]
    row, shortlist = ((drawn - clocks[0]) / 24 for drawn in clocks[1:])
    print(f"\n{row:.1f} clocks per token more than {clocks[0] / 29:.0f} from rows, {shortlist:.1f} from shortlists")
    assert 0 < row < 0.01 * clocks[0] / 29
    assert 0 < shortlist < 0.05 * clocks[0] / 29
