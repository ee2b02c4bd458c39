# amaranth: UnusedElaboratable=no
"""LM head and argmax, joined, over the packed demo checkpoint: logits and next token of the golden machine."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import ceil_div, preset
from hw.contract.isa import decode_header
from hw.contract.payloads import beat
from hw.logits.argmax import Argmax, best_row
from hw.logits.logit_engine import LogitEngine, lm_head_command, lm_head_write
from sim.golden.logits import argmax
from sim.golden.machine import GoldenMachine
from sim.golden.number import encode
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.steps import Step, run_stream

DEMO = Path(__file__).parents[3] / "models" / "shakespeare-nano"
CONFIG = preset("tiny")


class HeadAndArgmax(wiring.Component):
    """Activations, a command and beats in, the best row out."""

    def __init__(self):
        super().__init__({
            "i_activations": In(stream.Signature(lm_head_write(CONFIG))),
            "i_command": In(stream.Signature(lm_head_command(CONFIG))),
            "i_beats": In(stream.Signature(beat(CONFIG))),
            "o": Out(stream.Signature(best_row(CONFIG))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.lm_head = lm_head = LogitEngine(CONFIG)
        m.submodules.best = best = Argmax(CONFIG)
        for name in ("i_activations", "i_command", "i_beats"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(lm_head, name))
        wiring.connect(m, lm_head.o, best.i)
        wiring.connect(m, best.o, wiring.flipped(self.o))
        return m


def test_next_token_of_the_demo_model(tmp_path):
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
    prepare = [Step(send={"i_activations": [{"index": n, "codes": word} for n, word in enumerate(codes)]})]
    received, log = run_stream(HeadAndArgmax(), {"i_command": [command], "i_beats": payload.tolist()}, prepare=prepare,
                               simulator="verilator")
    row = argmax(logits)
    assert received == [{"row": row, "logit": int(encode(logits[row]))}]
    # One beat per clock to the end, then the way through the LM head and argmax.
    assert log["o"] == [log["i_beats"][0] + len(payload) - 1 + LogitEngine(CONFIG).latency + 1]
