# amaranth: UnusedElaboratable=no
"""The LM head over the packed demo checkpoint: next token and row of logits of the golden machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import ceil_div, preset
from hw.contract.isa import decode_header
from hw.logits.lm_head import LmHead
from hw.logits.logit_engine import LogitEngine
from sim.golden.logits import argmax, lm_head_logits
from sim.golden.machine import GoldenMachine
from sim.golden.number import encode
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.steps import Step, run_steps

DEMO = Path(__file__).parents[3] / "models" / "shakespeare-nano"
CONFIG = preset("tiny")
ADDRESS = 0x1000


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("keep", [False, True])
def test_next_token_of_the_demo_model(keep: bool, stall: float, tmp_path: Path) -> None:
    """With `keep` every logit is also written to memory, under any stalls; without it nothing is written."""
    pack(Checkpoint.open(DEMO), tmp_path / "image", CONFIG)
    image = ModelImage.open(tmp_path / "image", CONFIG)
    machine = GoldenMachine(image)
    logits = machine.run_pass([50, 47], [0, 1], [0, 0], [False, True])[1]
    assert logits is not None
    region, size = image.view("head"), CONFIG.beat_bytes
    header = decode_header(region[:32].tobytes())
    payload = region[CONFIG.header_beats * size :][: header["payload_beats"] * size].reshape(-1, size)
    codes = machine.act[1].reshape(ceil_div(header["hidden"], CONFIG.vector), CONFIG.vector).tolist()
    command = {"k": header["hidden"], "m": header["vocabulary"], "hs": int(encode(machine.act_scale[1]))}
    beats = ceil_div(4 * len(logits), size)
    announced = {"i_row": [{"address": ADDRESS, "beats": beats}]} if keep else {}
    run = run_steps(LmHead(CONFIG), [
        Step(set={"keep": int(keep)}, send={
            "i_activations": [{"index": n, "codes": word} for n, word in enumerate(codes)], **announced}),
        Step(send={"i_command": [command], "i_beats": payload.tolist()}),
        Step(until="idle", read=["idle"]),
    ], outputs=["o_request", "o_write"], pulses={"best_valid": "best"}, stall=stall, seed=7, simulator="verilator")
    row = argmax(logits)
    assert run.received["best_valid"] == [{"row": row, "logit": int(encode(logits[row]))}]
    written = b"".join(bytes(beat["data"]) for beat in run.received["o_write"])
    if keep:
        assert np.frombuffer(written, "<f4")[: len(logits)].tolist() == logits.tolist()
        assert {beat["strobe"] for beat in run.received["o_write"]} == {(1 << size) - 1}
        assert [(one["address"], one["beats"]) for one in run.received["o_request"]] == [
            (ADDRESS + at * size, min(256, beats - at)) for at in range(0, beats, 256)]
    else:
        assert not written
        assert not run.received["o_request"]
    if not keep and not stall:
        # One beat per clock to the end, then the way through the LM head and argmax.
        latency = LogitEngine(CONFIG).latency + 1
        assert run.clocks["best_valid"] == [run.clocks["i_beats"][0] + len(payload) - 1 + latency]


@pytest.mark.parametrize("stall", [0.3, 0.8])
def test_logits_that_wait_for_the_memory(stall: float) -> None:
    """Rows of one beat, so that the writer of logits is the slower end: each logit counts once at both."""
    size, rows, commands = CONFIG.stream_bytes, 5, 12
    random = np.random.default_rng(3)
    codes = random.integers(-32767, 32768, size)
    words = codes.reshape(-1, CONFIG.vector).tolist()
    group = size // 4
    beats, expected, logits = [], [], []
    for _ in range(commands):
        scales = np.float32(2.0) ** random.integers(-8, 8, rows)
        weights = random.integers(-127, 128, (rows, size))
        row_logits = lm_head_logits(codes, 1.0, weights.astype(np.int8), scales.astype(np.float64))
        logits.append(row_logits)
        expected.append({"row": argmax(row_logits), "logit": int(encode(row_logits.max()))})
        for start in range(0, rows, group):
            padded = np.zeros(group, "<f4")
            padded[: len(scales[start : start + group])] = scales[start : start + group]
            body = np.zeros((group, size), np.int8)
            body[: len(weights[start : start + group])] = weights[start : start + group]
            beats += [padded.view(np.uint8).tolist(), *body.view(np.uint8).tolist()]
    command = {"k": size, "m": rows, "hs": int(encode(np.float64(1.0)))}
    steps = [
        Step(set={"keep": 1}, send={"i_activations": [{"index": n, "codes": word} for n, word in enumerate(words)]}),
        Step(send={"i_row": [{"address": ADDRESS, "beats": ceil_div(4 * rows, size)}] * commands,
                   "i_command": [command] * commands, "i_beats": beats}),
        Step(until="idle", read=["idle"]),
    ]
    run = run_steps(LmHead(CONFIG), steps, outputs=["o_request", "o_write"], pulses={"best_valid": "best"}, stall=stall,
                    seed=7, simulator="verilator")
    assert run.received["best_valid"] == expected
    written = np.frombuffer(b"".join(bytes(beat["data"]) for beat in run.received["o_write"]), "<f4")
    assert written.reshape(commands, -1)[:, :rows].tolist() == np.stack(logits).tolist()
