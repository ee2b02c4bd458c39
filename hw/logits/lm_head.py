"""The LM head: logits of one column over the vocabulary, the best of them, and their way to memory. This file wires."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import stream_beat, write_beat, write_request
from hw.logits.argmax import Argmax, best_row
from hw.logits.logit_engine import LogitEngine, lm_head_command, lm_head_write
from hw.logits.logits_writer import LogitsWriter, logits_row
from hw.streams import fork

__all__ = ["LmHead"]


class LmHead(wiring.Component):
    """Section 7 of docs/numerics.md, and the choice of a token.

        i_activations -> LogitEngine <- i_beats
                            | logits
                       +----+------+
                     Argmax   LogitsWriter (with `keep`)
                       |           |
                     best     o_request, o_write

    Rules: a row has to be announced on `i_row` before the command whose logits it takes, if `keep`.

    Members:
        i_command, i_activations, i_beats: of `LogitEngine`.
        best, best_valid: the best row of a command; valid for one clock, after the last logit.
        keep: logits are written to memory too.
        i_row: the row of memory that they are written to.
        o_request, o_write: the writes.
        idle: no row is under way.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_command": In(stream.Signature(lm_head_command(config))),
            "i_activations": In(stream.Signature(lm_head_write(config))),
            "i_beats": In(stream.Signature(stream_beat(config))),
            "best": Out(best_row(config)), "best_valid": Out(1),
            "keep": In(1),
            "i_row": In(stream.Signature(logits_row(config))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o_write": Out(stream.Signature(write_beat(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = LogitEngine(self.config)
        m.submodules.argmax = argmax = Argmax(self.config)
        m.submodules.writer = writer = LogitsWriter(self.config)
        wiring.connect(m, wiring.flipped(self.i_command), engine.i_command)
        wiring.connect(m, wiring.flipped(self.i_activations), engine.i_activations)
        wiring.connect(m, wiring.flipped(self.i_beats), engine.i_beats)
        wiring.connect(m, wiring.flipped(self.i_row), writer.i_row)
        wiring.connect(m, writer.o_request, wiring.flipped(self.o_request))
        wiring.connect(m, writer.o, wiring.flipped(self.o_write))
        fork(m, engine.o, [(1, argmax.i), (self.keep, writer.i)])
        m.d.comb += [
            argmax.o.ready.eq(1),
            self.best.eq(argmax.o.payload),
            self.best_valid.eq(argmax.o.valid),
            self.idle.eq(writer.idle),
        ]
        return m
