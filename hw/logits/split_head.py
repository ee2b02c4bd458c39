"""The split head: it chooses a token from the high plane of the LM head and the rows that this leaves."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.high_plane import GUARD_BITS, largest_reach
from hw.contract.payloads import gather_request
from hw.dot.block_player import BLOCK_DONE
from hw.dot.interfaces import HeadRows, activation_word, block_item
from hw.float.compare import float_greater
from hw.logits.candidates import Candidates
from hw.logits.interfaces import best_row, head_block, lm_head_command, logit_word
from hw.logits.reach import Reach
from hw.logits.rescore import Rescore

__all__ = ["SplitHead"]


class SplitHead(wiring.Component):
    """Section 7.2 of docs/numerics.md for one column. Commands of other packets pass unchanged.

        i_activations -> Reach -> reach                     i_word (bounds) -> Candidates -> Rescore -> o_request
        i_command -> o_command, twice: dither, high plane                                        |
                                                                              o_item, done, o_block, read

    The command goes to `RowBlocks` twice: with one row, that of the dither, and with all rows of the high plane, which
    have the two bounds of a logit for columns. Then the rows that are left come one by one, and their logits go to
    `Argmax`. The choice fails if there are too many rows, or none, if a logit is above its upper bound, or if the
    largest is below the largest lower bound.

    Cost: the beats of the packet and those of the rescored rows; between the three, once each, the latency of the dot
    products and of `LogitReader`; before the last one, that of memory.

    Members:
        high: the packet under way is the high plane.
        guard: register GUARD; steady.
        base: byte address of the region `head`; steady.
        clear_counts: sets the three counts to 0.
        i_activations: activation_word; watched.
        codes_end: the last of them has been taken, before the command.
        i_command, o_command: lm_head_command.
        rows: HeadRows, a clock behind `high`.
        reach: for `LogitReader`.
        i_word: logit_word, the bounds of the high plane, and the logit of the dither.
        word, word_en: a logit of a rescored row that is accepted.
        o_request, o_item, done, o_block, read: of `Rescore`.
        i_best, o_best: the best row, from `Argmax`; the one of this choice.
        rows_listed, rows_rescored, heads_repeated: registers of these names.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        best = stream.Signature(best_row(config), always_ready=True)
        super().__init__({
            "high": In(1), "guard": In(GUARD_BITS), "base": In(config.address_bits), "clear_counts": In(1),
            "i_activations": In(stream.Signature(activation_word(config), always_ready=True)), "codes_end": In(1),
            "i_command": In(stream.Signature(lm_head_command(config))),
            "o_command": Out(stream.Signature(lm_head_command(config))),
            "rows": Out(HeadRows), "reach": Out(range(largest_reach(config) + 1)),
            "i_word": In(stream.Signature(logit_word(config), always_ready=True)),
            "word": In(logit_word(config)), "word_en": In(1),
            "o_request": Out(stream.Signature(gather_request(config))),
            "o_item": Out(stream.Signature(block_item(config))), "done": In(BLOCK_DONE),
            "o_block": Out(stream.Signature(head_block(config))), "read": In(1),
            "i_best": In(best), "o_best": Out(best),
            "rows_listed": Out(32), "rows_rescored": Out(32), "heads_repeated": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reach = reach = Reach(self.config)
        m.submodules.candidates = candidates = Candidates(self.config)
        m.submodules.rescore = rescore = Rescore(self.config)
        wiring.connect(m, candidates.o, rescore.i)
        for name in ("o_request", "o_item", "o_block"):
            wiring.connect(m, getattr(rescore, name), wiring.flipped(getattr(self, name)))
        command, word = Signal(lm_head_command(self.config)), self.i_word.payload
        m.d.sync += rescore.base.eq(self.base)
        m.d.comb += [
            reach.i.payload.eq(self.i_activations.payload),
            reach.i.valid.eq(self.i_activations.valid),
            reach.start.eq(~self.high),
            reach.ended.eq(self.codes_end),
            reach.guard.eq(self.guard),
            self.reach.eq(reach.reach),
            rescore.row_beats.eq(command.row_beats),
            rescore.done.eq(self.done),
            rescore.read.eq(self.read),
            candidates.i.valid.eq(self.i_word.valid & (self.rows == HeadRows.HIGH)),
            candidates.i.payload.upper.eq(word.column[0]),
            candidates.i.payload.row.eq(word.row),
            candidates.i.payload.bound.eq(word.logit),
            candidates.i.payload.scale.eq(word.beside),
            candidates.i.payload.padding.eq(word.padding),
            candidates.i.payload.last.eq(word.last),
        ]
        self._choose(m, command, reach, candidates)
        self._best(m, candidates)
        self._counts(m, candidates)
        return m

    def _choose(self, m: Module, command: Signal, reach: Reach, candidates: Candidates) -> None:
        """The steps of a choice."""
        rows, ended = self.rows, self.i_word.valid & self.i_word.payload.last
        taken = self.o_command.valid & self.o_command.ready
        m.d.comb += self.o_command.payload.eq(self.i_command.payload)
        with m.If(~self.high):
            m.d.comb += [self.o_command.valid.eq(self.i_command.valid), self.i_command.ready.eq(self.o_command.ready)]
            m.d.sync += rows.eq(HeadRows.INT8)
        with m.FSM(name="choice"):
            with m.State("DITHER"):
                with m.If(self.high):
                    m.d.sync += rows.eq(HeadRows.DITHER)
                    m.d.comb += [
                        self.o_command.payload.m.eq(1),
                        self.o_command.valid.eq(self.i_command.valid & reach.valid),
                        self.i_command.ready.eq(self.o_command.ready & reach.valid),
                        candidates.clear.eq(1),
                    ]
                    m.d.sync += command.eq(self.i_command.payload)
                    with m.If(taken):
                        m.next = "DITHER READ"
            with m.State("DITHER READ"):
                with m.If(ended):
                    m.d.sync += rows.eq(HeadRows.HIGH)
                    m.next = "HIGH"
            with m.State("HIGH"):
                m.d.comb += [
                    self.o_command.payload.eq(command),
                    self.o_command.payload.columns.eq(2),
                    self.o_command.valid.eq(1),
                ]
                with m.If(taken):
                    m.next = "BOUNDS"
            with m.State("BOUNDS"):
                with m.If(candidates.complete):
                    m.d.sync += [
                        self.rows_listed.eq(self.rows_listed + candidates.listed), rows.eq(HeadRows.RESCORED)]
                    m.next = "RESCORE"
                    with m.If(candidates.overflow):
                        m.next = "FAILED"
            with m.State("RESCORE"):
                with m.If(self.i_best.valid):
                    m.next = "DITHER"
                with m.If(candidates.none):
                    m.next = "FAILED"
            with m.State("FAILED"):
                m.d.comb += [self.o_best.valid.eq(1), self.o_best.payload.failed.eq(1)]
                m.next = "DITHER"

    def _best(self, m: Module, candidates: Candidates) -> None:
        """The best row, unless the logits contradict their bounds."""
        best, above = self.i_best.payload, Signal()
        with m.If(~self.high):
            m.d.sync += above.eq(0)
        with m.Elif(self.word_en & float_greater(self.word.logit, self.word.beside)):
            m.d.sync += above.eq(1)
        with m.If(self.i_best.valid):
            m.d.comb += [
                self.o_best.valid.eq(1),
                self.o_best.payload.eq(best),
                self.o_best.payload.failed.eq(self.high & (above | float_greater(candidates.least, best.logit))),
            ]

    def _counts(self, m: Module, candidates: Candidates) -> None:
        """What the registers tell of the run."""
        with m.If(candidates.o.valid & candidates.o.ready):
            m.d.sync += self.rows_rescored.eq(self.rows_rescored + 1)
        with m.If(self.o_best.valid & self.o_best.payload.failed):
            m.d.sync += self.heads_repeated.eq(self.heads_repeated + 1)
        with m.If(self.clear_counts):
            m.d.sync += [self.rows_listed.eq(0), self.rows_rescored.eq(0), self.heads_repeated.eq(0)]
