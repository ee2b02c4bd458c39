"""When a block's keys, softmax, values and outputs may begin: each waits for the steps before it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.interfaces import output_job, softmax_job
from hw.contract.config import AccelConfig
from hw.dot.interfaces import block_item
from hw.streams import Queue
from hw.watch import watch

__all__ = ["BlockSchedule"]

JOBS = 3
"""Blocks under way at most: keys of j + 1 while the softmax of j and the outputs of j - 1 are computed."""

BANKS = 2
"""Banks of value sums."""


class BlockSchedule(wiring.Component):
    """Holds the jobs of `BlockControl` until their data is there.

    - The keys of a block are played at once: the order of the blocks keeps the banks of score sums apart, because the
      keys of j + 2 come after the values of j, which wait for the softmax of j.
    - The softmax of a block waits for its score sums.
    - The values of a block wait for its weights, and for a free bank of value sums.
    - The outputs of a block wait for its value sums and for the record of its softmax.

    Latency: one clock. Throughput: one job per clock.

    Members:
        i_item, i_softmax, i_output: jobs in the order of the blocks.
        o_item, o_softmax, o_output: the same, when they may begin.
        keys_done, weights_done, record_done, values_done, read_done: pulses of the units, one per block: score sums
            complete, weights written, record complete, value sums complete, value sums read.
        outputs_done: a pulse when the outputs of a pass have been taken.
        queries_done: a pulse when the keys of the last block of a pass have been used.
        idle: no job waits, no block is under way between its keys and the reading of its value sums, and the outputs
            of every pass have been taken.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_item": In(stream.Signature(block_item(config))), "o_item": Out(stream.Signature(block_item(config))),
            "i_softmax": In(stream.Signature(softmax_job(config))),
            "o_softmax": Out(stream.Signature(softmax_job(config))),
            "i_output": In(stream.Signature(output_job(config))), "o_output": Out(stream.Signature(output_job(config))),
            "keys_done": In(1), "weights_done": In(1), "record_done": In(1), "values_done": In(1), "read_done": In(1),
            "outputs_done": In(1), "queries_done": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.items = items = Queue(block_item(config), 2 * JOBS)
        m.submodules.softmaxes = softmaxes = Queue(softmax_job(config), JOBS)
        m.submodules.outputs = outputs = Queue(output_job(config), JOBS)
        lasts, played = Signal(JOBS), Signal(range(JOBS + 1))  # of keys to be played: last blocks of their passes
        wiring.connect(m, wiring.flipped(self.i_item), items.i)
        wiring.connect(m, wiring.flipped(self.i_output), outputs.i)
        m.d.comb += [
            softmaxes.i.payload.eq(self.i_softmax.payload),
            softmaxes.i.valid.eq(self.i_softmax.valid & (played != JOBS)),
            self.i_softmax.ready.eq(softmaxes.i.ready & (played != JOBS)),
            self.queries_done.eq(self.keys_done & lasts[0]),
        ]
        begun = self.i_softmax.valid & self.i_softmax.ready
        m.d.sync += [
            played.eq(played + begun - self.keys_done),
            lasts.eq(Mux(self.keys_done, lasts >> 1, lasts)
                     | (begun & self.i_softmax.payload.last) << (played - self.keys_done)[: len(played)]),
        ]
        watch(m, platform, ~self.keys_done | (played != 0), "the keys of no block are done")

        def credits(name: str, done: Signal, taken: Signal) -> Signal:
            """Steps that are done and have not been used by the step behind them."""
            count = Signal(range(4 * JOBS), name=name)  # every queue of jobs full, and the units behind them busy
            m.d.sync += count.eq(count + done - taken)
            watch(m, platform, (count + done >= taken) & (count + done < 4 * JOBS), f"{{}} {name}", count)
            return count

        softmax_taken, values_taken, output_taken = Signal(), Signal(), Signal()
        scores = credits("scores", self.keys_done, softmax_taken)
        weights = credits("weights", self.weights_done, values_taken)
        records = credits("records", self.record_done, output_taken)
        sums = credits("sums", self.values_done, output_taken)
        used_banks = credits("used_banks", values_taken, self.read_done)
        under_way = credits("under_way", begun, self.read_done)
        passes = credits("passes", begun & self.i_softmax.payload.last, self.outputs_done)

        may_play = Signal()
        m.d.comb += [
            may_play.eq(~items.o.payload["value"] | ((weights != 0) & (used_banks != BANKS))),
            self.o_item.payload.eq(items.o.payload),
            self.o_item.valid.eq(items.o.valid & may_play),
            items.o.ready.eq(self.o_item.ready & may_play),
            values_taken.eq(self.o_item.valid & self.o_item.ready & items.o.payload["value"]),
            self.o_softmax.payload.eq(softmaxes.o.payload),
            self.o_softmax.valid.eq(softmaxes.o.valid & (scores != 0)),
            softmaxes.o.ready.eq(self.o_softmax.ready & (scores != 0)),
            softmax_taken.eq(self.o_softmax.valid & self.o_softmax.ready),
            self.o_output.payload.eq(outputs.o.payload),
            self.o_output.valid.eq(outputs.o.valid & (sums != 0) & (records != 0)),
            outputs.o.ready.eq(self.o_output.ready & (sums != 0) & (records != 0)),
            output_taken.eq(self.o_output.valid & self.o_output.ready),
            self.idle.eq((under_way == 0) & (passes == 0)),
        ]
        return m
