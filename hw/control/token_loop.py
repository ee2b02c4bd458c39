"""The loop over tokens: a prompt in chunks, then one token at a time of one sequence or of several."""

from __future__ import annotations

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bound import bounded
from hw.contract.config import MAX_SLOTS, AccelConfig
from hw.contract.payloads import BATCH_ENTRY, beat, entry_words, gather_request, write_beat, write_request
from hw.contract.register_map import MAX_END_IDS, ErrorCode, LogitsMode
from hw.control.interfaces import TOKEN_BITS, feed_signature
from hw.control.registers import job_signature
from hw.control.states import offer_state, wait_state
from hw.logits.interfaces import POWER_SCALE, best_row, logits_row
from hw.memory.read_engine import stream_command
from hw.watch import watch, watch_stream

__all__ = ["TokenLoop"]

TOKEN_BYTES = 4


class TokenLoop(wiring.Component):
    """Runs a job (docs/registers.md): it fetches the prompt, starts the passes, writes the tokens and ends the run.

    Rules: a token is fed only if another one may follow. Generation ends with an end id, after `max_new_tokens`, or
    when no position is left. With logits mode ALL the LM head runs for every column, otherwise only for the column that
    chooses a token. `token_count` counts a token when its write has been answered, so the host can read memory up to
    `token_count`.

    With `batch` the prompt holds a `BATCH_ENTRY` per sequence, and column n belongs to sequence n. All columns choose a
    token in every pass. The first sequence that ends also ends the run, at the end of the pass. `max_new_tokens` counts
    passes. A chosen token is fed to its own column; without `batch` it is fed to column 0.

    With `head_again` nothing is fed. The LM head runs for the columns that chose a token in the last pass, whose
    residual streams, and the factors of their norms, are as that pass has left them. BAD_PARAMETER if there is none.

    With `guard` and logits mode NONE, a pass in which one column chooses reads the high plane in the place of the LM
    head, and the LM head behind it if `i_best` comes with `failed`.

    Cost between passes: about 20 clocks and a memory latency per 32-bit word of the prompt (an entry of a batch has
    three or, with shortlists, four), a few clocks per chosen token, and once the latency of the writes.

    Members:
        start, job: from the registers.
        busy, done, token_count, last_token: for the registers.
        error: BAD_PARAMETER, CONTEXT_FULL or BAD_TOKEN.
        feed: the columns of the pass, to the executor.
        in_pass: the executor works, or waits for a header.
        i_best: the best row of each column of the group.
        o_stream: the regions to prefetch.
        o_gather, i_gather: prompt tokens.
        o_request, o_write, write_idle: writes of tokens.
        o_logits: where the logits of a column of the group go.
        logits_idle: all logits are written.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "job": In(job_signature(config)),
            "busy": Out(1), "done": Out(1), "error": Out(ErrorCode),
            "token_count": Out(32), "last_token": Out(32),
            "feed": Out(feed_signature(config)),
            "in_pass": Out(1),
            "i_best": In(stream.Signature(best_row(config), always_ready=True)),
            "o_stream": Out(stream.Signature(stream_command(config))),
            "o_gather": Out(stream.Signature(gather_request(config))),
            "i_gather": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o_write": Out(stream.Signature(write_beat(config))),
            "write_idle": In(1),
            "o_logits": Out(stream.Signature(logits_row(config), always_ready=True)),
            "logits_idle": In(1),
        })
        self._beat_shift, columns = exact_log2(config.beat_bytes), range(config.columns + 1)
        self._left = Signal(32, name="left")  # prompt tokens or entries not fetched
        self._together = Signal(32, name="together")  # columns of a pass over the prompt
        # the prompt token or entry under way, word by word in the order of BATCH_ENTRY
        self._entry, self._field = Signal(BATCH_ENTRY, name="entry"), Signal(2, name="field")
        self._entry_words = entry_words(config)
        # with shortlists: the scale of each column, and the columns that the last pass chose tokens for
        self._scales = Array(Signal(POWER_SCALE, name=f"scale_{n}") for n in range(config.columns))
        self._kept_from, self._kept_end = (Signal(columns, name=f"kept_{name}") for name in ("from", "end"))
        self._bad_slot = Signal(name="bad_slot")
        self._prompt_at, self._tokens_at, self._logits_at = (
            Signal(config.address_bits, name=f"{name}_at") for name in ("prompt", "tokens", "logits"))
        # columns that want logits: those that the LM head has not been requested for, and the next one to announce
        # (two bits at least, because of one it is constant whether they are more than a group)
        self._wanted, self._heads_left = Signal(name="wanted"), Signal(range(max(3, len(columns))), name="heads_left")
        self._head_at, self._announced = Signal(columns, name="head_at"), Signal(columns, name="announced")
        self._high = Signal(name="high")  # the high plane comes in the place of the LM head
        self._chooser, self._rounds, self._ending = (
            Signal(columns, name="chooser"), Signal(32, name="rounds"), Signal(name="ending"))
        # the token that a column chose, and the position where it is fed
        self._token, self._newest = Signal(TOKEN_BITS, name="token"), Signal(TOKEN_BITS, name="newest")
        self._following = Signal(range(config.max_positions + 1), name="following")

    def _word_of(self, address: Signal):
        """The place of a 32-bit word inside its beat."""
        return address[2 : self._beat_shift]

    def _fails(self, m: Module, code: ErrorCode) -> None:
        m.d.sync += self.error.eq(code)
        m.next = "DRAIN"  # logits of the chunk before may wait for their answer

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_stream", "o_gather", "o_request", "o_write"):
            watch_stream(m, platform, getattr(self, name), name)
        watch(m, platform, self.feed.columns <= self.config.columns, "{} columns are in use", self.feed.columns)
        config, column = self.config, self.feed.descriptors[0]
        bounded(platform, self.feed.tokens[0], "token", "max_vocab - 1", config.max_vocab - 1)
        bounded(platform, column.position, "position", "max_positions - 1", config.max_positions - 1)
        bounded(platform, column.slot, "KV slot", "63", MAX_SLOTS - 1)
        bounded(platform, self._heads_left, "columns that still need the LM head", "T", config.columns)
        bounded(platform, self.token_count, "tokens of a run", "T max_positions", config.columns * config.max_positions)
        self._requests(m)
        with m.FSM():
            self._start_states(m)
            self._prompt_states(m)
            self._pass_states(m)
            self._token_states(m)
            wait_state(m, "DRAIN", self.write_idle, "DONE")
            with m.State("DONE"):
                m.d.sync += self.done.eq(1)
                m.next = "IDLE"
        self._prefetch(m)
        return m

    def _requests(self, m: Module) -> None:
        """Payloads of all requests, and values that several states use."""
        job, feed, shift = self.job, self.feed, self._beat_shift
        chooser = self._chooser[: self.config.column_bits]
        words = self.config.beat_bytes // TOKEN_BYTES
        m.d.comb += [
            self.busy.eq(1),
            self._together.eq(Mux(job.batch, job.prompt_length, job.chunk)),
            self._bad_slot.eq(self._entry.slot >> len(feed.descriptors[0].slot) != 0),
            feed.head_column.eq(self._head_at),
            self._token.eq(feed.tokens[chooser]),
            self._following.eq(feed.descriptors[chooser].position + 1),
            self.o_logits.payload.column.eq(self._announced),
            self.o_gather.payload.address.eq(self._prompt_at >> shift << shift),
            self.o_gather.payload.beats.eq(1),
            self.o_request.payload.address.eq(self._tokens_at >> shift << shift),
            self.o_request.payload.beats.eq(1),
            self.o_write.payload.data.as_value().eq(Cat(*([self._token, C(0, 32 - TOKEN_BITS)] * words))),
            self.o_write.payload.strobe.eq(0b1111 << (self._word_of(self._tokens_at) << 2)),
            self.o_logits.payload.address.eq(self._logits_at),
        ]
        if self.config.shortlist:
            column = (self._head_at + self._announced)[: self.config.column_bits]
            m.d.comb += self.o_logits.payload.scale.eq(Mux(job.batch, self._scales[column], job.logit_scale))

    def _start_states(self, m: Module) -> None:
        job, feed = self.job, self.feed
        config = self.config
        with m.State("IDLE"):
            m.d.comb += self.busy.eq(0)
            with m.If(self.start):
                m.d.sync += [self.done.eq(0), self.error.eq(ErrorCode.NONE)]
                m.d.sync += [self.token_count.eq(0), self.last_token.eq(0), feed.columns.eq(0), self._rounds.eq(0)]
                m.d.sync += [self._entry.position.eq(job.start_position), self._entry.slot.eq(job.slot)]
                m.d.sync += self._field.eq(0)
                m.d.sync += [self._prompt_at.eq(job.prompt_address), self._tokens_at.eq(job.tokens_address)]
                m.d.sync += [self._logits_at.eq(job.logits_address), self._left.eq(job.prompt_length)]
                if config.candidates:
                    m.d.sync += self._high.eq(0)
                m.next = "CHECK"
                if config.shortlist:
                    with m.If(job.head_again):
                        m.next = "AGAIN"
        # with shortlists all numbers of the register are modes
        bad_mode = C(0, 1) if config.shortlist else job.logits_mode > LogitsMode.ALL.value
        with m.State("CHECK"):
            m.next = "FETCH"
            with m.If((self._together == 0) | (self._together > config.columns) | (self._left == 0)
                      | (job.context > config.max_positions) | bad_mode
                      | ((job.logits_mode != LogitsMode.NONE.value) & (job.logits_beats == 0))
                      | (~job.batch & self._bad_slot)):
                self._fails(m, ErrorCode.BAD_PARAMETER)
            with m.Elif(~job.batch & (self._entry.position + self._left > job.context)):
                self._fails(m, ErrorCode.CONTEXT_FULL)
        if config.shortlist:
            with m.State("AGAIN"):
                kept = self._kept_end - self._kept_from
                m.d.sync += [feed.columns.eq(self._kept_end), self._head_at.eq(self._kept_from), self._left.eq(0)]
                m.next = "GROUP"
                with m.If((kept == 0) | (job.max_new_tokens != 0) | (job.logits_beats == 0)):
                    self._fails(m, ErrorCode.BAD_PARAMETER)
                with m.Else():
                    m.d.sync += self._heads_left.eq(kept)

    def _prompt_states(self, m: Module) -> None:
        """The tokens of a pass over the prompt, or the entries of a batch."""
        job, feed = self.job, self.feed
        words = self.config.beat_bytes // TOKEN_BYTES
        fetched = Array(Cat(*self.i_gather.payload.data).word_select(n, 32) for n in range(words))
        column = feed.columns[: self.config.column_bits]
        offer_state(m, "FETCH", self.o_gather, "FETCHED")
        with m.State("FETCHED"):
            m.d.comb += self.i_gather.ready.eq(1)
            with m.If(self.i_gather.valid):
                word = fetched[self._word_of(self._prompt_at)]
                m.d.sync += self._entry.as_value().word_select(self._field, 32).eq(word)
                m.d.sync += [self._prompt_at.eq(self._prompt_at + TOKEN_BYTES), self._field.eq(self._field + 1)]
                m.next = "FETCH"
                with m.If(~job.batch | (self._field == self._entry_words - 1)):
                    m.next = "COLUMN"
        with m.State("COLUMN"):
            m.d.sync += [
                feed.tokens[column].eq(self._entry.token),
                feed.descriptors[column].slot.eq(self._entry.slot),
                feed.descriptors[column].position.eq(self._entry.position),
                feed.columns.eq(feed.columns + 1),
                self._entry.position.eq(self._entry.position + 1),
                self._field.eq(0),
                self._left.eq(self._left - 1),
            ]
            unused = BATCH_ENTRY.size // 8 - self._entry_words * TOKEN_BYTES
            if unused:
                with m.If(job.batch):
                    m.d.sync += self._prompt_at.eq(self._prompt_at + unused)
            if self.config.shortlist:
                m.d.sync += self._scales[column].eq(self._entry.scale)
            m.next = "FETCH"
            with m.If((self._left == 1) | (feed.columns == self._together - 1)):
                m.next = "PASS"
            with m.If(self._bad_slot):
                self._fails(m, ErrorCode.BAD_PARAMETER)
            with m.Elif(self._entry.position >= job.context):
                self._fails(m, ErrorCode.CONTEXT_FULL)
            with m.Elif(self._entry.token >= job.vocabulary):
                self._fails(m, ErrorCode.BAD_TOKEN)

    def _pass_states(self, m: Module) -> None:
        """The layers, then the LM head for groups of the columns that need logits."""
        job, feed, most = self.job, self.feed, self.config.head_columns
        all_logits = job.logits_mode == LogitsMode.ALL.value
        choosing = (self._left == 0) & (job.max_new_tokens != 0)
        wanted = all_logits | choosing
        every = all_logits | job.batch
        write = job.logits_mode != LogitsMode.NONE.value
        with m.State("PASS"):
            m.d.comb += [
                self.o_stream.payload.address.eq(job.image_base + job.stream_offset),
                self.o_stream.payload.beats.eq(job.stream_beats),
                self.o_stream.valid.eq(1),
            ]
            m.d.sync += self._wanted.eq(wanted)
            m.d.sync += self._heads_left.eq(Mux(wanted, Mux(every, feed.columns, 1), 0))
            m.d.sync += self._head_at.eq(Mux(every, 0, feed.columns - 1))
            if self.config.shortlist:
                chooser = Mux(job.batch, 0, feed.columns - 1)
                m.d.sync += [self._kept_from.eq(Mux(choosing, chooser, 0)),
                             self._kept_end.eq(Mux(choosing, feed.columns, 0))]
            if self.config.candidates:
                one = Mux(every, feed.columns == 1, 1)
                m.d.sync += self._high.eq((job.guard != 0) & ~write & one)
            with m.If(self.o_stream.ready):
                m.next = "LAYERS"
        with m.State("LAYERS"):
            m.d.comb += self.in_pass.eq(1)
            with m.If(feed.ended):
                m.next = "NEXT"
                with m.If(self._wanted):
                    m.next = "GROUP"
        with m.State("GROUP"):
            rest = feed.columns - self._head_at
            m.d.sync += [feed.head_columns.eq(Mux(rest > most, most, rest)), self._announced.eq(0)]
            m.next = "ROW"
        with m.State("ROW"):
            m.d.comb += self.o_logits.valid.eq(write)
            m.d.sync += self._announced.eq(self._announced + 1)
            m.d.sync += self._logits_at.eq(self._logits_at + (job.logits_beats << self._beat_shift))
            with m.If((self._announced == feed.head_columns - 1) | ~write):
                m.next = "LM HEAD"
        with m.State("LM HEAD"):
            best = self.i_best.payload
            m.d.comb += self.in_pass.eq(1)
            if most < self.config.columns:
                m.d.comb += feed.head_open.eq(1)
            with m.If(self.i_best.valid):
                m.d.sync += feed.tokens[(self._head_at + best.column)[: self.config.column_bits]].eq(best.row)
            with m.If(feed.lm_head_done):
                m.d.sync += self._head_at.eq(self._head_at + feed.head_columns)
                m.next = "LOGITS"
                if self.config.candidates:
                    with m.If(best.failed):
                        m.d.sync += [self._high.eq(0), self._heads_left.eq(1), self._head_at.eq(self._head_at)]
                        m.next = "GROUP"
        with m.State("LOGITS"):
            with m.If(self.logits_idle):
                m.next = "GROUP"
                with m.If(self._head_at == feed.columns):
                    m.next = "NEXT"

    def _token_states(self, m: Module) -> None:
        """The tokens that the pass chose: to memory, and to the columns that the next pass feeds."""
        job, feed = self.job, self.feed
        chooser = self._chooser[: self.config.column_bits]
        place = Mux(job.batch, self._chooser, 0)[: self.config.column_bits]
        is_end = Cat(*(
            (job.end_count > n) & (getattr(job, f"end_id_{n}") == self._token) for n in range(MAX_END_IDS))).any()
        with m.State("NEXT"):
            m.d.sync += [self._chooser.eq(Mux(job.batch, 0, feed.columns - 1)), self._ending.eq(0)]
            m.next = "TOKEN"
            with m.If(self._left != 0):
                m.d.sync += feed.columns.eq(0)
                m.next = "FETCH"
            with m.Elif(job.max_new_tokens == 0):
                m.next = "DRAIN"
        offer_state(m, "TOKEN", self.o_request, "WRITE")
        with m.State("WRITE"):
            m.d.comb += self.o_write.valid.eq(1)
            with m.If(self.o_write.ready):
                m.d.sync += [
                    feed.tokens[place].eq(self._token),
                    feed.descriptors[place].slot.eq(feed.descriptors[chooser].slot),
                    feed.descriptors[place].position.eq(self._following),
                    self._ending.eq(self._ending | is_end | (self._following == job.context)),
                    self._newest.eq(self._token),
                    self._tokens_at.eq(self._tokens_at + TOKEN_BYTES),
                    self._chooser.eq(self._chooser + 1),
                ]
                m.next = "TOKEN"
                with m.If(self._chooser == feed.columns - 1):
                    m.next = "ANSWER"
        with m.State("ANSWER"):
            with m.If(~job.batch):
                m.d.sync += feed.columns.eq(1)
            m.next = "WRITTEN"  # the write engine is busy from the next clock on
        with m.State("WRITTEN"):
            with m.If(self.write_idle):
                m.d.sync += [self.token_count.eq(self.token_count + feed.columns), self.last_token.eq(self._newest)]
                m.d.sync += self._rounds.eq(self._rounds + 1)
                m.next = "PASS"
                with m.If(self._ending | (self._rounds + 1 == job.max_new_tokens)):
                    m.next = "DRAIN"

    def _prefetch(self, m: Module) -> None:
        """Requests the rows of the LM head during the layers, so that the prefetch continues across the two regions."""
        job, most = self.job, self.config.head_columns
        begins = self.o_stream.valid & self.o_stream.ready
        if self.config.shortlist:  # without the layers
            begins |= job.head_again & self._heads_left.any()
        if self.config.candidates:  # behind a high plane
            begins |= self.i_best.valid & self.i_best.payload.failed
        with m.FSM(name="prefetch"):
            with m.State("WAIT"):
                with m.If(begins):
                    m.next = "HEADS"
            with m.State("HEADS"):
                m.next = "WAIT"
                with m.If(self._heads_left != 0):
                    m.d.comb += [
                        self.o_stream.payload.address.eq(job.image_base + job.lm_head_offset),
                        self.o_stream.payload.beats.eq(job.lm_head_beats),
                        self.o_stream.valid.eq(1),
                    ]
                    if self.config.candidates:
                        with m.If(self._high):
                            m.d.comb += [
                                self.o_stream.payload.address.eq(job.image_base + job.high_offset),
                                self.o_stream.payload.beats.eq(job.high_beats),
                            ]
                    m.next = "HEADS"
                    with m.If(self.o_stream.ready):
                        m.d.sync += self._heads_left.eq(Mux(self._heads_left > most, self._heads_left - most, 0))
