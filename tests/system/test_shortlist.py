"""Tokens drawn from shortlists are those drawn from the rows of logits, on golden and simulated machines, alone and
together; where a list does not suffice the LM head runs again, and that is counted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.link import Link
from sw.pack import pack
from sw.requests import Batch, Entry, HeadAgain, Job
from sw.sampling import Sampling
from sw.scheduler import generate_batch
from sw.shortlist import Shortlist

LISTS = PRESETS["tiny"].replace(shortlist=64)
GROUPS = LISTS.replace(columns=5, query_rows=2)
ROWS = LISTS.replace(shortlist=0)
JOB = Job(prompt=(3, 1, 30, 5, 15), max_new_tokens=5, chunk=2)
SAMPLINGS = {
    "top-k": Sampling(temperature=0.8, top_k=40, seed=1),
    "top-k of the whole list": Sampling(temperature=2.0, top_k=64, seed=2),
    "top-p of a flat row": Sampling(temperature=100.0, top_p=0.9, seed=3),
    "top-p of few": Sampling(temperature=0.05, top_p=0.9, seed=4),
    "min-p": Sampling(temperature=0.5, min_p=0.5, seed=5),
    "all": Sampling(temperature=1.0, top_k=50, top_p=0.8, min_p=0.1, seed=6),
    "penalties": Sampling(temperature=0.3, top_k=8, presence_penalty=1.5, frequency_penalty=0.5, seed=7),
    "neither": Sampling(temperature=1.0, seed=8),
}
SUFFICE = {"top-k", "top-k of the whole list", "top-p of few", "all"}
"""Samplings for which no row is read."""


def packed(folder: Path, config: AccelConfig, **sizes: int) -> ModelImage:
    shape = {"hidden": 64, "intermediate": 96, "heads": 2, "vocab": 300} | sizes
    checkpoint = write_random_checkpoint(folder / "m", layers=2, kv_heads=1, positions=24, seed=3, separate_head=True,
                                         **shape)
    pack(Checkpoint.open(checkpoint), folder / "model.img", config, sequences=config.columns)
    return ModelImage.open(folder / "model.img", config)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[AccelConfig, ModelImage]:
    return {config: packed(tmp_path_factory.mktemp("image"), config) for config in (LISTS, ROWS)}


def same(got: Generation, expected: Generation) -> bool:
    return (got.tokens, got.stopped) == (expected.tokens, expected.stopped)


def jobs() -> list[Job]:
    return [replace(JOB, sampling=sampling) for sampling in SAMPLINGS.values()]


def test_drawn_from_lists_and_from_rows(images: dict[AccelConfig, ModelImage]) -> None:
    """Alone: golden with rows, golden with lists, simulated with lists."""
    rows, lists = Driver(GoldenLink(images[ROWS])), Driver(GoldenLink(images[LISTS]))
    with closing(SimulatedLink(images[LISTS], 3)) as link:
        simulated = Driver(link)
        for name, job in zip(SAMPLINGS, jobs(), strict=True):
            expected, before = rows.generate(job), simulated.total
            assert same(lists.generate(job), expected), name
            assert same(simulated.generate(job), expected), name
            assert simulated.total is not None
            again = simulated.total.heads_again - (before.heads_again if before else 0)
            if name in SUFFICE or name == "neither":
                assert not again, name
            if name == "top-p of a flat row":
                assert again == 1, "rows are asked for at once afterwards"


@pytest.mark.long
def test_together(images: dict[AccelConfig, ModelImage]) -> None:
    """In batches of those that need a row, those that need a list, and greedy ones."""
    every = [*jobs(), JOB, replace(JOB, all_logits=True), replace(jobs()[0], all_logits=True)]
    expected = [Driver(GoldenLink(images[ROWS])).generate(job) for job in every]
    with closing(SimulatedLink(images[LISTS], 5)) as link:
        for driver in (Driver(GoldenLink(images[LISTS])), Driver(link)):
            for number, result in generate_batch(driver, every):
                assert same(result, expected[number]), number
                assert len(result.logits) == len(expected[number].logits)


def steps(link: Link, request: Job | Batch | HeadAgain) -> tuple[list[Shortlist], list[np.ndarray], list[int]]:
    with closing(link.run(request)) as running:
        found = list(running)
    return ([one for step in found for one in step.lists], [row for step in found for row in step.rows],
            [step.token for step in found if step.token is not None])


def equal(one: Shortlist, other: Shortlist) -> bool:
    return (one.ids.tolist(), one.logits.tolist(), one.log_sum, one.temperature) == (
        other.ids.tolist(), other.logits.tolist(), other.log_sum, other.temperature)


REQUESTS = {
    "job of several tokens": replace(JOB, list_at=0.7, max_new_tokens=3),
    "one token": replace(JOB, prompt=(9,), list_at=2.0, max_new_tokens=1, chunk=1),
    "batch": Batch(entries=(Entry(5, 4, 0, 0.3), Entry(7, 2, 1, 1.7)), max_new_tokens=2),
    "one of a batch": Batch(entries=(Entry(5, 4, 0), Entry(7, 2, 1, 1.7)), max_new_tokens=1),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_lists_and_the_head_again(name: str, images: dict[AccelConfig, ModelImage]) -> None:
    """Simulated equal golden, entry by entry; the head once more gives the rows that the last lists are of, twice."""
    request = REQUESTS[name]
    columns = len(request.entries) if isinstance(request, Batch) else 1
    again = HeadAgain(columns=columns, wanted=tuple(range(columns)))
    with closing(SimulatedLink(images[LISTS], 1)) as link:
        golden = GoldenLink(images[LISTS])
        for machine in (golden, link):
            steps(machine, replace(JOB, prompt=(3, 1, 30, 5), max_new_tokens=0, slot=0))
            steps(machine, replace(JOB, prompt=(8, 9), max_new_tokens=0, slot=1))
        expected, got = steps(golden, request), steps(link, request)
        assert got[2] == expected[2]
        assert len(got[0]) == len(got[2])
        assert all(map(equal, got[0], expected[0]))
        for _ in range(2):
            rows = steps(link, again)[1]
            np.testing.assert_array_equal(rows, steps(golden, again)[1])
            for row, shortlist in zip(rows, got[0][-again.columns :], strict=True):
                np.testing.assert_array_equal(row[shortlist.ids], shortlist.logits)


def test_head_again_of_nothing(images: dict[AccelConfig, ModelImage]) -> None:
    """A sentence, and the machine runs on."""
    with closing(SimulatedLink(images[LISTS])) as link:
        for machine in (GoldenLink(images[LISTS]), link):
            steps(machine, replace(JOB, max_new_tokens=0))
            with pytest.raises(HardwareError, match=r"chose|BAD_PARAMETER"):
                steps(machine, HeadAgain(columns=1, wanted=(0,)))
            assert len(steps(machine, JOB)[2]) == JOB.max_new_tokens


@pytest.mark.parametrize("sizes", [{}, {"vocab": 40, "hidden": 16, "heads": 1}])
def test_groups_of_columns(sizes: dict[str, int], tmp_path: Path) -> None:
    """Of five columns two share the LM head. The next group begins when nothing of the one before is under way, be it
    rows or lists, whose last words take longer than the rows of a small head; the last group may be smaller."""
    image = packed(tmp_path, GROUPS, **sizes)
    golden, prompt = GoldenLink(image), Job(prompt=(3, 1, 30, 5, 15), max_new_tokens=1, chunk=5, all_logits=True)
    with closing(SimulatedLink(image, 2)) as link:
        for machine in (golden, link):
            for slot in range(5):
                steps(machine, Job(prompt=(8, 9 + slot), max_new_tokens=0, chunk=5, slot=slot))
        np.testing.assert_array_equal(steps(link, prompt)[1], steps(golden, prompt)[1])
        for count in (3, 4, 5):
            batch = Batch(entries=tuple(Entry(5 + n, 2, n, 0.5 + n) for n in range(count)), max_new_tokens=2)
            (lists, _, tokens), (expected, _, expected_tokens) = steps(link, batch), steps(golden, batch)
            assert tokens == expected_tokens
            assert [equal(one, other) for one, other in zip(lists, expected, strict=True)] == [True] * 2 * count
            again = HeadAgain(columns=count, wanted=(*range(1, count), 0))
            for request in (again, replace(batch, all_logits=True)):
                np.testing.assert_array_equal(steps(link, request)[1], steps(golden, request)[1])
