"""This file turns the score sums of one block of positions after the other into weights: the online softmax."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.interfaces import query_scale, record_read, softmax_job
from hw.attention.softmax_lane import KINDS, SETS_IN_FLIGHT, SoftmaxLane, lane_item
from hw.attention.softmax_totals import SoftmaxTotals
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.delay import delayed
from hw.dot.interfaces import POSITION_BITS, softmax_sets, weight_word
from hw.dot.read_ports import READ_LATENCY, scales_read, score_sums_read
from hw.float.compare import magnitude
from hw.float.rounding import exponent_field
from hw.watch import watch

__all__ = ["BlockSoftmax"]

_KEPT = 2
"""Sets whose scores have a place in the memories between the pipelines."""


def _set_facts(config: AccelConfig) -> data.StructLayout:
    """A set of a block; `end` marks the last one of the block."""
    return data.StructLayout({
        "bank": unsigned(1), "record": unsigned(2), "scale_bank": unsigned(2), "set": range(softmax_sets(config)),
        "first": 1, "last": 1, "end": 1, "last_place": unsigned(POSITION_BITS),
        "valid": data.ArrayLayout(range(BLOCK_POSITIONS + 1), config.softmax_lanes),
    })


class BlockSoftmax(wiring.Component):
    """Online softmax of section 5 of docs/numerics.md for blocks of up to 64 positions and D query rows.

    L lanes take the L rows of a set through the same steps, an item per clock. A first pipeline makes the scores of a
    set and its maximum; a second one subtracts the scores from the maximum, and makes the weights, then alpha, then the
    sum of the powers. While it does so, the first one makes the scores of the next set, of the next block too. Nothing
    stalls; what the items of a stage belong to is counted there anew, and the facts of the sets in flight are in
    registers.

    Rules: the score sums and the scales of a block are complete when its job is offered, and stay until `weights_done`.
    The record of a block stays until the fourth block after it.

    Cycles: max(`items` + 2, 18 + 4 L) clocks per set, but 18 + 25 L at least in a last block, because a set waits with
    its alpha for the totals of the set before it. The first weight comes `items` + `LATENCY` clocks after a job was
    taken, `record_done` 4 L clocks after `weights_done`, 25 L in a last block.

    Members:
        i: jobs, in the order of the blocks; taken when the scores of the job before have been read.
        i_scale: scales of query rows, for four passes.
        sums: read port of the score sums.
        scales: read port of the scales of keys and values.
        o_weights: weights of a set, position after position.
        weights_done: pulse, the last weight of a block has been given.
        record_done: pulse, the record of a block is complete; in the order of the blocks.
        record: read port of the records.
    """

    LATENCY = READ_LATENCY + SoftmaxLane.SCORED + 1 + SoftmaxLane.WEIGHT

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(softmax_job(config))),
            "i_scale": In(stream.Signature(query_scale(config), always_ready=True)),
            "sums": Out(score_sums_read(config)),
            "scales": Out(scales_read(config)),
            "o_weights": Out(stream.Signature(weight_word(config), always_ready=True)),
            "weights_done": Out(1),
            "record_done": Out(1),
            "record": In(record_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes = [SoftmaxLane(config) for _ in range(config.softmax_lanes)]
        for n, lane in enumerate(lanes):
            m.submodules[f"lane_{n}"] = lane
        m.submodules.totals = totals = SoftmaxTotals(config)
        sets = Array(Signal(_set_facts(config), name=f"set_{n}") for n in range(SETS_IN_FLIGHT))

        read, issued = Signal(KINDS), Signal(KINDS)
        arriving = delayed(m, read, READ_LATENCY, name="arriving")
        scored = delayed(m, arriving, SoftmaxLane.SCORED, name="scored")
        powered = delayed(m, issued, SoftmaxLane.POWERED, name="powered")
        weighed = delayed(m, powered, SoftmaxLane.WEIGHED - SoftmaxLane.POWERED, name="weighed")
        stages: dict[str, tuple[Any, Any]] = {}
        for name, kinds, over in (
            ("arriving", arriving, arriving.last), ("scored", scored, scored.last), ("issued", issued, issued.total),
            ("powered", powered, powered.total), ("weighed", weighed, weighed.total),
        ):
            stages[name] = item, facts = self._stage(m, sets, name, kinds, over)
            for n, lane in enumerate(lanes):
                at = getattr(lane, name)
                m.d.comb += [at.eq(item), at.valid.eq(item.place < facts.valid[n])]

        self._read_scores(m, platform, sets, read, freed=powered.position & (stages["powered"][0].place == 0))
        self._issue_weights(m, issued, *stages["issued"], scored=stages["scored"][0].number, done=totals.done)
        self._scales(m, lanes, *stages["arriving"], powered=stages["powered"][0])
        self._give(m, lanes, *stages["weighed"])
        self._add_totals(m, lanes, totals, *stages["weighed"])
        return m

    def _stage(self, m: Module, sets: Any, name: str, kinds: Any, over: Any) -> tuple[Any, Any]:
        """The item at a stage, and the facts of its set: positions go by in order, and a set is over with `over`."""
        item = Signal(lane_item(self.config), name=name)
        place = Signal(POSITION_BITS, name=f"{name}_place")
        number = Signal(range(SETS_IN_FLIGHT), name=f"{name}_number")
        facts = Signal(_set_facts(self.config), name=f"{name}_facts")
        with m.If(kinds.position):
            m.d.sync += place.eq(place + 1)
        with m.If(over):
            m.d.sync += [place.eq(0), number.eq(number + 1)]
        m.d.comb += [
            facts.eq(sets[number]),
            item.kinds.eq(kinds),
            item.place.eq(place),
            item.number.eq(number),
            item.set.eq(facts.set),
            item.first.eq(facts.first),
        ]
        return item, facts

    def _read_scores(self, m: Module, platform: object, sets: Any, read: Any, freed: Any) -> None:
        """Positions of one set after the other, while there is room for the scores of two. The first power of a set
        frees its place: what is read behind it never comes up to it."""
        lanes, parts = self.config.softmax_lanes, softmax_sets(self.config)
        facts = Signal(_set_facts(self.config))
        job, active = Signal(softmax_job(self.config)), Signal()
        place, number, part = Signal(POSITION_BITS), Signal(range(SETS_IN_FLIGHT)), Signal(range(parts))
        kept, opened = Signal(range(_KEPT + 1)), Signal()
        end, over = Signal(), Signal()
        m.d.comb += [
            read.position.eq(active & ((place != 0) | (kept != _KEPT))),
            read.last.eq(read.position & (place == job.items - 1)),
            opened.eq(read.position & (place == 0)),
            end.eq(part == job.sets - 1),
            over.eq(read.last & end),
            self.i.ready.eq(~active | over),
            self.sums.bank.eq(job.bank),
            self.sums.position.eq(place),
            self.sums.set.eq(part),
            self.scales.bank.eq(job.bank),
            self.scales.position.eq(place),
            facts.set.eq(part),
            facts.end.eq(end),
            facts.last_place.eq(job.items - 1),
        ]
        for name in ("bank", "record", "scale_bank", "first", "last"):
            m.d.comb += facts[name].eq(job[name])
        for n in range(lanes):
            rows = range(n, parts * lanes, lanes)
            valid = [job.valid[row] if row < self.config.query_rows else Const(0) for row in rows]
            m.d.comb += facts.valid[n].eq(Array(valid)[part])
        m.d.sync += kept.eq(kept + opened - freed)
        with m.If(opened):
            m.d.sync += sets[number].eq(facts)
        with m.If(read.position):
            watch(m, platform, place < job.items, "position {} of {} is read", place, job.items)
            m.d.sync += place.eq(place + 1)
        with m.If(read.last):
            m.d.sync += [place.eq(0), number.eq(number + 1), part.eq(part + 1)]
        with m.If(self.i.ready):
            m.d.sync += [active.eq(self.i.valid), part.eq(0), job.eq(self.i.payload)]

    def _issue_weights(self, m: Module, issued: Any, item: Any, facts: Any, scored: Any, done: Any) -> None:
        """Positions, alpha and sum of a set that is scored. What is kept for the totals changes from alpha on."""
        adding = Signal()
        with m.If(done):
            m.d.sync += adding.eq(0)
        with m.FSM():
            with m.State("positions"), m.If(item.number != scored):
                m.d.comb += issued.position.eq(1)
                with m.If(item.place == facts.last_place):
                    m.d.comb += issued.last.eq(1)
                    m.next = "alpha"
            with m.State("alpha"), m.If(~adding):
                m.d.comb += issued.alpha.eq(1)
                m.next = "total"
            with m.State("total"):
                m.d.comb += issued.total.eq(1)
                m.d.sync += adding.eq(1)
                m.next = "positions"

    def _scales(self, m: Module, lanes: list[SoftmaxLane], arriving: Any, facts: Any, powered: Any) -> None:
        """Scales of queries, keys and values to the lanes; those of values wait in a memory as the scores do."""
        m.submodules.value_scales = value_scales = memory.Memory(
            shape=FLOAT_BITS - 1, depth=_KEPT * BLOCK_POSITIONS, init=[])
        write, read = value_scales.write_port(), value_scales.read_port()
        # It is read for the clock in which it is multiplied.
        address = delayed(m, Cat(powered.place, powered.number[0]),
                          SoftmaxLane.MULTIPLIED - SoftmaxLane.POWERED - 1, name="multiplied")
        m.d.comb += [
            write.addr.eq(Cat(arriving.place, arriving.number[0])),
            write.data.eq(magnitude(self.scales.value)),
            write.en.eq(arriving.kinds.position),
            read.addr.eq(address),
        ]
        scale = self.i_scale.payload
        for n, lane in enumerate(lanes):
            m.d.comb += [
                lane.sum.eq(self.sums.sums[n]),
                lane.key_scale.eq(self.scales.key),
                lane.value_exponent.eq(exponent_field(self.scales.value)),
                lane.scale_bank.eq(facts.scale_bank),
                lane.value_scale.eq(read.data),
                lane.scale_write.bank.eq(scale.bank),
                lane.scale_write.scale.eq(scale.scale),
            ]
            for part, row in enumerate(range(n, self.config.query_rows, len(lanes))):
                with m.If(scale.row == row):
                    m.d.comb += [lane.scale_write.here.eq(self.i_scale.valid), lane.scale_write.set.eq(part)]

    def _give(self, m: Module, lanes: list[SoftmaxLane], weighed: Any, facts: Any) -> None:
        """Weights to the operand memory."""
        word = self.o_weights.payload
        clocks = SoftmaxLane.WEIGHT - SoftmaxLane.WEIGHED
        beside = delayed(m, Cat(weighed.kinds.position, facts.bank, weighed.place, weighed.set), clocks, name="coded")
        m.d.comb += Cat(self.o_weights.valid, word.bank, word.position, word.set).eq(beside)
        m.d.comb += self.weights_done.eq(
            delayed(m, weighed.kinds.last & facts.end, clocks + 1, name="weights_done"))
        for n, lane in enumerate(lanes):
            m.d.comb += word.codes[n].eq(lane.weight)

    def _add_totals(
        self, m: Module, lanes: list[SoftmaxLane], totals: SoftmaxTotals, weighed: Any, facts: Any
    ) -> None:
        """What the lanes have kept of a set, one clock after its sum was weighed, to the totals."""
        m.d.comb += [totals.start.eq(weighed.kinds.total), self.record_done.eq(totals.record_done)]
        for name in ("set", "record", "last", "end"):
            m.d.comb += totals.job[name].eq(facts[name])
        for n, lane in enumerate(lanes):
            m.d.comb += [totals.lanes[n].eq(lane.result), lane.total.eq(totals.total[n])]
        wiring.connect(m, wiring.flipped(self.record), totals.read)
