"""Many jobs on one machine: each result is that of the job alone, and the machine is used as it should be."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig
from sim.links.golden import GoldenLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.errors import HardwareError, JobError
from sw.image import ModelImage
from sw.links.link import Step
from sw.model_plan import ModelPlan
from sw.pack import pack
from sw.requests import Batch, Job, Request
from sw.sampling import Sampling
from sw.scheduler import generate_batch
from tests.sw.fake_link import FakeLink

TINY = PRESETS["tiny"]
FOUR = TINY.replace(columns=4)
VOCAB, CONTEXT = 33, 24


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = write_random_checkpoint(tmp_path_factory.mktemp("model"), hidden=64, intermediate=96, layers=2, heads=2,
                                     kv_heads=1, vocab=VOCAB, positions=CONTEXT, seed=3, separate_head=True)
    return Checkpoint.open(folder)


def image_of(checkpoint: Checkpoint, folder: Path, config: AccelConfig, sequences: int) -> ModelImage:
    path = folder / f"{config.columns}-{sequences}.img"
    pack(checkpoint, path, config, sequences=sequences)
    return ModelImage.open(path, config)


class Recorder(FakeLink):
    """A golden link that keeps what it is asked for."""

    def __init__(self, config: AccelConfig, image: ModelImage) -> None:
        super().__init__(image.plan)
        self.link = GoldenLink(image)
        self.requests: list[Request] = []
        self.passes = 0
        self.under_way = 0

    def run(self, request: Request) -> Generator[Step, None, None]:
        self.requests.append(request)
        made = 0
        self.under_way += 1
        try:
            for step in self.link.run(request):
                made += step.token is not None
                yield step
        finally:
            self.under_way -= 1
        self.passes += request.passes(made)


def some_jobs(seed: int, count: int) -> list[Job]:
    """With some end ids, so that sequences end early now and then; half of the seeds have more than the machine."""
    end_ids = (4, 11, 17) if seed % 2 else (4, 11, 17, 29, 31, 32)
    choose = random.Random(seed)
    jobs = []
    for _ in range(count):
        length = choose.choice((1, 1, 2, 5, 9, CONTEXT - 1, CONTEXT))
        jobs.append(Job(prompt=tuple(choose.randrange(VOCAB) for _ in range(length)), chunk=choose.randint(1, 2),
                        max_new_tokens=choose.choice((0, 1, 2, 7, 50)), end_ids=end_ids,
                        all_logits=choose.random() < 0.5))
    return jobs


def together(driver: Driver, jobs: list[Job]) -> dict[int, Generation]:
    results = list(generate_batch(driver, jobs))
    assert sorted(number for number, _ in results) == list(range(len(jobs)))
    return dict(results)


def assert_same(got: Generation, alone: Generation) -> None:
    assert (got.prompt_ids, got.tokens, got.stopped) == (alone.prompt_ids, alone.tokens, alone.stopped)
    assert len(got.logits) == len(alone.logits)
    for row, expected in zip(got.logits, alone.logits, strict=True):
        np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize("seed", range(3))
def test_each_result_is_that_of_the_job_alone(seed: int, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """However many run at a time; they end for every reason there is."""
    jobs = some_jobs(seed, 8)
    image = image_of(checkpoint, tmp_path, FOUR, 1)
    alone = [Driver(GoldenLink(image)).generate(job) for job in jobs]
    reasons = " ".join(result.stopped for result in alone)
    assert all(reason in reasons for reason in ("end id", "reached", "full"))
    for sequences in (1, 3, 5):
        image = image_of(checkpoint, tmp_path, FOUR, sequences)
        results = together(Driver(GoldenLink(image)), jobs)
        for number, expected in enumerate(alone):
            assert_same(results[number], expected)


@pytest.mark.parametrize("sequences", [1, 3, 4, 6])
def test_all_columns_work_as_long_as_there_are_jobs(sequences: int, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """As many sequences as columns and slots allow, each on its own slot; the last ones alone."""
    link = Recorder(FOUR, image_of(checkpoint, tmp_path, FOUR, sequences))
    jobs = some_jobs(8, 12)
    together(Driver(link), jobs)
    most = min(4, sequences)
    starts = [request for request in link.requests if isinstance(request, Job)]
    assert [job.prompt for job in starts] == [job.prompt for job in jobs]
    assert all(0 <= job.slot < most for job in starts)
    started = 0
    for request in link.requests:
        if isinstance(request, Job):
            started += 1
            continue
        assert len({entry.slot for entry in request.entries}) == request.columns
        assert request.columns == most or started == len(jobs)


def test_sequences_share_passes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    image = image_of(checkpoint, tmp_path, FOUR, 4)
    jobs = [Job(prompt=(n, 2), max_new_tokens=7, chunk=2) for n in range(4)]
    link = Recorder(FOUR, image)
    together(Driver(link), jobs)
    assert link.passes == 4 + 6
    assert [r.max_new_tokens for r in link.requests if isinstance(r, Batch)] == [6]


def test_drawn_sequences_share_passes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """While one is among them, batches have one pass and give logits; the others get theirs too, and no more."""
    image = image_of(checkpoint, tmp_path, FOUR, 4)
    jobs = [Job(prompt=(n, 2), max_new_tokens=4 if n else 7, chunk=2,
                sampling=Sampling(temperature=1.0) if n == 3 else None) for n in range(4)]
    link = Recorder(FOUR, image)
    results = together(Driver(link), jobs)
    assert link.passes == 4 + 6
    assert [(r.max_new_tokens, r.all_logits) for r in link.requests if isinstance(r, Batch)] == [
        (1, True), (1, True), (1, True), (3, False)]
    assert [r.last_logits for r in link.requests if isinstance(r, Job)] == [False, False, False, True]
    for number, job in enumerate(jobs):
        assert_same(results[number], Driver(GoldenLink(image)).generate(job))


def test_a_run_has_room_for_its_rows(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Four sequences make four rows per pass, and a run has room for the rows of one context."""
    image = image_of(checkpoint, tmp_path, FOUR, 4)
    link = Recorder(FOUR, image)
    jobs = [Job(prompt=(n,), max_new_tokens=99, chunk=1, all_logits=n == 2) for n in range(4)]
    results = together(Driver(link), jobs)
    assert [len(result.tokens) for result in results.values()] == [CONTEXT] * 4
    batches = [r for r in link.requests if isinstance(r, Batch)]
    assert [r.most_tokens for r in batches] == [24, 24, 24, 20]


def test_no_jobs(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert not together(Driver(Recorder(FOUR, image_of(checkpoint, tmp_path, FOUR, 1))), [])


def test_results_come_when_they_are_there(checkpoint: Checkpoint, tmp_path: Path) -> None:
    image = image_of(checkpoint, tmp_path, FOUR, 2)
    jobs = [Job(prompt=(1,), max_new_tokens=count, chunk=1) for count in (9, 3, 0, 1)]
    link = Recorder(FOUR, image)
    results = generate_batch(Driver(link), jobs)
    assert [number for number, _ in results] == [1, 2, 3, 0]


def test_closing_ends_the_run(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Nothing is under way between two results, and the machine takes other jobs afterwards."""
    link = Recorder(FOUR, image_of(checkpoint, tmp_path, FOUR, 2))
    driver = Driver(link)
    jobs = some_jobs(1, 6)
    results = generate_batch(driver, jobs)
    next(results)
    results.close()
    assert not link.under_way
    for number, result in together(driver, jobs).items():
        assert_same(result, Driver(GoldenLink(link.link.machine.image)).generate(jobs[number]))


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"prompt": ()}, "job 2: the prompt is empty"),
    ({"prompt": (VOCAB,)}, "job 2: token id 33 is outside"),
    ({"prompt": (1,) * (CONTEXT + 1)}, "job 2: the prompt has 25 tokens"),
    ({"max_new_tokens": -1}, "job 2: max-new-tokens must not be negative"),
    ({"start_position": 3}, "job 2: start-position and slot must be 0 in a batch, not 3 and 0"),
])
def test_refused_before_anything_runs(
    changes: dict, sentence: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    link = Recorder(FOUR, image_of(checkpoint, tmp_path, FOUR, 2))
    jobs = some_jobs(2, 4)
    jobs[2] = replace(jobs[2], **changes)
    with pytest.raises(JobError, match=sentence):
        generate_batch(Driver(link), jobs)
    assert not link.requests


class Script(FakeLink):
    """A link that answers batches with a given number of tokens."""

    def __init__(self, plan: ModelPlan, first: int, following: int) -> None:
        super().__init__(plan)
        self.first, self.following = first, following

    def run(self, request: Request) -> Generator[Step, None, None]:
        for _ in range(self.following if isinstance(request, Batch) else self.first):
            yield Step([], 1)


@pytest.mark.parametrize(("first", "following"), [(0, 2), (1, 0), (1, 1), (1, 3)])
def test_a_machine_that_makes_too_few_tokens(
    first: int, following: int, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """It is an error, not an endless loop."""
    link = Script(image_of(checkpoint, tmp_path, FOUR, 2).plan, first, following)
    with pytest.raises(HardwareError, match=r"ended in the middle of a pass|ended without a token"):
        list(generate_batch(Driver(link), [Job(prompt=(1,), max_new_tokens=9, chunk=1)] * 2))


def test_a_run_that_ends_for_no_reason(checkpoint: Checkpoint, tmp_path: Path) -> None:
    link = Script(image_of(checkpoint, tmp_path, FOUR, 2).plan, 3, 0)
    with pytest.raises(HardwareError, match="ended after 3 tokens, before any stop condition"):
        Driver(link).generate(Job(prompt=(1,), max_new_tokens=9, chunk=1))
