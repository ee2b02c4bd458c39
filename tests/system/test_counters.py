"""Counters of whole runs: the causes add up to the clocks, and those of beats are what the plan says."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from hw.contract.register_map import CAUSES, COUNTERS
from sim.links.simulated import SimulatedLink
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.links.link import RunStats
from sw.pack import pack
from sw.requests import Batch, Entry, HeadAgain, Job, Request
from tests.system.test_sim_equals_golden import DEMO, PROMPT

CONFIG = PRESETS["tiny"]
REQUESTS: dict[str, Request] = {
    "prompt in chunks, new tokens": Job(prompt=PROMPT, max_new_tokens=3, chunk=2, all_logits=True),
    "prompt alone": Job(prompt=PROMPT[:2], max_new_tokens=0, chunk=1),
    "batch": Batch(entries=(Entry(5, 0, 0), Entry(6, 20, 1)), max_new_tokens=2),
    "shortlists": Job(prompt=PROMPT[:3], max_new_tokens=2, chunk=2, list_at=0.7),
    "shortlists of a batch": Batch(entries=(Entry(5, 0, 0, 1.0), Entry(6, 20, 1, 0.3)), max_new_tokens=1),
    "the head again": HeadAgain(columns=2, wanted=(1,)),
}


def check(stats: RunStats, image: ModelImage, request: Request) -> None:
    counters, traffic = stats.counters, stats.traffic
    assert traffic
    assert sum(counters[name] for name in CAUSES) == stats.cycles
    assert counters["stream_busy"] * CONFIG.stream_bytes == sum(traffic.read_bytes[name] for name in ("stream", "head"))
    assert counters["kv_busy"] * CONFIG.beat_bytes == traffic.read_bytes["kv"]
    if isinstance(request, HeadAgain):
        assert 0 < counters["lm_head_waiting"] < stats.cycles
        assert not any(counters[f"{name}_busy"] for name in ("attention", "embed", "norm", "matmul"))
        return
    attends = image.plan.shape.layers * request.passes(request.most_tokens)
    attention = sum(counters[name] for name in ("kv_busy", "kv_starved", "attention_waiting"))
    headers = counters["attention_busy"] - attention  # beats that were collected meanwhile
    assert 0 <= headers <= CONFIG.header_beats * attends < attention
    commands = sum(counters[f"{name}_busy"] for name in ("attention", "lm_head", "embed", "norm", "matmul"))
    assert commands < stats.cycles
    assert (counters["lm_head_waiting"] > 0) == (request.most_tokens > 0)


@pytest.mark.parametrize("seed", [0, 3])
def test_causes_add_up_to_the_clocks(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "m.img"
    pack(Checkpoint.open(DEMO), path, CONFIG, context=48, sequences=2)
    image = ModelImage.open(path, CONFIG)
    with closing(SimulatedLink(image, seed)) as link:
        for request in REQUESTS.values():
            for link.sampled in (False, True):
                for _ in link.run(request):
                    pass
                assert link.stats
                check(link.stats, image, request)
                check_samples(link)


def check_samples(link: SimulatedLink) -> None:
    """They rise from one to the next up to the counters of the run, and are read while it goes on."""
    assert link.stats
    assert bool(link.samples) == link.sampled
    whole = {"cycles": link.stats.cycles, **link.stats.counters}
    for before, after in pairwise([*link.samples, whole]):
        assert all(before[name] <= after[name] for name in COUNTERS)
    during = {sample["cycles"] for sample in link.samples if 0 < sample["cycles"] < link.stats.cycles}
    assert not link.sampled or len(during) > 10
