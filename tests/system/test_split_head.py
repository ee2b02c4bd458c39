"""Tokens of a split head, and the rows that they took, are those of the golden machine, whatever ran before."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig
from hw.contract.high_plane import HighPlane, guard
from hw.contract.register_map import CAUSES
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver
from sw.image import ModelImage
from sw.links.link import Link, RunStats
from sw.pack import pack
from sw.requests import Batch, Entry, HeadAgain, Job
from sw.split_head import HeadCounts
from tests.system.test_faults import changed, simulate

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
SPLIT = PRESETS["tiny"].replace(candidates=64, timeout_cycles=2000)
PORTS = {
    2: AccelConfig(name="two ports", ports=2, rows=4, columns=1, query_rows=2, candidates=512, max_hidden=512,
                   max_intermediate=512, max_vocab=2048, max_positions=64, max_head_dim=192),
    4: AccelConfig(name="four ports", ports=4, port_bits=64, rows=8, inputs=20, columns=5, vector=4, query_rows=8,
                   candidates=64, shortlist=64, max_hidden=512, max_intermediate=864, max_vocab=2048, max_positions=64),
}
JOB = Job(prompt=(3, 1, 30, 5, 15), max_new_tokens=5, chunk=2, guard=guard(8))


def packed(folder: Path, config: AccelConfig, **sizes: int) -> ModelImage:
    """A random model: its rows stand out little, so that lists of 64 rows overflow."""
    shape = {"hidden": 64, "intermediate": 96, "heads": 2, "vocab": 300, "kv_heads": 1} | sizes
    checkpoint = write_random_checkpoint(folder / "m", layers=2, positions=40, seed=3, separate_head=True, **shape)
    pack(Checkpoint.open(checkpoint), folder / "model.img", config, sequences=config.columns, split=True)
    return ModelImage.open(folder / "model.img", config)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ModelImage:
    return packed(tmp_path_factory.mktemp("image"), SPLIT)


def played(link: Link, request: Job | Batch | HeadAgain) -> tuple[list[int], list[np.ndarray], HeadCounts | None]:
    """Tokens, rows of logits, and what was counted."""
    with closing(link.run(request)) as running:
        found = list(running)
    counts = [step.heads for step in found if step.heads is not None]
    return ([step.token for step in found if step.token is not None], [row for step in found for row in step.rows],
            counts[-1] if counts else None)


def check(one: Link, other: Link, request: Job | Batch | HeadAgain) -> HeadCounts | None:
    got, expected = played(one, request), played(other, request)
    assert got[0] == expected[0]
    assert got[2] == expected[2]
    np.testing.assert_array_equal(np.array(got[1]), np.array(expected[1]))
    if one.stats is not None:
        check_counters(one, one.stats, got[2] or HeadCounts())
    return got[2]


def check_counters(link: Link, stats: RunStats, counts: HeadCounts) -> None:
    """Every clock has a cause, and every beat a region; single rows of the head are no part of the stream."""
    counters, traffic = stats.counters, stats.traffic
    assert traffic is not None
    assert sum(counters[name] for name in CAUSES) == stats.cycles
    assert counters["kv_busy"] * link.config.stream_bytes == traffic.read_bytes["kv"]
    streamed = sum(traffic.read_bytes[name] for name in ("stream", "high", "head"))
    rows = counts.rows_rescored * link.plan.head_layout.row_beats
    assert streamed == (counters["stream_busy"] + rows) * link.config.stream_bytes


def requests() -> list[Job | Batch | HeadAgain]:
    """In the order in which they run, on slots that hold something."""
    entries = (Entry(5, 4, 0), Entry(7, 2, 1))
    return [
        JOB, replace(JOB, slot=1), HeadAgain(columns=1, wanted=(0,)),
        Batch(entries=entries, max_new_tokens=2, guard=guard(8)),
        Batch(entries=entries[1:], max_new_tokens=4, guard=guard(2)), replace(JOB, guard=0), replace(JOB, guard=1),
        replace(JOB, all_logits=True), replace(JOB, last_logits=True), replace(JOB, list_at=0.7, max_new_tokens=2),
        replace(JOB, guard=guard(2), chunk=1), replace(JOB, guard=0xFFFF, max_new_tokens=2),
        replace(JOB, guard=guard(1)),
        HeadAgain(columns=1, wanted=(0,)), replace(JOB, prompt=(9,), max_new_tokens=1, chunk=1, guard=100),
        HeadAgain(columns=1, wanted=(0,)), replace(JOB, max_new_tokens=0), replace(JOB, end_ids=(5, 8)), JOB,
    ]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (3, 4))])
def test_one_after_the_other(seed: int, image: ModelImage) -> None:
    """On one machine: with and without the high plane, with lists that overflow and choices that fail."""
    golden = GoldenLink(image)
    with closing(SimulatedLink(image, seed)) as link:
        found = [check(link, golden, request) for request in requests()]
    total = sum((one for one in found if one), HeadCounts())
    assert total.heads_repeated > 10
    assert total.rows_rescored > 10


@pytest.mark.parametrize(("ports", "sizes"), [
    (2, {"hidden": 328, "vocab": 777}),
    *(pytest.param(ports, sizes, marks=pytest.mark.long) for ports in PORTS for sizes in (
        {"hidden": 320, "intermediate": 512, "heads": 5, "vocab": 777},
        {}, {"hidden": 72, "heads": 3, "vocab": 2047}, {"hidden": 512, "heads": 4, "vocab": 1501},
        {"hidden": 16, "heads": 1, "vocab": 5})),
])
def test_ports(ports: int, sizes: dict[str, int], tmp_path: Path) -> None:
    """Rows cross the ends of stripes; the vocabulary is no multiple of a group, a row none of a beat of two codes."""
    image = packed(tmp_path, PORTS[ports], **sizes)
    golden = GoldenLink(image)
    with closing(SimulatedLink(image, 2)) as link:
        slot = min(1, PORTS[ports].columns - 1)
        for job in (JOB, replace(JOB, guard=guard(2)), replace(JOB, guard=guard(1), slot=slot), replace(JOB, guard=0)):
            prompt = tuple(token % image.plan.shape.vocab for token in job.prompt)
            check(link, golden, replace(job, prompt=prompt, chunk=min(2, PORTS[ports].columns), max_new_tokens=3))


def test_demo_model(tmp_path: Path) -> None:
    """The tokens of the full head, in fewer clocks."""
    pack(Checkpoint.open(DEMO), tmp_path / "demo.img", SPLIT, split=True)
    image = ModelImage.open(tmp_path / "demo.img", SPLIT)
    job = Job(prompt=(50, 47, 45, 37, 47, 26, 199), max_new_tokens=6, chunk=2)
    with closing(SimulatedLink(image)) as link:
        driver, clocks, tokens = Driver(link), [], []
        for value in (0, guard(8)):
            tokens.append(driver.generate(replace(job, guard=value)).tokens)
            assert link.stats is not None
            clocks.append(link.stats.cycles)
    assert tokens[0] == tokens[1]
    assert clocks[1] < clocks[0]
    assert driver.heads is not None
    assert driver.heads.heads_repeated == 0


@pytest.mark.parametrize(("memory", "seed"), [
    ("sdr-x16", 0), *(pytest.param(*one, marks=pytest.mark.long) for one in (("ddr3-x16", 0), ("sdr-x16", 3)))])
def test_memories(memory: str, seed: int, image: ModelImage) -> None:
    golden = GoldenLink(image)
    with closing(SimulatedLink(image, seed, memory)) as link:
        for value in (guard(8), guard(2), guard(1)):
            check(link, golden, replace(JOB, guard=value, max_new_tokens=3))


@pytest.mark.parametrize("name", ["random", "bits", "scales", "zeros", "ones"])
def test_a_damaged_plane(name: str, image: ModelImage, tmp_path: Path) -> None:
    """Whatever the plane holds, a run ends as that of the golden machine, and those behind it are right."""
    random = np.random.default_rng(4)
    start = image.plan.regions["high"].offset + SPLIT.header_bytes
    size = image.plan.regions["high"].size - SPLIT.header_bytes
    plane = HighPlane(SPLIT, image.plan.shape.hidden, image.plan.shape.vocab)
    whole = image.memory[start : start + size].copy()
    groups = plane.dither.payload_bytes
    with closing(SimulatedLink(image, 1)) as link:
        for turn in range(2):
            bad = whole.copy()
            if name == "random":
                bad[:] = random.integers(0, 256, size)
            elif name == "bits":
                bad[random.integers(0, size, 40)] ^= 1 << random.integers(0, 8, 40, dtype=np.uint8)
            elif name == "scales":
                scales = bad[groups:].reshape(-1, plane.packed.group_bytes)[:, : SPLIT.stream_bytes].reshape(-1, 4)
                scales[turn::2, 3] ^= 0x80
                bad[groups:].reshape(-1, plane.packed.group_bytes)[:, : SPLIT.stream_bytes] = scales.reshape(
                    -1, SPLIT.stream_bytes)
            else:
                bad[:] = 0 if name == "zeros" else 255
            copy = changed(image.path, start, bad.tobytes())
            moved = copy.rename(tmp_path / f"{turn}.img")
            link.write_memory(link.layout.image + start, bad.tobytes())
            golden = GoldenLink(ModelImage.open(moved, SPLIT))
            for value in (guard(8), guard(1)):
                check(link, golden, replace(JOB, guard=value, max_new_tokens=3))
        link.write_memory(link.layout.image + start, whole.tobytes())
        check(link, GoldenLink(image), JOB)


FAULTS = ["SLVERR", "DECERR", "EARLY_LAST", "NO_ANSWER"]
PHASES = ["dither", "high plane", "rescoring", "whole head"]


def faults(folder: Path, config: AccelConfig, value: int, kinds: list[str], interruptions: list[int]) -> None:
    """With a small guard the choice fails, and the whole head is read behind the plane."""
    simulate(folder, "split_head", config=config, request=replace(JOB, prompt=(3, 1), max_new_tokens=2, guard=value),
             phases=PHASES if value < guard(8) else PHASES[:3], kinds=kinds, interruptions=interruptions)


def test_faults(tmp_path: Path) -> None:
    """In each phase a read error, and an interruption while memory owes a burst."""
    faults(tmp_path, SPLIT, 1, ["SLVERR"], [])


@pytest.mark.long
@pytest.mark.parametrize("value", [guard(8), 1])
@pytest.mark.parametrize("ports", [1, 2])
def test_every_fault(ports: int, value: int, tmp_path: Path) -> None:
    config = SPLIT if ports == 1 else SPLIT.replace(name="faults", ports=ports, rows=2 * ports)
    faults(tmp_path, config, value, FAULTS, [*range(1500, 7000, 1300)])
