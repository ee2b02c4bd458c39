"""The loop over tokens, in fabric: a prompt in chunks, then token after token of one sequence or of several."""

from __future__ import annotations

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.attention_control import descriptor
from hw.contract.config import AccelConfig
from hw.contract.payloads import BATCH_ENTRY, beat, gather_request, write_beat, write_request
from hw.contract.register_map import ErrorCode, LogitsMode
from hw.control.executor import TOKEN_BITS
from hw.logits.argmax import best_row
from hw.logits.logits_writer import logits_row
from hw.memory.read_engine import stream_command
from hw.watch import watch, watch_stream

__all__ = ["TokenLoop"]

TOKEN_BYTES = 4
ENTRY_WORDS = 3
"""Words of a BATCH_ENTRY that say something."""


class TokenLoop(wiring.Component):
    """Runs a job (docs/registers.md): fetches the prompt, starts a pass per chunk, writes tokens, decides the end.

    Rules: a token is fed only if another may follow. Generation ends with an end id, with `max_new_tokens`, or when no
    position is left. With logits mode ALL every column passes the head, otherwise only the one that chooses a token.
    A token counts when its write has been answered, so memory up to `token_count` can be read.

    With `batch` the prompt holds a `BATCH_ENTRY` per sequence. Column n is sequence n; all of them choose a token in
    every pass, and the first one that has to end ends the run for all, at the end of the pass. `max_new_tokens` counts
    passes. Several sequences differ from one only in what a chosen token is fed to: its own column, not column 0.

    Cost between passes: about 20 clocks and a memory latency per 32-bit word of the prompt (three per entry of a
    batch), a few clocks per chosen token and the latency of their writes once.

    Members:
        start and the registers of a job; busy, done, error (BAD_PARAMETER, CONTEXT_FULL, BAD_TOKEN); token_count,
            last_token.
        columns, tokens, descriptors, head_column: to the executor. ended, head_done, i_best: from it.
        o_stream: the regions to prefetch. o_gather, i_gather: prompt tokens. o_request, o_write, write_idle: tokens.
        o_logits: a row of logits to write; logits_idle.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        address = config.address_bits
        super().__init__({
            "start": In(1),
            "image_base": In(address), "prompt_address": In(address), "logits_address": In(address),
            "tokens_address": In(address),
            "stream_offset": In(32), "stream_beats": In(32), "head_offset": In(32), "head_beats": In(32),
            "logits_beats": In(24),
            "batch": In(1),
            "prompt_length": In(32), "start_position": In(32), "slot": In(16), "chunk": In(7),
            "max_new_tokens": In(32), "context": In(32), "vocabulary": In(32),
            "end_count": In(3), "logits_mode": In(2),
            "end_ids": In(data.ArrayLayout(unsigned(32), 4)),
            "busy": Out(1), "done": Out(1), "error": Out(ErrorCode),
            "token_count": Out(32), "last_token": Out(32),
            "columns": Out(range(config.columns + 1)),
            "tokens": Out(data.ArrayLayout(unsigned(TOKEN_BITS), config.columns)),
            "descriptors": Out(data.ArrayLayout(descriptor(config), config.columns)),
            "head_column": Out(config.column_bits),
            "ended": In(1), "head_done": In(1), "i_best": In(best_row(config)),
            "o_stream": Out(stream.Signature(stream_command(config))),
            "o_gather": Out(stream.Signature(gather_request(config))),
            "i_gather": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o_write": Out(stream.Signature(write_beat(config))),
            "write_idle": In(1),
            "o_logits": Out(stream.Signature(logits_row(config))),
            "logits_idle": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_stream", "o_gather", "o_request", "o_write", "o_logits"):
            watch_stream(m, platform, getattr(self, name), name)
        config = self.config
        beat_shift = config.beat_bytes.bit_length() - 1
        words = config.beat_bytes // TOKEN_BYTES
        left = Signal(32)  # prompt tokens or entries not fetched
        together = Signal(32)  # columns of a pass over the prompt
        # the prompt token or entry under way, word by word in the order of BATCH_ENTRY
        entry, field = Signal(BATCH_ENTRY), Signal(range(ENTRY_WORDS + 1))
        prompt_at, tokens_at, logits_at = (Signal(config.address_bits, name=n) for n in ("prompt", "made", "row"))
        wanted, chooses = Signal(), Signal()
        passes = Signal(range(config.columns + 1))  # head regions not yet asked for
        head = Signal(range(config.columns + 1))
        chooser, rounds, ending = Signal(range(config.columns + 1)), Signal(32), Signal()
        token, following, newest = Signal(TOKEN_BITS), Signal(range(config.max_positions + 1)), Signal(TOKEN_BITS)
        all_logits, is_end = Signal(), Signal()
        m.d.comb += [
            together.eq(Mux(self.batch, self.prompt_length, self.chunk)),
            all_logits.eq(self.logits_mode == LogitsMode.ALL.value),
            chooses.eq((left == 0) & (self.max_new_tokens != 0)),
            self.busy.eq(1),
            self.head_column.eq(head),
            # the token that a column chose, and the position where it is fed
            token.eq(self.tokens[chooser[: config.column_bits]]),
            following.eq(self.descriptors[chooser[: config.column_bits]].position + 1),
            is_end.eq(Cat(*((self.end_count > n) & (self.end_ids[n] == token) for n in range(4))).any()),
        ]

        watch(m, platform, self.columns <= config.columns, "{} columns are in use", self.columns)
        bad_slot = Signal()
        m.d.comb += bad_slot.eq(entry.slot >> len(self.descriptors[0].slot) != 0)

        def word_of(address: Signal):
            """The place of a 32-bit word inside its beat."""
            return address[2:beat_shift]

        def fails(code: ErrorCode) -> None:
            m.d.sync += self.error.eq(code)
            m.next = "DRAIN"  # logits of the chunk before may wait for their answer

        m.d.comb += [
            self.o_gather.payload.address.eq(prompt_at >> beat_shift << beat_shift),
            self.o_gather.payload.beats.eq(1),
            self.o_request.payload.address.eq(tokens_at >> beat_shift << beat_shift),
            self.o_request.payload.beats.eq(1),
            self.o_write.payload.data.as_value().eq(Cat(*([token, C(0, 32 - TOKEN_BITS)] * words))),
            self.o_write.payload.strobe.eq(0b1111 << (word_of(tokens_at) << 2)),
            self.o_logits.payload.address.eq(logits_at),
            self.o_logits.payload.beats.eq(self.logits_beats),
        ]
        fetched = Array(Cat(*self.i_gather.payload.data).word_select(n, 32) for n in range(words))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [self.done.eq(0), self.error.eq(ErrorCode.NONE)]
                    m.d.sync += [self.token_count.eq(0), self.last_token.eq(0), self.columns.eq(0), rounds.eq(0)]
                    m.d.sync += [entry.position.eq(self.start_position), entry.slot.eq(self.slot), field.eq(0)]
                    m.d.sync += [prompt_at.eq(self.prompt_address), tokens_at.eq(self.tokens_address)]
                    m.d.sync += [logits_at.eq(self.logits_address), left.eq(self.prompt_length)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "FETCH"
                with m.If((together == 0) | (together > config.columns) | (left == 0)
                          | (self.context > config.max_positions) | (self.logits_mode > LogitsMode.ALL.value)
                          | ((self.logits_mode != LogitsMode.NONE.value) & (self.logits_beats == 0))
                          | (~self.batch & bad_slot)):
                    fails(ErrorCode.BAD_PARAMETER)
                with m.Elif(~self.batch & (entry.position + left > self.context)):
                    fails(ErrorCode.CONTEXT_FULL)

            # the tokens of a pass over the prompt, or the entries of a batch
            with m.State("FETCH"):
                m.d.comb += self.o_gather.valid.eq(1)
                with m.If(self.o_gather.ready):
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.comb += self.i_gather.ready.eq(1)
                with m.If(self.i_gather.valid):
                    m.d.sync += entry.as_value().word_select(field, 32).eq(fetched[word_of(prompt_at)])
                    m.d.sync += [prompt_at.eq(prompt_at + TOKEN_BYTES), field.eq(field + 1)]
                    m.next = "FETCH"
                    with m.If(~self.batch | (field == ENTRY_WORDS - 1)):
                        m.next = "COLUMN"
            with m.State("COLUMN"):
                column = self.columns[: config.column_bits]
                m.d.sync += [
                    self.tokens[column].eq(entry.token),
                    self.descriptors[column].slot.eq(entry.slot),
                    self.descriptors[column].position.eq(entry.position),
                    self.columns.eq(self.columns + 1),
                    entry.position.eq(entry.position + 1),
                    field.eq(0),
                    left.eq(left - 1),
                ]
                with m.If(self.batch):
                    m.d.sync += prompt_at.eq(prompt_at + (BATCH_ENTRY.size // 8 - ENTRY_WORDS * TOKEN_BYTES))
                m.next = "FETCH"
                with m.If((left == 1) | (self.columns == together - 1)):
                    m.next = "PASS"
                with m.If(bad_slot):
                    fails(ErrorCode.BAD_PARAMETER)
                with m.Elif(entry.position >= self.context):
                    fails(ErrorCode.CONTEXT_FULL)
                with m.Elif(entry.token >= self.vocabulary):
                    fails(ErrorCode.BAD_TOKEN)

            # the pass
            with m.State("PASS"):
                m.d.comb += [
                    self.o_stream.payload.address.eq(self.image_base + self.stream_offset),
                    self.o_stream.payload.beats.eq(self.stream_beats),
                    self.o_stream.valid.eq(1),
                ]
                every = all_logits | self.batch
                m.d.sync += wanted.eq(all_logits | chooses)
                m.d.sync += passes.eq(Mux(all_logits | chooses, Mux(every, self.columns, 1), 0))
                m.d.sync += head.eq(Mux(every, 0, self.columns - 1))
                with m.If(self.o_stream.ready):
                    m.next = "LAYERS"
            with m.State("LAYERS"):
                with m.If(self.ended):
                    m.next = "NEXT"
                    with m.If(wanted):
                        m.next = "ROW"
            with m.State("ROW"):
                write = self.logits_mode != LogitsMode.NONE.value
                m.d.comb += self.o_logits.valid.eq(write)
                with m.If(self.o_logits.ready | ~write):
                    m.d.sync += logits_at.eq(logits_at + (self.logits_beats << beat_shift))
                    m.next = "HEAD"
            with m.State("HEAD"):
                with m.If(self.head_done):
                    m.d.sync += [self.tokens[self.head_column].eq(self.i_best.row), head.eq(head + 1)]
                    m.next = "LOGITS"
            with m.State("LOGITS"):
                with m.If(self.logits_idle):
                    m.next = "ROW"
                    with m.If(head == self.columns):
                        m.next = "NEXT"

            # what the pass gave
            with m.State("NEXT"):
                m.d.sync += [chooser.eq(Mux(self.batch, 0, self.columns - 1)), ending.eq(0)]
                m.next = "TOKEN"
                with m.If(left != 0):
                    m.d.sync += self.columns.eq(0)
                    m.next = "FETCH"
                with m.Elif(self.max_new_tokens == 0):
                    m.next = "DRAIN"
            with m.State("TOKEN"):
                m.d.comb += self.o_request.valid.eq(1)
                with m.If(self.o_request.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.o_write.valid.eq(1)
                with m.If(self.o_write.ready):
                    place = Mux(self.batch, chooser, 0)[: config.column_bits]
                    m.d.sync += [
                        self.tokens[place].eq(token),
                        self.descriptors[place].slot.eq(self.descriptors[chooser[: config.column_bits]].slot),
                        self.descriptors[place].position.eq(following),
                        ending.eq(ending | is_end | (following == self.context)),
                        newest.eq(token),
                        tokens_at.eq(tokens_at + TOKEN_BYTES),
                        chooser.eq(chooser + 1),
                    ]
                    m.next = "TOKEN"
                    with m.If(chooser == self.columns - 1):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(~self.batch):
                    m.d.sync += self.columns.eq(1)
                m.next = "WRITTEN"  # the write engine is busy from the next clock on
            with m.State("WRITTEN"):
                with m.If(self.write_idle):
                    m.d.sync += [self.token_count.eq(self.token_count + self.columns), self.last_token.eq(newest)]
                    m.d.sync += rounds.eq(rounds + 1)
                    m.next = "PASS"
                    with m.If(ending | (rounds + 1 == self.max_new_tokens)):
                        m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(self.write_idle):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.sync += self.done.eq(1)
                m.next = "IDLE"

        # head regions are asked for while the layers still run, so that the prefetch crosses over
        with m.FSM(name="prefetch"):
            with m.State("WAIT"):
                with m.If(self.o_stream.valid & self.o_stream.ready):
                    m.next = "HEADS"
            with m.State("HEADS"):
                m.next = "WAIT"
                with m.If(passes != 0):
                    m.d.comb += [
                        self.o_stream.payload.address.eq(self.image_base + self.head_offset),
                        self.o_stream.payload.beats.eq(self.head_beats),
                        self.o_stream.valid.eq(1),
                    ]
                    m.next = "HEADS"
                    with m.If(self.o_stream.ready):
                        m.d.sync += passes.eq(passes - 1)
        return m
