"""The token loop between stand-ins for memory, executor and logits writer, against a loop in Python."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.register_map import ErrorCode
from hw.control.token_loop import TokenLoop
from hw.logits.interfaces import best_row, logits_row
from tests.hw.simulation import simulate

CONFIGS = {
    "narrow": AccelConfig(name="narrow", columns=3, max_positions=256),
    "wide": AccelConfig(name="wide", port_bits=512, rows=16, columns=1, max_positions=256),
    "groups of two columns": AccelConfig(name="groups", columns=5, query_rows=2, max_positions=256),
}
NARROW, GROUPS = CONFIGS["narrow"], CONFIGS["groups of two columns"]
LISTS = {name: config.replace(shortlist=64) for name, config in CONFIGS.items()}
SPLIT = {name: config.replace(candidates=64) for name, config in CONFIGS.items()}
LIMIT = 20_000


class Loop(wiring.Component):
    """The unit with a `ready` of each stream that is always ready, which is no port of such a stream."""

    def __init__(self, config: AccelConfig) -> None:
        self.config, self.unit = config, TokenLoop(config)
        super().__init__(dict(self.unit.signature.members) | {
            "i_best": In(stream.Signature(best_row(config))), "o_logits": Out(stream.Signature(logits_row(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        for name, member in unit.signature.members.items():
            outer, inner = getattr(self, name), getattr(unit, name)
            if name in ("i_best", "o_logits"):
                to, of = (inner, outer) if name == "i_best" else (outer, inner)
                m.d.comb += [to.valid.eq(of.valid), to.payload.eq(of.payload)]
            elif member.is_signature:
                wiring.connect(m, wiring.flipped(outer), inner)
            else:
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m


@dataclass(frozen=True, kw_only=True)
class Run:
    """Registers of a job, and what the model would choose at each position. A batch has `entries` for a prompt: token,
    position, slot. `again`: the head of the run before once more. With `guard`, the high plane fails at some positions:
    one in `failing`."""

    prompt: tuple[int, ...] = ()
    batch: bool = False
    entries: tuple[tuple[int, int, int], ...] = ()
    max_new_tokens: int = 3
    chunk: int = 3
    start_position: int = 0
    slot: int = 5
    context: int = 100
    vocabulary: int = 2000
    end_ids: tuple[int, ...] = ()
    unused_end_ids: tuple[int, ...] = ()
    logits_mode: int = 0
    logits_beats: int = 7
    prompt_address: int = 0x8000
    tokens_address: int = 0x9000
    logits_address: int = 0xA0000
    again: bool = False
    logit_scale: int = 0x3FB8AA3B
    guard: int = 0
    failing: int = 3

    def fails(self, position: int) -> bool:
        """Whether the high plane does not tell the choice at a position."""
        return position % self.failing == 0

    def scale(self, column: int) -> int:
        """Of the logits of a column in the sum of its shortlist."""
        return 0x40000000 + 0x10001 * column if self.batch else self.logit_scale

    def choice(self, position: int, slot: int | None = None) -> int:
        return 1000 + (7 * position + 13 * (self.slot if slot is None else slot)) % 90

    def memory(self) -> bytes:
        """What lies at `prompt_address`."""
        words = [w for n, entry in enumerate(self.entries) for w in (*entry, self.scale(n))] if self.batch \
            else self.prompt
        return b"".join(w.to_bytes(4, "little") for w in words)

    def registers(self) -> dict[str, int]:
        values = {name: getattr(self, name) for name in (
            "max_new_tokens", "chunk", "start_position", "slot", "context", "vocabulary", "logits_mode", "logits_beats",
            "prompt_address", "tokens_address", "logits_address")}
        return values | {
            "image_base": 0x1_0000_0000, "stream_offset": 0x1000, "stream_beats": 321, "lm_head_offset": 0x5000,
            "lm_head_beats": 123, "end_count": len(self.end_ids), "batch": self.batch,
            "prompt_length": len(self.entries if self.batch else self.prompt),
        }


LAYERS, LM_HEAD, HIGH = (0x1_0000_1000, 321), (0x1_0000_5000, 123), (0x1_0000_A000, 77)


@dataclass
class Seen:
    """What the loop asked for."""

    passes: list[list[tuple[int, int, int]]] = field(default_factory=list)  # token, slot, position of each column
    streams: list[tuple[int, int]] = field(default_factory=list)
    heads: list[tuple[int, int]] = field(default_factory=list)  # first column and columns of each group
    rows: list[tuple[int, int]] = field(default_factory=list)  # column of the group, address
    scales: list[int] = field(default_factory=list)  # of these rows
    written: dict[int, int] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    error: int = ErrorCode.NONE.value
    kept: range = range(0)  # columns whose head can run again

    def head(self, run: Run, config: AccelConfig, columns: range) -> None:
        """The LM head for some columns."""
        most, first = config.head_columns, columns.start
        groups = [(n, min(most, columns.stop - n)) for n in columns[::most]]
        if run.guard and not run.logits_mode and len(columns) == 1:
            self.streams.append(HIGH)
            self.heads += groups
            if not run.fails(self.passes[-1][first][2]):
                return
        self.streams += [LM_HEAD] * len(groups)
        self.heads += groups
        if run.logits_mode:
            size, before = run.logits_beats * config.beat_bytes, len(self.rows)
            self.rows += [((n - first) % most, run.logits_address + (before + n - first) * size) for n in columns]
            self.scales += [run.scale(n) for n in columns] if config.shortlist else []


def expected(run: Run, config: AccelConfig, kept: range = range(0)) -> Seen:
    """The rules of the loop, without clocks. `kept`: columns that the run before has kept."""
    seen = Seen(kept=kept)
    if run.again:
        if not kept or run.max_new_tokens or not run.logits_beats:
            seen.error = ErrorCode.BAD_PARAMETER.value
        else:
            seen.head(run, config, kept)
        return seen
    modes = 4 if config.shortlist else 3
    good_columns = 1 <= len(run.entries) <= config.columns if run.batch else 1 <= run.chunk <= config.columns
    if not (good_columns and (run.batch or (run.prompt and run.slot < 64)) and run.context <= config.max_positions
            and run.logits_mode < modes and (run.logits_beats or not run.logits_mode)):
        seen.error = ErrorCode.BAD_PARAMETER.value
        return seen
    if not run.batch and run.start_position + len(run.prompt) > run.context:
        seen.error = ErrorCode.CONTEXT_FULL.value
        return seen
    for token, position, slot in run.entries if run.batch else ():
        for wrong, error in ((slot >= 64, ErrorCode.BAD_PARAMETER), (position >= run.context, ErrorCode.CONTEXT_FULL),
                             (token >= run.vocabulary, ErrorCode.BAD_TOKEN)):
            if wrong:
                seen.error = error.value
                return seen
    fed = [(t, run.slot, run.start_position + n) for n, t in enumerate(run.prompt)]
    waiting = [[(t, s, p) for t, p, s in run.entries]] if run.batch else [
        fed[at : at + run.chunk] for at in range(0, len(fed), run.chunk)]
    rounds = 0
    while True:
        columns = waiting.pop(0)
        if not seen.tokens and any(token >= run.vocabulary for token, _, _ in columns):
            seen.error = ErrorCode.BAD_TOKEN.value
            return seen
        seen.passes.append(columns)
        seen.streams.append(LAYERS)
        choosing = [] if waiting or not run.max_new_tokens else columns if run.batch else columns[-1:]
        heads = columns if run.logits_mode == 2 else choosing
        seen.head(run, config, range(len(columns) - len(heads), len(columns)))
        seen.kept = range(len(columns) - len(choosing), len(columns))
        if waiting:
            continue
        following = [(run.choice(position, slot), slot, position + 1) for _, slot, position in choosing]
        for token, _, _ in following:
            seen.written[run.tokens_address + 4 * len(seen.tokens)] = token
            seen.tokens.append(token)
        rounds += 1
        if rounds >= run.max_new_tokens or any(t in run.end_ids or p == run.context for t, _, p in following):
            return seen
        waiting = [following]


class Surroundings:
    """Everything around the loop, each with delays of its own."""

    def __init__(self, dut: Loop, config: AccelConfig, stall: float, seed: int) -> None:
        self.dut, self.config, self.stall = dut, config, stall
        self.random = random.Random(seed)
        self.seen = Seen()
        self.passes: list[list[tuple[int, int, int]]] = []  # of all runs
        self.run = Run(prompt=(0,))
        self.answered = self.executed = self.unanswered = 0

    def clocks(self) -> int:
        return next(n for n in itertools.count() if self.random.random() >= self.stall)

    async def pause(self, ctx: Any, least: int = 0) -> None:
        while self.random.random() < self.stall or least > 0:
            await ctx.tick()
            least -= 1

    async def take(self, ctx: Any, port: Any) -> Any:
        """One payload of a stream that the loop drives; an offer may not change."""
        kept = None
        while True:
            ready = self.random.random() >= self.stall
            ctx.set(port.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            assert kept is None or (valid and payload.as_bits() == kept)
            kept = payload.as_bits() if valid else None
            if valid and ready:
                ctx.set(port.ready, 0)
                return payload

    async def gather(self, ctx: Any) -> None:
        size = self.config.beat_bytes
        while True:
            request = await self.take(ctx, self.dut.o_gather)
            address = int(request.address)
            assert int(request.beats) == 1
            assert address % size == 0
            memory = self.run.memory()
            before = self.run.prompt_address - address
            content = b"\xEE" * before + memory[max(0, -before) :]
            await self.pause(ctx)
            ctx.set(self.dut.i_gather.payload, {"data": list(content[:size].ljust(size, b"\xEE")), "last": 1})
            ctx.set(self.dut.i_gather.valid, 1)
            await ctx.tick().until(self.dut.i_gather.ready)
            ctx.set(self.dut.i_gather.valid, 0)

    async def stream(self, ctx: Any) -> None:
        while True:
            command = await self.take(ctx, self.dut.o_stream)
            self.seen.streams.append((int(command.address), int(command.beats)))

    async def executor(self, ctx: Any) -> None:
        """Runs the regions in order, each as soon as it may. The rows of a group have been announced when its head
        begins, and those of the group before are written; its best rows come one after the other, in any clocks before
        it ends."""
        dut = self.dut
        while True:
            while len(self.seen.streams) == self.executed:
                await ctx.tick()
            kind = self.seen.streams[self.executed]
            self.executed += 1
            await self.pause(ctx, least=4)
            if kind == LAYERS:
                feed = dut.feed
                self.passes.append([
                    (ctx.get(feed.tokens[n]), ctx.get(feed.descriptors[n].slot), ctx.get(feed.descriptors[n].position))
                    for n in range(ctx.get(feed.columns))])
                self.seen.passes.append(self.passes[-1])
                await self.pulse(ctx, dut.feed.ended)
                continue
            if self.config.head_columns < self.config.columns:
                while not ctx.get(dut.feed.head_open):
                    await ctx.tick()
                assert ctx.get(dut.in_pass)
                await ctx.tick()
            else:
                await self.pause(ctx, least=self.config.columns)
            group = (ctx.get(dut.feed.head_column), ctx.get(dut.feed.head_columns))
            self.seen.heads.append(group)
            announced = sum(columns for _, columns in self.seen.heads) if self.run.logits_mode else 0
            assert len(self.seen.rows) == announced
            await self.pause(ctx, least=4)
            for n in range(group[1]):
                assert (ctx.get(dut.feed.head_column), ctx.get(dut.feed.head_columns)) == group
                _, slot, position = self.passes[-1][group[0] + n]
                best = {"column": n, "row": self.run.choice(position, slot)}
                if kind == HIGH and self.run.fails(position):
                    best |= {"row": 4095, "failed": 1}
                ctx.set(dut.i_best.payload, best)
                ctx.set(dut.feed.lm_head_done, n == group[1] - 1)
                await self.pulse(ctx, dut.i_best.valid)
                ctx.set(dut.feed.lm_head_done, 0)
                ctx.set(dut.i_best.payload, {"column": n, "row": 4095})  # nor is it looked at whether it failed
                await self.pause(ctx)

    async def pulse(self, ctx: Any, signal: Any) -> None:
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    def writes(self, ctx: Any, change: int) -> None:
        self.unanswered += change
        ctx.set(self.dut.write_idle, self.unanswered == 0)

    async def logits(self, ctx: Any) -> None:
        """Is busy from the first row of a group until some time after its head; the answer of the memory comes later
        still."""
        idle, answers = self.dut.logits_idle, []  # clocks until the end of a group and its answer
        ctx.set(idle, 1)
        while True:
            _, _, valid, row, done = await ctx.tick().sample(
                self.dut.o_logits.valid, self.dut.o_logits.payload, self.dut.feed.lm_head_done)
            answers = [(end - 1, answer - 1) for end, answer in answers]
            ctx.set(idle, ctx.get(idle) or any(end == 0 for end, _ in answers))
            self.writes(ctx, -sum(answer == 0 for _, answer in answers))
            if valid:
                self.seen.rows.append((int(row.column), int(row.address)))
                if self.config.shortlist:
                    self.seen.scales.append(int(row.scale))
                self.writes(ctx, ctx.get(idle))
                ctx.set(idle, 0)
            if done and not ctx.get(idle):
                end = 1 + self.clocks()
                answers.append((end, end + 6 + self.clocks()))

    async def write(self, ctx: Any) -> None:
        self.writes(ctx, 0)
        size = self.config.beat_bytes
        while True:
            request = await self.take(ctx, self.dut.o_request)
            self.writes(ctx, 1)
            assert int(request.beats) == 1
            assert int(request.address) % size == 0
            beat = await self.take(ctx, self.dut.o_write)
            strobe, content = int(beat.strobe), bytes(int(b) for b in beat.data)
            lanes = [lane for lane in range(size) if strobe >> lane & 1]
            assert lanes == list(range(lanes[0], lanes[0] + 4))
            token = int.from_bytes(content[lanes[0] : lanes[0] + 4], "little")
            self.seen.written[int(request.address) + lanes[0]] = token
            self.seen.tokens.append(token)
            await self.pause(ctx, least=2)
            self.answered += 1
            self.writes(ctx, -1)

    async def watch(self, ctx: Any) -> None:
        """A token counts in the clock after its write was answered, not before, and is then the last one."""
        dut = self.dut
        while True:
            _, _, busy, count, last = await ctx.tick().sample(dut.busy, dut.token_count, dut.last_token)
            assert not busy or count <= self.answered
            if busy and count:
                assert last == self.seen.tokens[count - 1]


def play(
    config: AccelConfig, runs: list[Run], stall: float, seed: int, restarts: float, simulator: str
) -> list[Seen]:
    """Runs jobs one after the other; what was seen of each. `restarts`: how often START is written while busy."""
    dut = Loop(config)
    around = Surroundings(dut, config, stall, seed)
    results = []

    async def bench(ctx: Any) -> None:
        choose = random.Random(f"restarts {seed}")
        for run in runs:
            around.run, around.seen, around.answered, around.executed = run, Seen(), 0, 0
            for name, value in run.registers().items():
                ctx.set(getattr(dut.job, name), value)
            if config.shortlist:
                ctx.set(dut.job.logit_scale, run.logit_scale)
                ctx.set(dut.job.head_again, run.again)
            if config.candidates:
                for name, value in (("guard", run.guard), ("high_offset", 0xA000), ("high_beats", 77)):
                    ctx.set(getattr(dut.job, name), value)
            for n, value in enumerate((*run.end_ids, *run.unused_end_ids)):
                ctx.set(getattr(dut.job, f"end_id_{n}"), value)
            await ctx.tick()
            assert not ctx.get(dut.busy)
            await around.pulse(ctx, dut.start)
            for _ in range(LIMIT):
                ctx.set(dut.start, ctx.get(dut.busy) and choose.random() < restarts)
                if ctx.get(dut.done):
                    break
                assert ctx.get(dut.busy)
                await ctx.tick()
            assert ctx.get(dut.done)
            assert not around.unanswered
            ctx.set(dut.start, 0)
            around.seen.error = ctx.get(dut.error).value
            assert ctx.get(dut.token_count) == len(around.seen.tokens)
            assert ctx.get(dut.last_token) == (around.seen.tokens or [0])[-1]
            for _ in range(30):  # nothing more is asked for
                assert ctx.get(dut.done)
                assert not ctx.get(dut.busy)
                await ctx.tick()
            results.append(around.seen)

    parts = (around.gather, around.stream, around.executor, around.logits, around.write, around.watch)
    simulate(dut, bench, background=parts, simulator=simulator)
    return results


def check(
    *runs: Run, config: AccelConfig = NARROW, stall: float = 0.0, seed: int = 0, restarts: float = 0.0,
    simulator: str = "pysim",
) -> None:
    kept = range(0)
    for run, seen in zip(runs, play(config, list(runs), stall, seed, restarts, simulator), strict=True):
        wanted = expected(run, config, kept)
        seen.kept = kept = wanted.kept
        assert seen == wanted


def prompt(length: int) -> tuple[int, ...]:
    return tuple(300 + 11 * n for n in range(length))


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7])
def test_prompt_lengths(length: int, mode: int) -> None:
    """Shorter than a chunk of three, as long, longer; whole chunks and a rest."""
    check(Run(prompt=prompt(length), logits_mode=mode))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("word", [0, 1, 15])
def test_addresses_inside_a_beat(word: int, name: str) -> None:
    """Prompt and tokens are aligned to words, not to beats."""
    address = 0x8000 + 4 * word
    check(Run(prompt=prompt(19), chunk=1, prompt_address=address, tokens_address=0x90000 + 4 * word, max_new_tokens=18),
          config=CONFIGS[name])


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_new_tokens(count: int, mode: int) -> None:
    """0 scores the prompt: a head only for mode ALL. The last token is not fed."""
    check(Run(prompt=prompt(5), max_new_tokens=count, logits_mode=mode))


@pytest.mark.parametrize("place", range(4))
def test_each_end_id(place: int) -> None:
    run = Run(prompt=prompt(4), max_new_tokens=20)
    ids = [1, 2, 3, 4]
    ids[place] = run.choice(5)
    run = replace(run, end_ids=tuple(ids))
    assert len(expected(run, NARROW).tokens) == 3
    check(run)


def test_end_id_of_the_first_token() -> None:
    run = Run(prompt=prompt(4), max_new_tokens=20)
    check(replace(run, end_ids=(run.choice(3),)))


@pytest.mark.parametrize("used", range(4))
def test_end_ids_above_the_count_are_ignored(used: int) -> None:
    run = Run(prompt=prompt(4), max_new_tokens=4)
    run = replace(run, end_ids=(1, 2, 3)[:used], unused_end_ids=(run.choice(4),) * (4 - used))
    assert len(expected(run, NARROW).tokens) == 4
    check(run)


def test_end_ids_in_the_prompt_and_in_other_logits_do_not_end() -> None:
    run = Run(prompt=prompt(5), max_new_tokens=3, logits_mode=2)
    check(replace(run, end_ids=(run.prompt[-1], run.choice(2))))


@pytest.mark.parametrize("new", [0, 1, 50])
@pytest.mark.parametrize("room", [0, 1, 3])
def test_context_is_filled_exactly(room: int, new: int) -> None:
    """With the prompt alone one token can still be chosen; after that each fed token takes a position."""
    run = Run(prompt=prompt(7), context=7 + room, max_new_tokens=new)
    assert len(expected(run, NARROW).tokens) == min(new, room + 1)
    check(run)


def test_start_position_counts() -> None:
    check(Run(prompt=prompt(2), start_position=90, context=93, max_new_tokens=9))
    check(Run(prompt=prompt(2), start_position=92, context=93, max_new_tokens=9))


def test_largest_context() -> None:
    most = NARROW.max_positions
    check(Run(prompt=prompt(2), start_position=most - 3, context=most, max_new_tokens=9))


GOOD = Run(prompt=prompt(4), max_new_tokens=2, logits_mode=2)
BAD = {
    "no columns": {"chunk": 0},
    "more columns than there are": {"chunk": 4},
    "largest chunk": {"chunk": 127},
    "empty prompt": {"prompt": ()},
    "context larger than the machine's": {"context": NARROW.max_positions + 1},
    "unknown logits mode": {"logits_mode": 3},
    "slot too large": {"slot": 64},
    "highest slot bit": {"slot": 0x8000},
    "rows of no beats": {"logits_beats": 0},
    "prompt beyond the context": {"context": 3},
    "position beyond the context": {"start_position": 97},
    "position that wraps around": {"start_position": 0xFFFF_FFFF},
    "no context": {"context": 0},
    "token beyond the vocabulary": {"vocabulary": 311},
    "token of 32 bits": {"prompt": (1 << 24 | 5, 6)},
    "no vocabulary": {"vocabulary": 0},
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_run_touches_nothing(name: str) -> None:
    """It is refused, and the next job runs."""
    bad = replace(GOOD, **BAD[name])
    refused = expected(bad, NARROW)
    assert refused.error
    assert not refused.streams
    check(bad, GOOD, bad)


@pytest.mark.parametrize("place", [3, 5, 6])
def test_a_bad_token_ends_the_run_before_it_is_fed(place: int) -> None:
    """The chunks before it have run, and no token was chosen; what the model chooses is not looked at."""
    tokens = list(prompt(7))
    tokens[place] = 2000
    bad = Run(prompt=tuple(tokens), logits_mode=2)
    assert expected(bad, NARROW).error == ErrorCode.BAD_TOKEN.value
    assert len(expected(bad, NARROW).passes) == place // 3
    check(bad, GOOD)
    tokens[place] = 999
    check(Run(prompt=tuple(tokens), vocabulary=1000))


def test_limits_that_can_run() -> None:
    check(replace(GOOD, slot=63), replace(GOOD, context=256), replace(GOOD, chunk=1),
          replace(GOOD, logits_mode=0, logits_beats=0), replace(GOOD, logits_beats=(1 << 24) - 1))


def test_jobs_after_one_another() -> None:
    """Nothing is left of the job before: counts, addresses, error."""
    check(GOOD, replace(GOOD, prompt=prompt(1), logits_mode=0, start_position=9), replace(GOOD, max_new_tokens=0), GOOD)


# ---- batches
ENTRIES = ((700, 17, 3), (701, 0, 63), (702, 40, 0))
BATCH = Run(batch=True, entries=ENTRIES, chunk=99, slot=0xFFFF, start_position=0xFFFF_FFFF)
"""What a batch does not use holds what could not run."""


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_batch(count: int, mode: int) -> None:
    """Every column has its own token, position and slot, passes the head, and goes on with what it chose."""
    run = replace(BATCH, entries=ENTRIES[:count], logits_mode=mode)
    assert len(expected(run, NARROW).tokens) == 3 * count
    check(run)


@pytest.mark.parametrize("mode", [0, 2])
def test_a_batch_that_chooses_nothing(mode: int) -> None:
    check(replace(BATCH, max_new_tokens=0, logits_mode=mode))


@pytest.mark.parametrize("column", range(3))
def test_an_end_id_ends_a_batch_with_its_pass(column: int) -> None:
    _, position, slot = ENTRIES[column]
    run = replace(BATCH, max_new_tokens=9)
    run = replace(run, end_ids=(run.choice(position + 1, slot),))
    assert len(expected(run, NARROW).tokens) == 6
    check(run)


@pytest.mark.parametrize("column", range(3))
def test_a_full_context_ends_a_batch_with_its_pass(column: int) -> None:
    entries = [(700 + n, 5 * n, 3 * n) for n in range(3)]
    entries[column] = (710, NARROW.max_positions - 2, 50)
    run = replace(BATCH, max_new_tokens=9, entries=tuple(entries), context=NARROW.max_positions)
    assert len(expected(run, NARROW).tokens) == 6
    check(run)


BAD_BATCH = {
    "no sequence": {"entries": ()},
    "more sequences than columns": {"entries": (*ENTRIES, (703, 1, 1))},
    "slot too large": {"entries": (*ENTRIES[:2], (702, 40, 64))},
    "highest slot bit": {"entries": ((700, 17, 1 << 31), *ENTRIES[1:])},
    "position beyond the context": {"entries": (*ENTRIES[:1], (701, 100, 63))},
    "position that wraps around": {"entries": ((700, 0xFFFF_FFFF, 3),)},
    "position with a high bit": {"entries": ((700, 1 << 12, 3),)},
    "unknown logits mode": {"logits_mode": 3},
    "context larger than the machine's": {"context": NARROW.max_positions + 1},
    "token beyond the vocabulary": {"vocabulary": 702},
    "token of 32 bits": {"entries": ((1 << 31 | 7, 17, 3), *ENTRIES[1:])},
}


@pytest.mark.parametrize("name", BAD_BATCH)
def test_a_batch_that_cannot_run(name: str) -> None:
    """Nothing but its entries is touched, and the next run is as ever."""
    bad = replace(BATCH, **BAD_BATCH[name])
    refused = expected(bad, NARROW)
    assert refused.error
    assert not refused.streams
    check(bad, BATCH, bad, GOOD)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("word", [0, 1, 2, 3, 15])
def test_entries_anywhere_in_a_beat(word: int, name: str) -> None:
    config = CONFIGS[name]
    check(replace(BATCH, entries=ENTRIES[: config.columns], prompt_address=0x8000 + 4 * word), config=config)


# ---- shortlists, and the head once more
AGAIN = Run(again=True, max_new_tokens=0, logits_mode=1, chunk=99, slot=0xFFFF)


@pytest.mark.parametrize("name", LISTS)
def test_shortlists(name: str) -> None:
    """Mode BEST announces what mode LAST does, with the scale of each column: of a job, of each entry of a batch."""
    config = LISTS[name]
    batch = replace(BATCH, entries=ENTRIES[: config.columns], logits_mode=3)
    check(Run(prompt=prompt(5), logits_mode=3, chunk=1), batch, replace(batch, prompt_address=0x8004), config=config)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("length", range(1, 6))
def test_head_again(length: int, name: str) -> None:
    """After a job the column that chose; after a batch all its columns; as often as wanted."""
    config = LISTS[name]
    job = Run(prompt=prompt(length), chunk=min(5, config.columns), max_new_tokens=1, logits_mode=3)
    batch = replace(BATCH, entries=ENTRIES[: min(length, 3, config.columns)], logits_mode=3, max_new_tokens=1)
    check(job, AGAIN, AGAIN, batch, AGAIN, replace(job, max_new_tokens=2), AGAIN, replace(AGAIN, logits_address=0xB000),
          config=config, stall=0.3 * (length % 2), seed=length)


@pytest.mark.parametrize("most", [0, 1])
def test_head_again_of_nothing(most: int) -> None:
    """Refused: at first, after a run that chose nothing, with tokens to choose, for rows of no beats. The run before
    can still be asked for, also after one that could not run."""
    scored = replace(GOOD, max_new_tokens=0)
    bad = (replace(AGAIN, max_new_tokens=1), replace(AGAIN, logits_beats=0), replace(GOOD, chunk=99))
    check(AGAIN, GOOD, *bad, AGAIN, scored, AGAIN, replace(GOOD, max_new_tokens=most), AGAIN, config=LISTS["narrow"])


@pytest.mark.parametrize("seed", range(4))
def test_lists_and_heads_with_stalls(seed: int) -> None:
    config, choose = LISTS["groups of two columns"], random.Random(seed)
    entries = tuple((700 + n, 17 * n % 50, 3 * n) for n in range(5))
    kinds = (AGAIN, replace(BATCH, entries=entries[: 1 + seed], logits_mode=3), replace(GOOD, logits_mode=3, chunk=5),
             replace(BATCH, entries=entries, logits_mode=2), GOOD)
    check(*choose.choices(kinds, k=9), config=config, stall=0.4, seed=seed, restarts=0.2,
          simulator=("pysim", "verilator")[seed % 2])


# ---- groups of columns that share the LM head
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("length", range(1, 8))
def test_groups_of_a_prompt(length: int, mode: int) -> None:
    """Five columns, of which two share the head: mode ALL takes up to three groups, the last one smaller; otherwise the
    last column alone."""
    run = Run(prompt=prompt(length), chunk=5, logits_mode=mode)
    check(run, config=GROUPS, stall=0.3 * (length % 2), seed=length)
    heads = expected(run, GROUPS).heads
    if mode == 2 and length >= 5:
        assert heads[:3] == [(0, 2), (2, 2), (4, 1)]
    if mode < 2:
        assert heads == [((length - 1) % 5, 1), (0, 1), (0, 1)]


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("count", range(1, 6))
def test_groups_of_a_batch(count: int, mode: int) -> None:
    """Each column goes on with the best row of its own."""
    entries = tuple((700 + n, 17 * n % 50, 3 * n) for n in range(count))
    check(replace(BATCH, entries=entries, logits_mode=mode), config=GROUPS, stall=0.3 * (count % 2), seed=count)


def test_a_group_of_all_columns() -> None:
    """As many rows of the dot products as columns, or more: one group."""
    run = Run(prompt=prompt(3), logits_mode=2)
    for query_rows in (3, 4):
        config = NARROW.replace(query_rows=query_rows)
        check(run, config=config)
        assert expected(run, config).heads[0] == (0, 3)


def test_batches_and_jobs_after_one_another() -> None:
    check(GOOD, BATCH, GOOD, replace(BATCH, entries=ENTRIES[1:]), BATCH, replace(GOOD, prompt=prompt(1)))


def test_verilated() -> None:
    """Prompts around a chunk, an end id, a full context, all that is refused, and jobs and batches with stalls."""
    verilated = partial(check, simulator="verilator")
    for mode, length in ((0, 1), (1, 3), (2, 7)):
        verilated(Run(prompt=prompt(length), logits_mode=mode))
    run = Run(prompt=prompt(4), max_new_tokens=20)
    verilated(replace(run, end_ids=(1, run.choice(5))), replace(run, context=6), replace(run, max_new_tokens=0))
    for bad in BAD.values():
        verilated(replace(GOOD, **bad), GOOD)
    for bad in BAD_BATCH.values():
        verilated(replace(BATCH, **bad), BATCH)
    batches = [replace(BATCH, entries=ENTRIES[:count], logits_mode=count - 1) for count in (1, 2, 3)]
    verilated(GOOD, replace(GOOD, prompt=prompt(1), start_position=9), *batches, stall=0.4, seed=1, restarts=0.3)
    entries = tuple((700 + n, 17 * n % 50, 3 * n) for n in range(5))
    verilated(Run(prompt=prompt(7), chunk=5, logits_mode=2), *(replace(BATCH, entries=entries[:n]) for n in (3, 5)),
              config=GROUPS, stall=0.4)


@pytest.mark.parametrize("seed", range(3))
def test_start_while_busy_is_ignored(seed: int) -> None:
    check(GOOD, GOOD, stall=0.3, seed=seed, restarts=0.3)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(6))
def test_random_jobs_and_stalls(seed: int, name: str) -> None:
    config, choose = CONFIGS[name], random.Random(seed)
    runs = []
    for _ in range(6):
        length, start = choose.randint(1, 8), choose.choice((0, 3))
        run = Run(
            prompt=tuple(choose.randrange(1 << 13) for _ in range(length)), max_new_tokens=choose.randint(0, 5),
            chunk=choose.randint(1, config.columns), start_position=start, slot=choose.randrange(64),
            context=start + length + choose.randint(0, 6), logits_mode=choose.randrange(3),
            logits_beats=choose.randint(1, 9), prompt_address=4 * choose.randrange(1 << 12),
            tokens_address=4 * choose.randrange(1 << 20, 1 << 21), vocabulary=choose.choice((1 << 13, 7500)),
        )
        if choose.random() < 0.4:
            run = replace(run, batch=True, entries=tuple(
                (choose.randrange(1 << 13), choose.randrange(run.context), choose.randrange(64))
                for _ in range(choose.randint(1, config.columns))))
        runs.append(replace(run, end_ids=tuple(run.choice(choose.randrange(20)) for _ in range(choose.randrange(5)))))
    check(*runs, config=config, stall=choose.choice((0.0, 0.3, 0.6)), seed=seed)


# ---- the high plane


@pytest.mark.parametrize("guard", [0, 1, 0xFFFF])
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("name", SPLIT)
def test_the_high_plane(name: str, mode: int, guard: int) -> None:
    """Where one column chooses and no row is kept, it comes in the place of the head, which follows where it fails."""
    config = SPLIT[name]
    entries = [(300 + n, 10 + n, n) for n in range(config.columns)]
    check(*(Run(prompt=prompt(length), chunk=config.columns, guard=guard, logits_mode=mode, max_new_tokens=5)
            for length in (1, 4)),
          *(Run(batch=True, entries=tuple(entries[:count]), guard=guard, logits_mode=mode, max_new_tokens=4)
            for count in (1, config.columns)),
          Run(prompt=prompt(2), chunk=1, guard=guard, logits_mode=mode, max_new_tokens=0),
          config=config)


@pytest.mark.parametrize("failing", [1, 2, 1000])
def test_high_planes_that_fail(failing: int) -> None:
    """Always, in turns, never; then a run without one."""
    runs = [Run(prompt=prompt(5), guard=guard, max_new_tokens=9, failing=failing, chunk=2) for guard in (9, 0, 9)]
    check(*runs, config=SPLIT["narrow"], stall=0.3, seed=failing, restarts=0.1)


def test_the_head_again_behind_a_high_plane() -> None:
    config = SPLIT["narrow"].replace(shortlist=64)
    runs = [Run(prompt=prompt(3), guard=7, max_new_tokens=1), Run(again=True, guard=7, max_new_tokens=0, logits_mode=1)]
    check(*runs, config=config)
