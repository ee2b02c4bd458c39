"""The LM head over the packed demo checkpoint: next tokens and rows of logits of the golden machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import preset
from hw.contract.head_layout import HeadLayout
from hw.contract.isa import decode_header
from sim.golden.logits import argmax
from sim.golden.machine import GoldenMachine
from sim.golden.number import encode
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.logits.head_bench import (
    ADDRESSES,
    HeadBench,
    activation_words,
    check,
    random_group,
    scale_steps,
    written,
)
from tests.hw.steps import Step, run_steps

DEMO = Path(__file__).parents[3] / "models" / "shakespeare-nano"
CONFIG = preset("tiny")


PASSES = {
    "one column": ([50, 47], [0, 1], [0, 0], [False, True]),
    "two columns": ([50, 47], [3, 0], [0, 1], [True, True]),
}
"""Tokens, positions, slots and which columns want logits."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ModelImage:
    path = tmp_path_factory.mktemp("packed") / "image"
    pack(Checkpoint.open(DEMO), path, CONFIG)
    return ModelImage.open(path, CONFIG)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", PASSES)
def test_next_token_of_the_demo_model(name: str, keep: bool, stall: float, image: ModelImage) -> None:
    """With `keep` every logit is also written to memory, under any stalls; without it nothing is written."""
    machine = GoldenMachine(image)
    tokens, positions, slots, wanted = PASSES[name]
    found = machine.run_pass(tokens, positions, slots, wanted)
    used = [n for n, want in enumerate(wanted) if want]
    logits = np.stack([one for one in found if one is not None])
    assert len(logits) == len(used)
    region, size = image.view("head"), CONFIG.stream_bytes
    header = decode_header(region[:32].tobytes())
    payload = region[CONFIG.header_beats * size :][: header["payload_beats"] * size].reshape(-1, size)
    layout = HeadLayout(CONFIG, header["hidden"], header["vocabulary"])
    words = [word for n, column in enumerate(used) for word in activation_words(CONFIG, n, machine.act[column])]
    announced = [{"column": n, "address": address} for n, address in enumerate(ADDRESSES[: len(used)])]
    command = {"columns": len(used), "row_beats": layout.row_beats, "m": layout.vocab}
    run = run_steps(HeadBench(CONFIG), [
        Step(set={"keep": int(keep)}, send={"i_activations": words, **({"i_row": announced} if keep else {})}),
        *scale_steps(machine.act_scale[used]),
        Step(send={"i_command": [command], "i_beats": payload.tolist()}),
        Step(until="idle"),
    ], outputs=["o_request", "o_write"], pulses={"best_valid": "best"}, stall=stall, seed=7, silence=400,
        simulator="verilator")
    assert run.received["best_valid"] == [
        {"column": n, "row": argmax(one), "logit": int(encode(one[argmax(one)]))} for n, one in enumerate(logits)]
    requests, beats = written(CONFIG, logits, ADDRESSES) if keep else ([], [])
    assert run.received["o_request"] == requests
    assert run.received["o_write"] == beats
    if not keep and not stall:
        assert run.clocks["i_beats"] == list(range(run.clocks["i_beats"][0], run.clocks["i_beats"][0] + len(payload)))


@pytest.mark.parametrize("stall", [0.3, 0.8])
def test_logits_that_wait_for_the_memory(stall: float) -> None:
    """Rows of one beat, so that the writer of logits is the slower end: each logit counts once at both."""
    random = np.random.default_rng(3)
    groups = [random_group([3, n], 1 + n % 2, CONFIG.beat_bytes, random.integers(1, 200, 2).tolist()) for n in range(4)]
    check(CONFIG, groups, keep=True, stall=stall, seed=7, simulator="verilator")
