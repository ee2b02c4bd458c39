"""The executor between stand-ins for all units: what it starts for each command, in which order, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from hw.contract.config import AccelConfig
from hw.contract.isa import LAYOUTS, Flags, Opcode
from hw.contract.machine_float import FLOAT_BITS
from hw.control.executor import Executor
from sim.golden.number import decode, encode, exponent, rnd
from tests.hw.simulation import simulate

SIZES = {"max_hidden": 64, "max_intermediate": 128, "max_positions": 256}
CONFIGS = {
    "one": AccelConfig(name="one", vector=1, columns=1, **SIZES),
    "three": AccelConfig(name="three", vector=2, columns=3, **SIZES),
    "wide": AccelConfig(name="wide", port_bits=512, rows=16, vector=4, columns=2, kv_bits=16, **SIZES),
}
THREE = CONFIGS["three"]
TABLES = {"image_base": 0x1_2345_0000, "embed_offset": 0x4000, "embed_stride": 128, "rope_offset": 0x9000,
          "rope_stride": 64}
PATIENCE = 3000
Event = tuple[Any, ...]


@dataclass(frozen=True)
class Command:
    """A header and what the token loop shows to the executor while it runs."""

    opcode: Opcode
    flags: Flags | None = None
    head_column: int = 0
    head_columns: int = 1
    fields: tuple[tuple[str, int], ...] = ()

    def __getattr__(self, name: str) -> int:
        return dict(self.fields).get(name, 0)

    def has(self, flag: Flags) -> bool:
        return bool(self.flags and self.flags & flag)

    def header(self) -> dict[str, int]:
        return {"opcode": self.opcode.value, "flags": self.flags.value if self.flags else 0, **dict(self.fields)}


def command(
    opcode: Opcode, flags: Flags | None = None, head_column: int = 0, head_columns: int = 1, **fields: int
) -> Command:
    return Command(opcode, flags, head_column, head_columns, tuple(fields.items()))


class Expected:
    """What docs/isa.md asks for, command by command; keeps what a later command uses."""

    def __init__(
        self, config: AccelConfig, columns: int, tokens: list[int], positions: list[int], zeros: float, seed: int
    ) -> None:
        self.config, self.columns, self.tokens, self.positions = config, columns, tokens, positions
        self.zeros, self.random = zeros, random.Random(f"numbers {seed}")
        self.rstd, self.absmax, self.act_scale = ([0] * columns for _ in range(3))

    def number(self) -> int:
        """A machine float."""
        return product(self.random.uniform(-8, 8), 1) if self.random.random() >= self.zeros else 0

    def statistics(self, column: int) -> dict[str, int]:
        return {"column": column, "square_sum": self.number(), "absmax": abs_code(self.number())}

    def scale(self) -> dict[str, int]:
        return {name: abs_code(self.number()) for name in ("rstd", "top", "inverse", "act_scale")}

    def word(self, elements: int) -> int:
        return -(-elements // self.config.vector)

    def quantize_word(self, elements: int) -> int:
        return -(-elements // self.config.quantize_lanes)

    def destination(self, base: int, words: int, last_index: int) -> Event:
        return ("write", base, words, last_index + 1)

    def of(self, c: Command, answers: dict[str, list[Any]]) -> Iterator[Event]:
        """Events of a command; `answers` collects what the units are to answer."""
        config = self.config
        work = config.residual_elements // config.vector
        if c.has(Flags.STATISTICS):
            yield ("clear statistics",)
        match c.opcode:
            case Opcode.END:
                yield ("ended",)
            case Opcode.LOAD_NORM:
                yield ("load norm", c.elements)
            case Opcode.EMBED:
                for n in range(self.columns):
                    for kind, unit, index, words in (
                        ("embed", "embed", self.tokens[n], self.word(c.hidden)),
                        ("rope", "rope", self.positions[n], c.head_dim // 2 // config.vector),
                    ):
                        base, stride = TABLES["image_base"] + TABLES[f"{kind}_offset"], TABLES[f"{kind}_stride"]
                        yield ("row", base, stride, index)
                        yield (unit, n, words)
                        yield ("gather", base + stride * index, stride // config.beat_bytes)
                        yield ("beats", kind)
                yield self.destination(0, self.word(c.hidden), self.word(c.hidden) - 1)
            case Opcode.QUANTIZE:
                for n in range(self.columns):
                    statistics, result = self.statistics(n), self.scale()
                    answers["statistics"].append(statistics)
                    answers["scale"].append(result)
                    self.rstd[n], self.absmax[n] = result["rstd"], statistics["absmax"]
                    self.act_scale[n] = result["act_scale"]
                    yield ("finish", n)
                    yield ("scale", statistics["square_sum"], statistics["absmax"],
                           c.per_n >> 32 - FLOAT_BITS, c.eps >> 32 - FLOAT_BITS)
                    if not c.has(Flags.LM_HEAD):
                        yield ("quantize", n, work if c.has(Flags.WORK) else 0,
                               self.quantize_word(c.elements), result["top"], result["inverse"])
            case Opcode.MATMUL:
                for n in range(self.columns):
                    yield ("factor", n, product(decode(self.act_scale[n]), decode(c.weight_scale >> 32 - FLOAT_BITS)))
                yield ("array", c.block_beats, c.row_blocks, self.columns)
                base = 0 if c.has(Flags.RESIDUAL) else work + c.destination // config.vector
                yield self.destination(base, self.word(c.out_features), c.row_blocks * config.rows // config.vector - 1)
            case Opcode.ATTEND:
                yield ("attend", {
                    "group": c.group, "kv_heads": c.kv_heads, "half_words": c.head_dim // 2 // config.vector,
                    "q_base": work, "k_base": work + c.k_offset // config.vector,
                    "v_base": work + c.v_offset // config.vector,
                    "softmax_scale": c.softmax_scale >> 32 - FLOAT_BITS, "head_stride": c.kv_head_stride,
                    "layer": c.layer_offset,
                }, work)
            case Opcode.LM_HEAD:
                yield from self.head(c)

    def head(self, c: Command) -> Iterator[Event]:
        """The codes and the scale of each column of the group, then the rows."""
        for n in range(c.head_columns):
            column = c.head_column + n
            e = int(exponent(decode(self.absmax[column])).item())
            yield ("quantize head", column, n, 0, self.quantize_word(c.hidden), 14 - e)
            yield ("head scale", n, product(decode(self.rstd[column]), 2.0 ** (e - 14)))
        yield ("head", c.head_columns, -(-c.hidden // self.config.beat_bytes), c.vocabulary)
        yield ("head done",)


def product(a: Any, b: Any) -> int:
    return int(encode(rnd(a * b)).item())


def abs_code(code: int) -> int:
    return code & (1 << FLOAT_BITS - 1) - 1


class Units:
    """Stand-ins: each takes what it is given after a random time, and reports after another."""

    def __init__(self, dut: Executor, answers: dict[str, list[Any]], columns: int, stall: float, seed: int) -> None:
        self.dut, self.config, self.stall = dut, dut.config, stall
        self.answers, self.columns = answers, columns
        self.random = random.Random(f"units {seed}")
        self.events: list[Event] = []
        self.todo_words: list[int] = []  # words of each column that are on their way to the scratchpad
        self.columns_written = 0
        self.requested_rows, self.awaited_rows = 0, []  # rows on their way, and the units that wait for one

    async def pause(self, ctx: Any, least: int = 1) -> None:
        for _ in range(least):
            await ctx.tick()
        while self.random.random() < self.stall:
            await ctx.tick()

    async def take(self, ctx: Any, port: Any) -> Any:
        kept = None
        while True:
            ready = self.random.random() >= self.stall
            ctx.set(port.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            bits = payload.as_bits() if hasattr(payload, "as_bits") else payload
            assert kept is None or (valid and bits == kept), "an offer changed before it was taken"
            kept = bits if valid else None
            if valid and ready:
                ctx.set(port.ready, 0)
                return payload

    async def give(self, ctx: Any, port: Any, payload: Any) -> None:
        await self.pause(ctx)
        ctx.set(port.payload, payload)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def pulse(self, ctx: Any, signal: Any) -> None:
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    def log(self, ctx: Any, *event: Any) -> None:
        self.events.append(event)

    # ---- pulses of the executor
    async def watch(self, ctx: Any) -> None:
        dut = self.dut
        vector, feed = dut.vector, dut.feed
        signals = (vector.clear_statistics, vector.norm_start, vector.norm_count, vector.factor_en, vector.factor,
                   feed.ended, feed.lm_head_done, vector.busy, dut.head_scale_en, dut.head_scale)
        while True:
            _, _, clear, norm, count, en, factor, ended, head_done, busy, scale_en, scale = (
                await ctx.tick().sample(*signals))
            assert busy or not (clear or norm or en or ended or head_done or scale_en)
            if clear:
                self.log(ctx, "clear statistics")
            if norm:
                self.log(ctx, "load norm", count)
            if en:
                self.log(ctx, "factor", int(factor.column), int(factor.factor))
            if ended:
                self.log(ctx, "ended")
            if scale_en:
                self.log(ctx, "head scale", int(scale.column), int(scale.hs))
            if head_done:
                self.log(ctx, "head done")

    # ---- units with one command
    async def norm(self, ctx: Any) -> None:
        while True:
            await ctx.tick().until(self.dut.vector.norm_start)
            await self.pause(ctx)
            await self.pulse(ctx, self.dut.vector.norm_done)

    async def row_address(self, ctx: Any) -> None:
        while True:
            query = await self.take(ctx, self.dut.o_row)
            base, stride, index = (int(query[name]) for name in ("base", "stride", "index"))
            self.log(ctx, "row", base, stride, index)
            await self.give(ctx, self.dut.i_address, base + stride * index)

    async def embedding(self, ctx: Any) -> None:
        while True:
            taken = await self.take(ctx, self.dut.vector.embed)
            self.log(ctx, "embed", int(taken.column), int(taken.words))
            self.awaited_rows.append("embed")
            self.todo_words.append(int(taken.words))

    async def rope(self, ctx: Any) -> None:
        while True:
            taken = await self.take(ctx, self.dut.o_rope)
            self.log(ctx, "rope", int(taken.column), int(taken.words))
            self.awaited_rows.append("rope")

    async def gather(self, ctx: Any) -> None:
        while True:
            taken = await self.take(ctx, self.dut.o_gather)
            self.log(ctx, "gather", int(taken.address), int(taken.beats))
            self.requested_rows += 1

    async def row(self, ctx: Any) -> None:
        """Rows come in the order of their requests, each when its unit waits for it."""
        while True:
            while not (self.requested_rows and self.awaited_rows):
                await ctx.tick()
            await self.pause(ctx)
            kind = self.awaited_rows.pop(0)
            self.requested_rows -= 1
            assert (kind == "rope") == bool(ctx.get(self.dut.rope_gather))
            self.log(ctx, "beats", kind)
            await self.pulse(ctx, self.dut.gather_last)

    async def scratchpad(self, ctx: Any) -> None:
        """Words of every column arrive one after the other; the last word of the last column ends the vector."""
        dut = self.dut
        while True:
            while not self.todo_words:
                await ctx.tick()
            words = self.todo_words.pop(0)
            for index in range(words):
                await self.pause(ctx)
                ctx.set(dut.vector.word_index, index)
                await self.pulse(ctx, dut.vector.word_taken)
                ctx.set(dut.vector.word_index, (1 << self.config.word_bits) - 1)
            self.columns_written += 1
            if self.columns_written == self.columns:
                self.columns_written = 0
                self.log(ctx, "write", ctx.get(dut.vector.base), ctx.get(dut.vector.words), words)

    async def statistics(self, ctx: Any) -> None:
        while True:
            self.log(ctx, "finish", int(await self.take(ctx, self.dut.vector.finish)))
            await self.give(ctx, self.dut.vector.statistics, self.answers["statistics"].pop(0))

    async def scale(self, ctx: Any) -> None:
        while True:
            taken = await self.take(ctx, self.dut.vector.scale)
            self.log(ctx, "scale", *(int(taken[name]) for name in ("square_sum", "absmax", "per_n", "eps")))
            await self.give(ctx, self.dut.vector.scaled, self.answers["scale"].pop(0))

    async def quantize(self, ctx: Any) -> None:
        dut = self.dut
        while True:
            taken = await self.take(ctx, dut.vector.quantize)
            column, base, words = int(taken.column), int(taken.base), int(taken.words)
            if taken.lm_head:
                row = ctx.get(dut.vector.head_column)
                self.log(ctx, "quantize head", column, row, base, words, int(taken.shift))
            else:
                self.log(ctx, "quantize", column, base, words, int(taken.top), int(taken.inverse))
            await self.pause(ctx)
            assert not taken.lm_head or ctx.get(dut.vector.head_column) == row, "the codes are still under way"
            await self.pulse(ctx, dut.vector.codes_done)
            if not taken.lm_head:
                await self.pause(ctx)
                await self.pulse(ctx, dut.vector.packed)

    async def array(self, ctx: Any) -> None:
        while True:
            taken = await self.take(ctx, self.dut.vector.array)
            self.log(ctx, "array", int(taken.words), int(taken.blocks), int(taken.columns))
            words = int(taken.blocks) * self.config.rows // self.config.vector
            self.todo_words += [words] * int(taken.columns)

    async def attention(self, ctx: Any) -> None:
        while True:
            taken = await self.take(ctx, self.dut.o_attend)
            fields = {name: int(taken[name]) for name, _ in taken.shape()}
            self.log(ctx, "attend", fields, ctx.get(self.dut.vector.base))
            for index in range(self.random.randint(1, 9)):  # words that have no say in when it ends
                ctx.set(self.dut.vector.word_index, index)
                await self.pulse(ctx, self.dut.vector.word_taken)
            await self.pause(ctx)
            await self.pulse(ctx, self.dut.attend_done)

    async def head(self, ctx: Any) -> None:
        while True:
            taken = await self.take(ctx, self.dut.o_lm_head)
            self.log(ctx, "head", int(taken.columns), int(taken.row_beats), int(taken.m))
            await self.pause(ctx)
            await self.pulse(ctx, self.dut.bests_done)

    def all(self) -> list[Any]:
        return [self.watch, self.norm, self.row_address, self.embedding, self.rope, self.gather, self.row,
                self.scratchpad, self.statistics, self.scale, self.quantize, self.array, self.attention, self.head]


def check(
    config: AccelConfig, commands: list[Command], columns: int, stall: float = 0.0, seed: int = 0, zeros: float = 0.1,
    simulator: str = "pysim",
) -> None:
    """The commands are executed one after the other, as expected and no more. `zeros`: part of numbers that is 0."""
    choose = random.Random(f"columns {seed}")
    tokens = [choose.getrandbits(24) for _ in range(columns)]
    positions = [choose.randrange(config.max_positions) for _ in range(columns)]
    model = Expected(config, columns, tokens, positions, zeros, seed)
    answers: dict[str, list[Any]] = {"statistics": [], "scale": []}
    expected = [[("header", c.opcode.name), *model.of(c, answers)] for c in commands]
    dut = Executor(config)
    units = Units(dut, answers, columns, stall, seed)
    spans: list[list[Event]] = []

    async def bench(ctx: Any) -> None:
        for name, value in TABLES.items():
            ctx.set(getattr(dut.job, name), value)
        ctx.set(dut.feed.columns, columns)
        for n in range(columns):
            ctx.set(dut.feed.tokens[n], tokens[n])
            ctx.set(dut.feed.descriptors[n].position, positions[n])
        for c in commands:
            ctx.set(dut.feed.head_column, c.head_column)
            ctx.set(dut.feed.head_columns, c.head_columns)
            while choose.random() < stall:
                await ctx.tick()
            ctx.set(dut.i_header.payload.as_value(), LAYOUTS[c.opcode].const(c.header()).as_bits())
            ctx.set(dut.i_header.valid, 1)
            await ctx.tick().until(dut.i_header.ready)
            units.events = [("header", c.opcode.name)]
            spans.append(units.events)
            ctx.set(dut.i_header.payload.as_value(), 0xFF)
            ctx.set(dut.i_header.valid, choose.random() < 0.5)  # the next header may already wait
            for _ in range(PATIENCE):
                if not ctx.get(dut.vector.busy):
                    break
                assert ctx.get(dut.vector.opcode) == c.opcode.value
                assert ctx.get(dut.vector.flags) == (c.flags.value if c.flags else 0)
                assert not ctx.get(dut.i_header.ready)
                await ctx.tick()
            assert not ctx.get(dut.vector.busy), f"{c.opcode.name} does not end: {units.events}"
            ctx.set(dut.i_header.valid, 0)
        for _ in range(30):
            await ctx.tick()
            assert not ctx.get(dut.vector.busy)

    simulate(dut, bench, background=units.all(), simulator=simulator)
    assert [by_unit(span) for span in spans] == [by_unit(events) for events in expected]


def by_unit(events: list[Event]) -> list[Event] | dict[str, list[Event]]:
    """What EMBED and QUANTIZE start, by unit: a unit may be at another column than the next one. Others: in order."""
    if events[0] not in {("header", "EMBED"), ("header", "QUANTIZE")}:
        return events
    return {unit: [event for event in events if event[0] == unit] for unit in sorted({event[0] for event in events})}


def float_word(value: float) -> int:
    """float32 bits of a machine float."""
    return int(encode(rnd(value))) << 32 - FLOAT_BITS


def quantize(k: int, flags: Flags | None = None) -> Command:
    return command(Opcode.QUANTIZE, flags, elements=k, per_n=float_word(1 / k), eps=float_word(1e-5))


def matmul(config: AccelConfig, k: int, m: int, flags: Flags | None = None, offset: int = 0) -> Command:
    return command(Opcode.MATMUL, flags, in_features=k, out_features=m, payload_beats=1, weight_scale=float_word(0.37),
                   destination=offset, block_beats=-(-k // config.inputs), row_blocks=-(-m // config.rows))


def attend(config: AccelConfig, flags: Flags | None = None) -> Command:
    return command(Opcode.ATTEND, flags, head_dim=32, group=3, kv_heads=2, softmax_scale=float_word(0.25),
                   kv_head_stride=0x1_8000, k_offset=64, v_offset=96, layer_offset=0x12_3456_7000)


def head(k: int, m: int, column: int, columns: int = 1) -> Command:
    return command(Opcode.LM_HEAD, head_column=column, head_columns=columns, hidden=k, vocabulary=m, payload_beats=9)


def groups(columns: int, most: int, k: int, m: int) -> list[Command]:
    """The LM head for all columns, at most so many at a time."""
    return [head(k, m, n, min(most, columns - n)) for n in range(0, columns, most)]


END = command(Opcode.END)


@pytest.mark.parametrize("flags", [None, Flags.STATISTICS])
@pytest.mark.parametrize("name", CONFIGS)
def test_embed(name: str, flags: Flags | None) -> None:
    """An embedding row and a RoPE row for each column in use."""
    for columns in range(1, CONFIGS[name].columns + 1):
        check(CONFIGS[name], [command(Opcode.EMBED, flags, hidden=64, head_dim=32)], columns)


@pytest.mark.parametrize("name", CONFIGS)
def test_quantize(name: str) -> None:
    """From the residual stream, from the work area, and for the head, where only the scales are kept."""
    commands = [quantize(64), quantize(36, Flags.WORK), quantize(64, Flags.LM_HEAD)]
    check(CONFIGS[name], commands, CONFIGS[name].columns)


@pytest.mark.parametrize(
    "flags", [None, Flags.STATISTICS, Flags.RESIDUAL, Flags.GATED, Flags.RESIDUAL | Flags.STATISTICS]
)
@pytest.mark.parametrize("name", CONFIGS)
def test_matmul(name: str, flags: Flags | None) -> None:
    """Scaled by each column's last activation scale; rows that pad the last row block are waited for."""
    config = CONFIGS[name]
    check(config, [quantize(64), matmul(config, 64, 40, flags, offset=48)], config.columns)
    check(config, [quantize(20), matmul(config, 20, 3, flags)], 1)


@pytest.mark.parametrize("name", CONFIGS)
def test_attend(name: str) -> None:
    config = CONFIGS[name]
    check(config, [attend(config, Flags.STATISTICS), attend(config)], config.columns)


@pytest.mark.parametrize("name", CONFIGS)
def test_head(name: str) -> None:
    """Each column with its own scales, in any order, and again."""
    columns = CONFIGS[name].columns
    commands = [quantize(64, Flags.LM_HEAD), *(head(64, 50, n % columns) for n in (2, 0, 1, 1))]
    check(CONFIGS[name], commands, columns)


@pytest.mark.parametrize("name", CONFIGS)
def test_columns_that_share_the_head(name: str) -> None:
    """All at once, one after the other into a row of the dot products each; then in smaller groups, and the last one
    alone. Lengths that are no multiple of a beat."""
    config = CONFIGS[name]
    most = config.head_columns
    commands = [command for size in range(most, 0, -1) for command in groups(config.columns, size, 64 - size, 50)]
    check(config, [quantize(64, Flags.LM_HEAD), *commands, head(64, 1, config.columns - 1)], config.columns)


def test_load_norm_and_end() -> None:
    norms = [command(Opcode.LOAD_NORM, elements=k, payload_beats=1) for k in (THREE.max_k, 1)]
    check(THREE, [*norms, END, END], 2)


def test_a_vector_of_zeros() -> None:
    """absmax 0: the shift is the largest, and both scales vanish."""
    check(THREE, [quantize(64, Flags.LM_HEAD), head(64, 5, 0), quantize(64), matmul(THREE, 64, 4)], 1, zeros=1.0)


def layer(config: AccelConfig) -> list[Command]:
    """All commands of a pass of one layer, in the order of docs/isa.md."""
    norm = command(Opcode.LOAD_NORM, elements=64, payload_beats=16)
    wide = command(Opcode.LOAD_NORM, elements=96, payload_beats=24)
    return [
        norm, command(Opcode.EMBED, Flags.STATISTICS, hidden=64, head_dim=32), quantize(64), matmul(config, 64, 64),
        matmul(config, 64, 32, offset=64), matmul(config, 64, 32, offset=96), norm, attend(config, Flags.STATISTICS),
        quantize(64, Flags.WORK), norm, matmul(config, 64, 64, Flags.RESIDUAL | Flags.STATISTICS), quantize(64),
        matmul(config, 64, 96), wide, matmul(config, 64, 96, Flags.GATED | Flags.STATISTICS), quantize(96, Flags.WORK),
        norm, matmul(config, 96, 64, Flags.RESIDUAL | Flags.STATISTICS), quantize(64, Flags.LM_HEAD), END,
    ]


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_pass(name: str, stall: float) -> None:
    config = CONFIGS[name]
    columns = config.columns
    heads = groups(columns, config.head_columns, 64, 33)
    check(config, [*layer(config), *heads, *layer(config)], columns, stall, seed=7)


def test_verilated() -> None:
    """A pass without stalls, one with, zeros, and a pass of one column."""
    verilated = partial(check, simulator="verilator")
    commands = [*layer(THREE), *groups(3, 3, 64, 33), *groups(3, 2, 64, 33)]
    verilated(THREE, commands, 3)
    verilated(THREE, commands, 3, stall=0.4, seed=7)
    verilated(THREE, [*layer(THREE), head(64, 33, 0)], 1)
    verilated(THREE, [quantize(64, Flags.LM_HEAD), head(64, 5, 0), quantize(64), matmul(THREE, 64, 4)], 1, zeros=1.0)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_and_stalls(seed: int) -> None:
    """Commands know nothing of each other but for the scales they leave behind."""
    choose = random.Random(seed)
    config = CONFIGS[choose.choice(list(CONFIGS))]
    columns = choose.randint(1, config.columns)
    menu = [*layer(config), *(head(64, 20, n, size) for n in range(columns) for size in range(1, columns - n + 1))]
    commands = [quantize(64), *(choose.choice(menu) for _ in range(14))]
    check(config, commands, columns, choose.choice((0.0, 0.3, 0.6)), seed)
