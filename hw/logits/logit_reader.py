"""Logits from the sums of the dot products: row by row of the LM head, and of each row column by column."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.high_plane import largest_reach
from hw.contract.machine_float import FLOAT_BITS
from hw.delay import delayed
from hw.dot.interfaces import ACTIVATION_BITS, POSITION_BITS, HeadRows, key_sum_bits
from hw.dot.read_ports import READ_LATENCY, scales_read, score_sums_read
from hw.dot.scaled_sum import ScaledSum
from hw.logits.bounded_sum import BoundedSum, bounded_sum_bits
from hw.logits.interfaces import head_block, head_scale, lm_head_command, logit_word
from hw.streams import Queue
from hw.watch import watch_fifo, watch_range

__all__ = ["LogitReader"]


class LogitReader(wiring.Component):
    """Section 7 of docs/numerics.md: logit = F(sum) * (hs * row scale), one per clock.

    With a split head (section 7.2), a row of the high plane has two logits, its bounds (`BoundedSum`), and a rescored
    row brings its scale.

    Latency: `LATENCY` clocks from a block to its first logit, `BoundedSum.LATENCY` more on a machine with a split head.
    Throughput: one logit per clock; a block takes a clock for each row and column, also from block to block. The
    pipeline does not stop: a logit that is not accepted waits in a queue, which has a place for every logit under way.

    Members:
        command: of `RowBlocks`; steady.
        scale, scale_en: the scale of a column of the group; written before the command.
        rows: HeadRows, with a split head; steady while there are blocks and logits.
        reach: how far a sum of the high plane may be from that of the int8 codes; likewise.
        i: head_block.
        read: a pulse, all sums of the block have been addressed.
        sums, scales: read ports of the dot products (`head_dots`).
        o: logit_word; rows in their order, columns in theirs.
    """

    _PIPELINE = READ_LATENCY + ScaledSum.LATENCY
    LATENCY = 1 + _PIPELINE + 1

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "command": In(lm_head_command(config)),
            "scale": In(head_scale(config)), "scale_en": In(1),
            **({"rows": In(HeadRows), "reach": In(range(largest_reach(config) + 1))} if config.candidates else {}),
            "i": In(stream.Signature(head_block(config))),
            "read": Out(1),
            "sums": Out(score_sums_read(config)),
            "scales": Out(scales_read(config)),
            "o": Out(stream.Signature(logit_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, out = self.config, self.o.payload
        block, active = Signal(head_block(config)), Signal()
        place, column, row = Signal(POSITION_BITS), Signal(out.column.shape()), Signal(out.row.shape())
        go, row_end, end = Signal(), Signal(), Signal()
        bounding = BoundedSum.LATENCY if config.candidates else 0
        m.submodules.queue = queue = Queue(logit_word(config), self._PIPELINE + bounding + 3)
        under_way = Signal(range(queue.depth + 1))
        leaving = self.o.valid & self.o.ready
        m.d.comb += [
            go.eq(active & (under_way != queue.depth)),
            row_end.eq(column == self.command.columns - 1),
            end.eq(go & row_end & (place == block.rows - 1)),
            self.read.eq(end),
            self.i.ready.eq(~active | end),
        ]
        m.d.sync += under_way.eq(under_way + go - leaving)
        with m.If(go):
            m.d.sync += column.eq(Mux(row_end, 0, column + 1))
            with m.If(row_end):
                m.d.sync += [place.eq(place + 1), row.eq(row + 1)]
        with m.If(end):
            m.d.sync += active.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [block.eq(self.i.payload), active.eq(1), place.eq(0)]
            with m.If(self.i.payload.first):
                m.d.sync += row.eq(0)

        mark = Signal(data.StructLayout({
            "valid": 1, "word": logit_word(config), "odd": 1, **({"upper": FLOAT_BITS} if config.candidates else {}),
        }))
        m.d.comb += [
            mark.valid.eq(go),
            mark.word.column.eq(column),
            mark.word.row.eq(row),
            mark.word.padding.eq(row >= self.command.m),
            mark.word.last.eq(block.last & (place == block.rows - 1)),
        ]
        position, of = place, column
        if config.candidates:
            position, of = self._split(m, mark, block, place)
        self._read(m, position, of, mark.odd, block.bank)
        arriving = delayed(m, mark, READ_LATENCY, name="arriving")
        logit, total = self._scaled(m, arriving.word.column, arriving.odd)
        watch_range(m, platform, Mux(arriving.valid & ~arriving.word.padding, total, 0),
                    (2 ** (ACTIVATION_BITS - 1) - 1) * 127 * config.max_hidden, "the sum of a logit")
        if config.candidates:
            arriving = self._bounded(m, platform, arriving, total)
        done = delayed(m, arriving, ScaledSum.LATENCY, name="done")
        m.d.comb += [
            queue.i.valid.eq(done.valid),
            queue.i.payload.eq(done.word),
            queue.i.payload.logit.eq(Mux(done.word.padding, 0, logit)),
        ]
        watch_fifo(m, platform, queue.i, "the queue of logits")
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        return m

    def _read(self, m: Module, place: Value, column: Value, odd: Signal, bank: Signal) -> None:
        """Addresses of a sum and its scale: a row on a port is a key, and two of them have the place of two scales."""
        config, lanes = self.config, self.config.softmax_lanes
        port_bits = exact_log2(config.ports)
        port, on_port = place[:port_bits], place[port_bits:]
        sets = Array(n // lanes for n in range(config.query_rows))
        layout, rows = HeadLayout.longest(config), exact_log2(config.kv_pairs)
        assert layout.block_groups * layout.group_rows == BLOCK_POSITIONS
        m.d.comb += [
            self.sums.bank.eq(bank),
            self.sums.position.eq(place),
            self.sums.set.eq(sets[column]),
            self.scales.bank.eq(bank),
            self.scales.position.eq(Cat(port, on_port[1 : 1 + rows], on_port[1 + rows :])),
            odd.eq(on_port[0]),
        ]

    def _scaled(self, m: Module, column: Signal, odd: Signal) -> tuple[Signal, Signal]:
        """The logit of what arrives, a while later, and its sum."""
        config, lanes = self.config, self.config.softmax_lanes
        m.submodules.hs = hs = memory.Memory(shape=FLOAT_BITS, depth=config.query_rows, init=[])
        write, read = hs.write_port(), hs.read_port(domain="comb")
        m.submodules.scaled = scaled = self._product = ScaledSum(
            bounded_sum_bits(config) if config.candidates else key_sum_bits(config))
        # a split head has one column
        row = Mux(self.rows == HeadRows.INT8, column, 0) if config.candidates else column
        lane = Array(n % lanes for n in range(config.query_rows))[row]
        chosen = Signal(signed(key_sum_bits(config)))
        m.d.comb += [
            write.addr.eq(self.scale.column), write.data.eq(self.scale.hs), write.en.eq(self.scale_en),
            read.addr.eq(row),
            chosen.eq(Array(self.sums.sums)[lane]),
            scaled.i.eq(chosen),
            scaled.a.eq(read.data),
            scaled.b.eq(Mux(odd, self.scales.value, self.scales.key)),
        ]
        self._hs = read.data
        return scaled.o, chosen

    # ---- the split head
    def _split(self, m: Module, mark: Signal, block: Signal, place: Signal) -> tuple[Value, Value]:
        """The place and the column of the sum that a logit comes from. Marks the logit of a rescored row."""
        listed, word = block.candidate, mark.word
        rescored = self.rows == HeadRows.RESCORED
        m.d.comb += word.first.eq(word.row == 0)
        with m.If(rescored):
            m.d.comb += [word.row.eq(listed.row), word.padding.eq(0), word.first.eq(block.first),
                         word.beside.eq(listed.scale), mark.upper.eq(listed.upper)]
        port = listed.row[: exact_log2(self.config.ports)]
        return Mux(rescored, port, place), Mux(self.rows == HeadRows.INT8, word.column, 0)

    def _bounded(self, m: Module, platform: object, arriving: Signal, total: Signal) -> Signal:
        """Gives the sums of the high plane their bounds, and logits what is beside them; the rest waits as long."""
        m.submodules.bounds = bounds = BoundedSum(self.config)
        product, rescored = self._product, self.rows == HeadRows.RESCORED
        scale = Mux(rescored, arriving.word.beside, Mux(arriving.odd, self.scales.value, self.scales.key))
        beside = Signal.like(arriving, name="beside")
        m.d.comb += [
            beside.eq(arriving),
            beside.word.beside.eq(Mux(rescored, arriving.upper, scale)),
            bounds.i.eq(total),
            bounds.upper.eq(arriving.word.column[0]),
            bounds.rows.eq(self.rows),
            bounds.dither_en.eq(arriving.valid & arriving.word.first),
            bounds.reach.eq(self.reach),
            product.i.eq(bounds.o),
            product.a.eq(delayed(m, self._hs, BoundedSum.LATENCY, name="hs")),
            product.b.eq(delayed(m, scale, BoundedSum.LATENCY, name="scale")),
        ]
        return delayed(m, beside, BoundedSum.LATENCY, name="bounded")
