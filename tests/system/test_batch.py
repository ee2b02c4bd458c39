"""Several sequences on one stream of weights: simulated equals golden equals each sequence alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.image import ModelImage
from sw.pack import pack
from sw.requests import Job
from sw.scheduler import generate_batch
from tests.system.cache_reads import cache_bytes

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
TINY = PRESETS["tiny"]
FOUR = TINY.replace(name="four", columns=4, kv_bits=16)
END_IDS = (4, 11, 17)
MANY_END_IDS = (4, 11, 17, 29, 31)
"""More than the machine has registers for."""


def image_of(
    checkpoint: Path, config: AccelConfig, folder: Path, sequences: int, context: int | None = None
) -> ModelImage:
    path = folder / f"{config.name}.img"
    pack(Checkpoint.open(checkpoint), path, config, context=context, sequences=sequences)
    return ModelImage.open(path, config)


def random_checkpoint(folder: Path) -> Path:
    """Does not repeat itself, and often chooses one of `END_IDS`."""
    return write_random_checkpoint(folder / "m", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1, vocab=33,
                                   positions=24, seed=3, separate_head=True)


def assert_same(got: Generation, expected: Generation) -> None:
    assert (got.tokens, got.stopped) == (expected.tokens, expected.stopped)
    assert len(got.logits) == len(expected.logits)
    for row, expected_row in zip(got.logits, expected.logits, strict=True):
        np.testing.assert_array_equal(row, expected_row)


def check(config: AccelConfig, image: ModelImage, jobs: Sequence[Job], seed: int = 0) -> list[Generation]:
    """The simulated batch, the golden batch, and each job alone on a fresh golden machine; the results."""
    simulated = dict(generate_batch(Driver(SimulatedLink(image, seed)), jobs))
    golden = dict(generate_batch(Driver(GoldenLink(image)), jobs))
    assert sorted(simulated) == sorted(golden) == list(range(len(jobs)))
    for number, job in enumerate(jobs):
        alone = Driver(GoldenLink(image)).generate(job)
        assert_same(simulated[number], alone)
        assert_same(golden[number], alone)
    return [simulated[number] for number in range(len(jobs))]


@pytest.mark.parametrize("seed", [0, 5])
def test_demo_model(seed: int, tmp_path: Path) -> None:
    """More sequences than columns, of different lengths and limits; only some want logits."""
    image = image_of(DEMO, TINY, tmp_path, sequences=2, context=40)
    prompts = ((50, 47, 45, 37, 47, 26, 199), (17,), (300, 21, 9))
    jobs = [
        Job(prompt=prompts[0], max_new_tokens=6, chunk=2, all_logits=True),
        Job(prompt=prompts[1], max_new_tokens=3, chunk=1),
        Job(prompt=prompts[2], max_new_tokens=4, chunk=2, all_logits=seed > 0),
    ]
    check(TINY, image, jobs, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 7])
def test_random_model(seed: int, tmp_path: Path) -> None:
    """Four columns, sequences that end for every reason, a slot that serves several of them."""
    image = image_of(random_checkpoint(tmp_path), FOUR, tmp_path, sequences=4)
    random = np.random.default_rng(seed)
    jobs = [
        Job(prompt=tuple(int(t) for t in random.integers(0, 33, length)), max_new_tokens=most, chunk=4,
            end_ids=END_IDS if seed else MANY_END_IDS, all_logits=True)
        for length, most in ((1, 50), (9, 2), (2, 9), (24, 3), (5, 0), (17, 40), (3, 1))
    ]
    reasons = " ".join(result.stopped for result in check(FOUR, image, jobs, seed))
    assert all(reason in reasons for reason in ("end id", "reached", "full"))


@pytest.mark.long
def test_as_many_sequences_as_columns(tmp_path: Path) -> None:
    """Every number of sequences decodes on its own columns; fewer slots than columns limit them."""
    image = image_of(random_checkpoint(tmp_path), FOUR, tmp_path, sequences=3)
    for count in (2, 3, 4):
        jobs = [Job(prompt=(n + 1, 30 - n), max_new_tokens=4, chunk=2, end_ids=END_IDS, all_logits=True)
                for n in range(count)]
        check(FOUR, image, jobs)


def test_clocks_of_a_batch(tmp_path: Path) -> None:
    """Two sequences take less than two alone; the stream of the layers is read once for both, and
    nothing is read twice."""
    image = image_of(DEMO, TINY, tmp_path, sequences=2)
    jobs = [Job(prompt=(50, 47), max_new_tokens=9, chunk=2), Job(prompt=(17, 300), max_new_tokens=9, chunk=2)]
    clocks = {}
    for name, some in (("both", jobs), ("first", jobs[:1]), ("second", jobs[1:])):
        driver = Driver(SimulatedLink(image))
        results = [result for _, result in generate_batch(driver, some)]
        assert all(len(result.tokens) == 9 for result in results)
        assert driver.total
        assert driver.total.traffic
        clocks[name], read = driver.total.cycles, driver.total.traffic.read_bytes
        assert read["stream"] == image.plan.regions["stream"].size * (len(some) + 8)
        alone = [[range(2)]] * len(some)
        assert read["kv"] == cache_bytes(image.plan, alone + [[[position]] * len(some) for position in range(2, 10)])
    print(f"\n{clocks}")
    assert clocks["both"] < 0.8 * (clocks["first"] + clocks["second"])
