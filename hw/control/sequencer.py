"""The control of a run: wiring of the loop over tokens and the executor of commands."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.command import attend_command, descriptor
from hw.attention.rope_rows import rope_load
from hw.contract.config import AccelConfig
from hw.contract.isa import HEADER
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import beat, gather_request, write_beat, write_request
from hw.contract.register_map import ErrorCode
from hw.control.executor import Executor
from hw.control.interfaces import vector_control
from hw.control.registers import job_signature
from hw.control.token_loop import TokenLoop
from hw.logits.interfaces import best_row, head_scale, lm_head_command, logits_row
from hw.memory.read_engine import stream_command
from hw.memory.row_address import RowAddress

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Controls a run: it selects what a pass computes, and starts the units.

        start, job --> TokenLoop ---- feed ----> Executor --> commands of the units
                         |    |                   ^    |
                o_stream <    > o_prompt   i_header    > o_row
               (prefetch)

    `TokenLoop` selects the tokens of a pass and the regions of memory that are read. `Executor` executes the commands
    of these regions.

    Members:
        start, job: from the registers.
        busy, done, error, token_count, last_token: for the registers.
        in_pass: a pass is under way, for the counters.
        i_header: headers of the packet reader.
        o_stream: the regions to read.
        columns, descriptors: the columns of the pass, with slot and position of each.
        factors: factor of the last MATMUL of each column, for attention.
        vector: commands and reports of the vector path.
        o_rope: load a RoPE row.
        o_attend, attend_done: start and end of attention.
        o_lm_head: start of the LM head.
        head_scale, head_scale_en: the scale of a column's activations, before the start.
        i_best: the best row of each column.
        o_logits, logits_idle: where the logits of a column go; all logits are written.
        o_prompt, i_prompt: reads of prompt tokens.
        o_row, row_last: reads of table rows, and the last beat of one.
        rope_row: the table row under way is one of the RoPE table.
        o_request, o_write, write_idle: writes of chosen tokens.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "job": In(job_signature(config)),
            "busy": Out(1), "done": Out(1), "error": Out(ErrorCode), "token_count": Out(32), "last_token": Out(32),
            "in_pass": Out(1),
            "i_header": In(stream.Signature(HEADER)),
            "o_stream": Out(stream.Signature(stream_command(config))),
            "columns": Out(range(config.columns + 1)),
            "descriptors": Out(data.ArrayLayout(descriptor(config), config.columns)),
            "factors": Out(data.ArrayLayout(FLOAT_BITS, config.columns)),
            "vector": Out(vector_control(config)),
            "o_rope": Out(stream.Signature(rope_load(config))),
            "o_attend": Out(stream.Signature(attend_command(config))), "attend_done": In(1),
            "o_lm_head": Out(stream.Signature(lm_head_command(config))),
            "head_scale": Out(head_scale(config)), "head_scale_en": Out(1),
            "i_best": In(stream.Signature(best_row(config), always_ready=True)),
            "o_logits": Out(stream.Signature(logits_row(config), always_ready=True)), "logits_idle": In(1),
            "o_prompt": Out(stream.Signature(gather_request(config))),
            "i_prompt": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "o_row": Out(stream.Signature(gather_request(config))), "row_last": In(1), "rope_row": Out(1),
            "o_request": Out(stream.Signature(write_request(config))),
            "o_write": Out(stream.Signature(write_beat(config))), "write_idle": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.loop = loop = TokenLoop(self.config)
        m.submodules.executor = executor = Executor(self.config)
        m.submodules.row_address = row_address = RowAddress(self.config)
        wiring.connect(m, wiring.flipped(self.job), loop.job, executor.job)
        wiring.connect(m, loop.feed, executor.feed)
        wiring.connect(m, wiring.flipped(self.i_header), executor.i_header)
        wiring.connect(m, executor.o_row, row_address.i)
        wiring.connect(m, row_address.o, executor.i_address)
        for inner, outer in (
            (executor.vector, self.vector), (executor.o_rope, self.o_rope), (executor.o_attend, self.o_attend),
            (executor.o_lm_head, self.o_lm_head), (executor.o_gather, self.o_row), (loop.o_stream, self.o_stream),
            (loop.o_logits, self.o_logits), (loop.o_gather, self.o_prompt), (loop.o_request, self.o_request),
            (loop.o_write, self.o_write),
        ):
            wiring.connect(m, inner, wiring.flipped(outer))
        wiring.connect(m, wiring.flipped(self.i_prompt), loop.i_gather)
        wiring.connect(m, wiring.flipped(self.i_best), loop.i_best)
        m.d.comb += [
            self.columns.eq(loop.feed.columns),
            self.descriptors.eq(loop.feed.descriptors),
            self.factors.eq(executor.factors),
            self.rope_row.eq(executor.rope_gather),
            executor.gather_last.eq(self.row_last),
            executor.attend_done.eq(self.attend_done),
            executor.bests_done.eq(
                self.i_best.valid & (self.i_best.payload.column == loop.feed.head_columns - 1)),
            self.head_scale.eq(executor.head_scale),
            self.head_scale_en.eq(executor.head_scale_en),
            loop.start.eq(self.start),
            loop.write_idle.eq(self.write_idle),
            loop.logits_idle.eq(self.logits_idle),
            *(getattr(self, name).eq(getattr(loop, name))
              for name in ("busy", "done", "error", "token_count", "last_token", "in_pass")),
        ]
        return m
