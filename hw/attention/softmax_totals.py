"""This file adds the total of each query row of the softmax, and keeps the records of the last four blocks."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.interfaces import record_read
from hw.attention.softmax_lane import lane_result, lane_total
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS
from hw.delay import delayed
from hw.dot.interfaces import softmax_sets
from hw.dot.read_ports import READ_LATENCY
from hw.float.add import FloatAdd
from hw.float.divide import FloatDivide
from hw.float.rounding import BIAS
from hw.watch import watch

__all__ = ["SoftmaxTotals", "totals_job"]


def totals_job(config: AccelConfig) -> data.StructLayout:
    """A set of a block: its number in the block, the record of the block, whether the block is the last of its pass,
    and whether the set is the last of its block (`end`)."""
    return data.StructLayout({"set": range(softmax_sets(config)), "record": unsigned(2), "last": 1, "end": 1})


class SoftmaxTotals(wiring.Component):
    """Totals of section 5 of docs/numerics.md, `l = l * alpha + F(sum p) * 2^-16`, 1/l, and the record of each row.

    One adder and one divider serve the rows of a set one after the other: a row takes 4 clocks, 25 in a last block.

    Rules: `lanes` stay from the clock after `start` until `done`, and no other `start` comes before.

    Members:
        start: `job` has to be done; it counts in this clock.
        job: what the rows belong to.
        lanes: what there is for the row of each lane.
        total: the new total, for each lane.
        done: the last row of the set is recorded in this clock.
        record_done: pulse, the record of the block is complete.
        read: read port of the records.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        lanes = config.softmax_lanes
        super().__init__({
            "start": In(1),
            "job": In(totals_job(config)),
            "lanes": In(data.ArrayLayout(lane_result(), lanes)),
            "total": Out(data.ArrayLayout(lane_total(config), lanes)),
            "done": Out(1),
            "record_done": Out(1),
            "read": In(record_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.softmax_lanes
        row_bits = len(self.read.row)
        record = data.StructLayout({"alpha": FLOAT_BITS, "exponent": 8, "inverse": FLOAT_BITS})
        m.submodules.records = records = memory.Memory(shape=record, depth=4 << row_bits, init=[])
        write, read = records.write_port(), records.read_port()
        m.submodules.add = add = FloatAdd()
        m.submodules.divide = divide = FloatDivide()

        job, lane = Signal(totals_job(config)), Signal(range(max(2, lanes)))
        row = Signal(row_bits)
        result = Signal(lane_result())
        added, recorded = Signal(), Signal()
        last_lane = lane == lanes - 1
        m.d.comb += [
            result.eq(Array(self.lanes[n] for n in range(lanes))[lane]),
            row.eq(job.set * lanes + lane),
            add.a.eq(result.decayed),
            add.b.eq(result.fresh),
            divide.a.eq(BIAS << FRACTION_BITS),
            divide.b.eq(add.o),
            write.addr.eq(Cat(row, job.record)),
            write.data.alpha.eq(result.alpha),
            write.data.exponent.eq(result.exponent),
            write.data.inverse.eq(divide.o),
            write.en.eq(recorded),
            self.done.eq(recorded & last_lane),
        ]
        m.d.sync += self.record_done.eq(self.done & job.end)
        for n in range(lanes):
            m.d.comb += [
                self.total[n].here.eq(added & (lane == n)),
                self.total[n].set.eq(job.set),
                self.total[n].value.eq(add.o),
            ]

        step = Signal(range(FloatAdd.LATENCY + 1))
        with m.FSM() as fsm:
            with m.State("idle"), m.If(self.start):
                m.d.sync += job.eq(self.job)
                m.next = "add"
            with m.State("add"):
                m.d.sync += step.eq(step + 1)
                with m.If(step == FloatAdd.LATENCY):
                    m.d.comb += [added.eq(1), divide.start.eq(job.last), recorded.eq(~job.last)]
                    m.d.sync += step.eq(0)
                    with m.If(job.last):
                        m.next = "divide"
                    with m.Elif(last_lane):
                        m.next = "idle"
            with m.State("divide"), m.If(divide.done):
                m.d.comb += recorded.eq(1)
                m.next = "add"
                with m.If(last_lane):
                    m.next = "idle"
        watch(m, platform, ~self.start | fsm.ongoing("idle"), "a set comes before the totals of another are done")
        with m.If(recorded):
            m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))

        m.d.comb += read.addr.eq(Cat(self.read.row, self.read.record))
        found = delayed(m, read.data, READ_LATENCY - 1, name="found")
        for name in ("alpha", "exponent", "inverse"):
            m.d.comb += getattr(self.read, name).eq(found[name])
        return m
