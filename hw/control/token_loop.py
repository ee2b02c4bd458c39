"""The loop over tokens, in fabric: prompt in chunks, then one token after the other until something ends it."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.attention_control import descriptor
from hw.config import AccelConfig
from hw.control.executor import TOKEN_BITS
from hw.control.register_map import ErrorCode, LogitsMode
from hw.formats import beat, gather_request, write_beat, write_request
from hw.logits.argmax import best_row
from hw.logits.logits_writer import logits_row
from hw.memory.read_engine import stream_command

__all__ = ["TokenLoop"]

TOKEN_BYTES = 4


class TokenLoop(wiring.Component):
    """Runs a job (docs/registers.md): fetches the prompt, starts a pass per chunk, writes tokens, decides the end.

    Rules: a token is fed only if another may follow. Generation ends with an end id, with `max_new_tokens`, or when no
    position is left. With logits mode ALL every column passes the head, otherwise only the one that chooses a token.
    A token counts when its write has been answered, so memory up to `token_count` can be read.

    Cost between passes: about 20 clocks and a memory latency per prompt token, a write's latency per chosen token.

    Members:
        start and the registers of a job; busy, done, error (BAD_PARAMETER, CONTEXT_FULL), token_count, last_token.
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
            "prompt_length": In(32), "start_position": In(32), "slot": In(16), "chunk": In(7),
            "max_new_tokens": In(32), "context": In(32), "end_count": In(3), "logits_mode": In(2),
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
        config = self.config
        beat_shift = config.beat_bytes.bit_length() - 1
        words = config.beat_bytes // TOKEN_BYTES
        position, left = Signal(32), Signal(32)  # of the next token to feed; prompt tokens not fed
        prompt_at, tokens_at, logits_at = (Signal(config.address_bits, name=n) for n in ("prompt", "made", "row"))
        token, wanted, last_of_prompt = Signal(32), Signal(), Signal()
        passes = Signal(range(config.columns + 1))  # head regions not yet asked for
        all_logits, is_end = Signal(), Signal()
        head = Signal(range(config.columns + 1))
        m.d.comb += [
            all_logits.eq(self.logits_mode == LogitsMode.ALL.value),
            is_end.eq(Cat(*((self.end_count > n) & (self.end_ids[n] == token) for n in range(4))).any()),
            self.busy.eq(1),
            self.head_column.eq(head),
        ]

        def word_of(address: Signal):
            """The place of a 32-bit word inside its beat."""
            return address[2:beat_shift]

        m.d.comb += [
            self.o_gather.payload.address.eq(prompt_at >> beat_shift << beat_shift),
            self.o_gather.payload.beats.eq(1),
            self.o_request.payload.address.eq(tokens_at >> beat_shift << beat_shift),
            self.o_request.payload.beats.eq(1),
            self.o_write.payload.data.as_value().eq(Cat(*([token] * words))),
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
                    m.d.sync += [self.token_count.eq(0), self.last_token.eq(0)]
                    m.d.sync += [position.eq(self.start_position), left.eq(self.prompt_length)]
                    m.d.sync += [prompt_at.eq(self.prompt_address), tokens_at.eq(self.tokens_address)]
                    m.d.sync += [logits_at.eq(self.logits_address), token.eq(0)]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "CHUNK"
                with m.If((self.chunk == 0) | (self.chunk > config.columns) | (left == 0)
                          | (self.context > config.max_positions) | (self.logits_mode > LogitsMode.ALL.value)
                          | ((self.logits_mode != LogitsMode.NONE.value) & (self.logits_beats == 0))
                          | (self.slot >> len(self.descriptors[0].slot) != 0)):
                    m.d.sync += self.error.eq(ErrorCode.BAD_PARAMETER)
                    m.next = "DONE"
                with m.Elif(position + left > self.context):
                    m.d.sync += self.error.eq(ErrorCode.CONTEXT_FULL)
                    m.next = "DONE"

            # the tokens of a pass
            with m.State("CHUNK"):
                m.d.sync += self.columns.eq(0)
                with m.If(left != 0):
                    m.next = "FETCH"
                with m.Else():
                    m.d.sync += [self.columns.eq(1), self.tokens[0].eq(token), position.eq(position + 1)]
                    m.d.sync += [self.descriptors[0].slot.eq(self.slot), self.descriptors[0].position.eq(position)]
                    m.next = "PASS"
            with m.State("FETCH"):
                m.d.comb += self.o_gather.valid.eq(1)
                with m.If(self.o_gather.ready):
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.comb += self.i_gather.ready.eq(1)
                with m.If(self.i_gather.valid):
                    column = self.columns[: config.column_bits]
                    m.d.sync += [
                        self.tokens[column].eq(fetched[word_of(prompt_at)]),
                        self.descriptors[column].slot.eq(self.slot),
                        self.descriptors[column].position.eq(position),
                        self.columns.eq(self.columns + 1),
                        position.eq(position + 1),
                        prompt_at.eq(prompt_at + TOKEN_BYTES),
                        left.eq(left - 1),
                    ]
                    m.next = "FETCH"
                    with m.If((left == 1) | (self.columns == self.chunk - 1)):
                        m.next = "PASS"

            # the pass
            with m.State("PASS"):
                m.d.comb += [
                    last_of_prompt.eq(left == 0),
                    self.o_stream.payload.address.eq(self.image_base + self.stream_offset),
                    self.o_stream.payload.beats.eq(self.stream_beats),
                    self.o_stream.valid.eq(1),
                ]
                chooses = last_of_prompt & (self.max_new_tokens != 0)
                m.d.sync += [wanted.eq(all_logits | chooses)]
                m.d.sync += passes.eq(Mux(all_logits, self.columns, chooses))
                m.d.sync += head.eq(Mux(all_logits, 0, self.columns - 1))
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
                    m.d.sync += [token.eq(self.i_best.row), head.eq(head + 1)]
                    m.next = "LOGITS"
            with m.State("LOGITS"):
                with m.If(self.logits_idle):
                    m.next = "ROW"
                    with m.If(head == self.columns):
                        m.next = "NEXT"

            # what the pass gave
            with m.State("NEXT"):
                m.next = "TOKEN"
                with m.If(left != 0):
                    m.next = "CHUNK"
                with m.Elif(self.max_new_tokens == 0):
                    m.next = "DRAIN"
            with m.State("TOKEN"):
                m.d.comb += self.o_request.valid.eq(1)
                with m.If(self.o_request.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.o_write.valid.eq(1)
                with m.If(self.o_write.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.next = "WRITTEN"  # the write engine is busy from the next clock on
            with m.State("WRITTEN"):
                with m.If(self.write_idle):
                    m.d.sync += [self.token_count.eq(self.token_count + 1), self.last_token.eq(token)]
                    m.d.sync += tokens_at.eq(tokens_at + TOKEN_BYTES)
                    m.next = "CHUNK"
                    with m.If(is_end | (self.token_count + 1 == self.max_new_tokens) | (position == self.context)):
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
