"""The LM head: logits of the columns of a group over the vocabulary, the best of each, and their way to memory.
This file wires."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.high_plane import GUARD_BITS
from hw.contract.payloads import gather_request, stream_beat, write_beat, write_request
from hw.dot.clients import head_dots
from hw.dot.interfaces import HeadRows, activation_word
from hw.logits.argmax import Argmax
from hw.logits.interfaces import best_row, head_scale, lm_head_command, logits_row
from hw.logits.logit_reader import LogitReader
from hw.logits.logits_writer import LogitsWriter
from hw.logits.row_blocks import RowBlocks
from hw.logits.shortlist import Shortlist
from hw.logits.split_head import SplitHead
from hw.streams import fork, select

__all__ = ["LmHead"]


class LmHead(wiring.Component):
    """Section 7 of docs/numerics.md for the columns of a group, and the choice of their tokens.

        i_command -> RowBlocks -> dots <- i_beats
                         | blocks   | sums, scales
                         +-> LogitReader
                                  | logits
                             +----+------+
                           Argmax   LogitsWriter (with `keep`), or Shortlist (with `listing`)
                             |           |
                           o_best   o_request, o_write

    Each beat of the packet meets the activations of all columns of the group, which are in the operand memory of the
    dot products.

    With `AccelConfig.candidates`, SplitHead stands between the command and RowBlocks, and behind Argmax. For the packet
    of a high plane it takes the logits, which are bounds, and then gives rows of its own to dots and LogitReader.

    Rules: the activations and scales are written before the command, and with `keep` the rows of memory are announced.

    Cost: one beat per clock if a block of 64 rows has more beats than 64 * columns + `BlockDots.done_latency` + 3
    (`RowBlocks`). The last logit comes `BlockDots.done_latency` + `LogitReader.LATENCY` clocks and one for each row
    and column of the last block after the last beat, and the best row of the last column a clock later.

    Members:
        active: a command may be under way; the dot products belong to the LM head.
        i_command: lm_head_command.
        scale, scale_en: the scale of the activations of a column.
        i_beats: the payload of the packet.
        dots: the dot products.
        o_best: the best row of each column, the last column last.
        keep: logits are written to memory too.
        listing: only their shortlists are; on a machine that makes them.
        i_row: the row of memory that those of a column are written to.
        o_request, o_write: the writes.
        idle: no row is under way to memory.
        high: the packet is that of the high plane; this and what follows on a machine with a split head.
        guard, base, clear_counts, i_activations, rows_listed, rows_rescored, heads_repeated: of `SplitHead`.
        o_read, i_rows: reads of single rows on all ports, and their beats.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "active": In(1),
            "i_command": In(stream.Signature(lm_head_command(config))),
            "scale": In(head_scale(config)), "scale_en": In(1),
            "i_beats": In(stream.Signature(stream_beat(config))),
            "dots": Out(head_dots(config)),
            "o_best": Out(stream.Signature(best_row(config), always_ready=True)),
            "keep": In(1), **({"listing": In(1)} if config.shortlist else {}),
            "i_row": In(stream.Signature(logits_row(config), always_ready=True)),
            "o_request": Out(stream.Signature(write_request(config))),
            "o_write": Out(stream.Signature(write_beat(config))),
            "idle": Out(1),
            **(self._split_members() if config.candidates else {}),
        })

    def _split_members(self) -> dict[str, Any]:
        config = self.config
        return {
            "high": In(1), "guard": In(GUARD_BITS), "base": In(config.address_bits), "clear_counts": In(1),
            "i_activations": In(stream.Signature(activation_word(config), always_ready=True)),
            "o_read": Out(stream.Signature(gather_request(config))),
            "i_rows": In(stream.Signature(stream_beat(config))),
            "rows_listed": Out(32), "rows_rescored": Out(32), "heads_repeated": Out(32),
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.blocks = blocks = RowBlocks(self.config)
        m.submodules.reader = reader = LogitReader(self.config)
        m.submodules.argmax = argmax = Argmax(self.config)
        m.submodules.writer = writer = LogitsWriter(self.config)
        flipped, connect, dots = wiring.flipped, wiring.connect, self.dots
        if not self.config.candidates:
            connect(m, flipped(self.i_command), blocks.i)
            connect(m, blocks.o_item, flipped(dots.item))
            connect(m, flipped(self.i_beats), flipped(dots.beats))
            connect(m, blocks.o_block, reader.i)
        connect(m, reader.sums, flipped(dots.sums))
        connect(m, reader.scales, flipped(dots.scales))
        if self.config.shortlist:
            m.submodules.shortlist = shortlist = Shortlist(self.config)
            m.d.comb += shortlist.command.eq(blocks.command)
            takers = [(self.keep & ~self.listing, writer.i), (self.listing, shortlist.i)]
            idle = writer.idle & shortlist.idle
            self._to_memory(m, platform, writer, shortlist)
        else:
            takers, idle = [(self.keep, writer.i)], writer.idle
            connect(m, flipped(self.i_row), writer.i_row)
            connect(m, writer.o_request, flipped(self.o_request))
            connect(m, writer.o, flipped(self.o_write))
        if self.config.candidates:
            choosing, others = self._split(m, platform, blocks, reader, argmax)
            takers = [(choosing, argmax.i), *takers, others]
        else:
            connect(m, argmax.o, flipped(self.o_best))
            takers = [(1, argmax.i), *takers]
        fork(m, reader.o, takers)
        m.d.comb += [
            dots.active.eq(self.active),
            dots.row_beats.eq(blocks.command.row_beats),
            blocks.done.eq(dots.done),
            blocks.read.eq(reader.read),
            reader.command.eq(blocks.command),
            reader.scale.eq(self.scale),
            reader.scale_en.eq(self.scale_en),
            writer.columns.eq(blocks.command.columns),
            self.idle.eq(idle),
        ]
        if self.config.candidates:
            with m.If(self.dots.rows == HeadRows.RESCORED):  # no blocks of the command before, nor its two bounds
                m.d.comb += [blocks.done.valid.eq(0), blocks.read.eq(0), reader.command.columns.eq(1)]
        return m

    def _split(
        self, m: Module, platform: object, blocks: RowBlocks, reader: LogitReader, argmax: Argmax,
    ) -> tuple[Value, tuple[Value, Any]]:
        """Connects the split head. Returns whether logits go to the choice of the best, and the taker of the others."""
        m.submodules.split = split = SplitHead(self.config)
        connect, flipped, dots = wiring.connect, wiring.flipped, self.dots
        rescored = split.rows == HeadRows.RESCORED
        connect(m, flipped(self.i_command), split.i_command)
        connect(m, split.o_command, blocks.i)
        connect(m, split.o_request, flipped(self.o_read))
        connect(m, argmax.o, split.i_best)
        connect(m, split.o_best, flipped(self.o_best))
        for one, other, sink in (
            (blocks.o_item, split.o_item, flipped(dots.item)), (blocks.o_block, split.o_block, reader.i),
            (flipped(self.i_beats), flipped(self.i_rows), flipped(dots.beats)),
        ):
            select(m, platform, [(~rescored, one), (rescored, other)], sink)
        m.d.comb += [
            split.done.valid.eq(dots.done.valid & rescored),
            split.done.bank.eq(dots.done.bank),
            split.read.eq(reader.read & rescored),
            *(getattr(split, name).eq(getattr(self, name)) for name in ("high", "guard", "base", "clear_counts")),
            *(getattr(self, name).eq(getattr(split, name))
              for name in ("rows_listed", "rows_rescored", "heads_repeated")),
            split.i_activations.payload.eq(self.i_activations.payload),
            split.i_activations.valid.eq(self.i_activations.valid),
            split.codes_end.eq(self.scale_en),
            split.word.eq(reader.o.payload),
            split.word_en.eq(reader.o.valid & reader.o.ready & rescored),
            dots.rows.eq(split.rows),
            reader.rows.eq(split.rows),
            reader.reach.eq(split.reach),
        ]
        choosing = (split.rows == HeadRows.INT8) | rescored
        return choosing, (~choosing, split.i_word)

    def _to_memory(self, m: Module, platform: object, writer: LogitsWriter, shortlist: Shortlist) -> None:
        """Memory gets the logits or their shortlists."""
        listing, row = self.listing, self.i_row
        for taker, wanted in ((writer, ~listing), (shortlist, listing)):
            m.d.comb += [taker.i_row.payload.eq(row.payload), taker.i_row.valid.eq(row.valid & wanted)]
        for sink, source, other in (
            (self.o_request, writer.o_request, shortlist.o_request), (self.o_write, writer.o, shortlist.o),
        ):
            select(m, platform, [(~listing, source), (listing, other)], wiring.flipped(sink))
