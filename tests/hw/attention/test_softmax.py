"""BlockSoftmax equals the golden block step for passes of any shape; the numbers of its clocks are those it states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hw.attention.softmax import BlockSoftmax
from hw.contract.config import BLOCK_POSITIONS, AccelConfig, preset
from hw.dot.interfaces import score_sum_bits
from sim.golden.attention import softmax_block
from sim.golden.number import MAX_FLOAT, decode, encode, rnd
from tests.hw.simulation import simulate
from tests.hw.streams import Port

TINY = preset("tiny")
CONFIGS = {
    "row": TINY.replace(query_rows=1),
    "two_rows_kv16": TINY.replace(query_rows=2, kv_bits=16),
    "four_rows": TINY,
    "odd_rows": TINY.replace(query_rows=5),
    "two_lanes": preset("kv260"),
}
ANY_CODE = 1 << 25


@dataclass
class Block:
    """A block of a pass: sums [D, 64], scale codes [64], and how many positions of each row are valid."""

    sums: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    items: int
    valid: list[int]


@dataclass
class Pass:
    """Query scales [rows] and blocks."""

    scales: np.ndarray
    blocks: list[Block]


def block(config: AccelConfig, rng: np.random.Generator, sums: Any, keys: Any, values: Any, valid: list[int]) -> Block:
    """With what its valid positions hold, and anything in the others. Each of the rows has a number in `valid`."""
    top = 2 ** (score_sum_bits(config) - 1)
    places = max(valid)
    all_sums = rng.integers(-top, top, (config.query_rows, BLOCK_POSITIONS))
    all_keys, all_values = rng.integers(0, ANY_CODE, (2, BLOCK_POSITIONS))
    rows = np.broadcast_to(np.atleast_1d(sums)[..., :places], (len(valid), places))
    for row, count in enumerate(valid):
        all_sums[row, :count] = rows[row, :count]
    all_keys[:places], all_values[:places] = encode(rnd(keys))[:places], encode(rnd(values))[:places]
    whole = config.kv_elements
    return Block(all_sums, all_keys, all_values, max(1, -(-places // whole)) * whole, valid)


def expected(one: Pass) -> list[list[tuple[int, list[int], int, int | None]]]:
    """Per block and row: alpha, weights, exponent field, and 1/l after the last."""
    results: list[Any] = [[] for _ in one.blocks]
    for row, scale in enumerate(one.scales):
        maximum, total = np.zeros(1), np.zeros(1)
        for n, this in enumerate(one.blocks):
            count = this.valid[row]
            weights = np.zeros(this.items, dtype=int)
            alpha, field = np.ones(1), 0
            if count:
                keys, values = decode(this.keys[:count]), decode(this.values[:count])
                scores = rnd(rnd(this.sums[row, :count]) * rnd(scale * keys))
                alpha, codes, e, maximum, total = softmax_block(scores[None], values, maximum, total, n == 0)
                weights[:count], field = codes[0], int(e[0]) + 127
            inverse = int(encode(rnd(1 / total))[0]) if n == len(one.blocks) - 1 else None
            results[n].append((int(encode(alpha)[0]), weights.tolist(), field, inverse))
    return results


class Bench:
    """The memories around the unit: it loads what belongs to a job when its bank is free, and offers the job."""

    def __init__(self, config: AccelConfig, passes: list[Pass], seed: int = 0, stall: float = 0.0) -> None:
        self.config, self.passes = config, passes
        self.rng, self.stall = np.random.default_rng(seed), stall
        self.jobs = [(k, n) for k, one in enumerate(passes) for n in range(len(one.blocks))]
        self.banks: list[Any] = [None, None]
        self.taken: list[int] = []
        self.done: list[int] = []
        self.recorded: list[int] = []
        self.weights: list[tuple[int, Any]] = []
        self.records: list[tuple[int, ...]] = []

    def job(self, number: int) -> dict[str, Any]:
        k, n = self.jobs[number]
        one, lanes = self.passes[k], self.config.softmax_lanes
        valid = one.blocks[n].valid
        return {
            "bank": number % 2, "record": number % 4, "scale_bank": k % 4, "items": one.blocks[n].items,
            "sets": -(-len(valid) // lanes), "first": n == 0, "last": n == len(one.blocks) - 1,
            "valid": valid + [0] * (self.config.query_rows - len(valid)),
        }

    def word(self, bank: int, position: int, part: int) -> tuple[list[int], int, int]:
        """What the memories hold: sums of the rows of a set, key scale, value scale."""
        stored = self.banks[bank]
        lanes = self.config.softmax_lanes
        if stored is None:
            return [0] * lanes, 0, 0
        rows = [row if row < self.config.query_rows else 0 for row in range(part * lanes, part * lanes + lanes)]
        return (stored.sums[rows, position].tolist(), int(stored.keys[position]), int(stored.values[position]))

    def run(self, simulator: str = "pysim") -> None:
        dut: Any = BlockSoftmax(self.config)

        async def bench(ctx: Any) -> None:
            await self._play(ctx, dut)

        simulate(dut, bench, simulator=simulator, explain=lambda: f"{len(self.recorded)} of {len(self.jobs)} records")

    async def _play(self, ctx: Any, dut: Any) -> None:
        payload, scale, sums = Port(dut, "i.payload"), Port(dut, "i_scale.payload"), Port(dut, "sums.sums")
        word = Port(dut, "o_weights.payload")
        rows = self.config.query_rows
        scales = [{"bank": k % 4, "row": row, "scale": int(encode(value))}
                  for k, one in enumerate(self.passes) for row, value in enumerate(one.scales)]
        ready = [len(one.scales) for one in self.passes]
        offered, clock, sent = False, 0, 0
        address, reading, asked = (0, 0, 0), [], []
        while len(self.records) < len(self.jobs) * rows:
            number = len(self.taken)
            if not offered and number < len(self.jobs) and number < len(self.done) + 2:
                k, n = self.jobs[number]
                if sent >= sum(ready[: k + 1]) and self.rng.random() >= self.stall:
                    self.banks[number % 2] = self.passes[k].blocks[n]
                    ctx.set(payload.value, payload.bits(self.job(number)))
                    offered = True
            ctx.set(dut.i.valid, offered)
            # Scales of a pass may come while the three passes before it are in flight.
            passes_done = self.jobs[len(self.done)][0] if len(self.done) < len(self.jobs) else len(self.passes)
            sends = sent < sum(ready[: passes_done + 4])
            ctx.set(dut.i_scale.valid, sends)
            if sends:
                ctx.set(scale.value, scale.bits(scales[sent]))
                sent += 1
            if reading:
                ctx.set(dut.record.record, reading[0][0] % 4)
                ctx.set(dut.record.row, reading[0][1])
            _, _, *seen = await ctx.tick().sample(
                dut.i.ready, dut.o_weights.valid, word.value, dut.weights_done, dut.record_done, dut.sums.bank,
                dut.sums.position, dut.sums.set, dut.scales.bank, dut.scales.position, dut.record.alpha,
                dut.record.exponent, dut.record.inverse)
            clock += 1
            taken, valid, weight, done, recorded, bank, position, part, scale_bank, scale_position, *record = seen
            if offered and taken:
                self.taken.append(clock)
                offered = False
                ctx.set(payload.value, int(self.rng.integers(0, 1 << 60)) & payload.mask)
            if valid:
                self.weights.append((clock, word.plain(weight)))
            if done:
                self.done.append(clock)
            if recorded:
                reading += [(len(self.recorded), row) for row in range(rows)]
                self.recorded.append(clock)
            asked.append(reading.pop(0) if reading and not (recorded and len(reading) == rows) else None)
            if len(asked) > 2 and asked.pop(0):
                self.records.append(tuple(record))
            found = self.word(*address)
            ctx.set(sums.value, sums.bits(found[0]))
            ctx.set(dut.scales.key, found[1])
            ctx.set(dut.scales.value, found[2])
            address = (bank, position, part)
            assert (scale_bank, scale_position) == (bank, position)

    def check(self) -> None:
        """All weights and records."""
        lanes = self.config.softmax_lanes
        weights = iter(self.weights)
        records = iter(self.records)
        wanted = [result for one in self.passes for result in expected(one)]
        for number, results in enumerate(wanted):
            job = self.job(number)
            for part in range(job["sets"]):
                for position in range(job["items"]):
                    _, found = next(weights)
                    assert (found["bank"], found["set"], found["position"]) == (number % 2, part, position)
                    for lane, code in enumerate(found["codes"]):
                        row = part * lanes + lane
                        if row < len(results):
                            assert code == results[row][1][position], (number, row, position)
            for row in range(self.config.query_rows):
                alpha, exponent, inverse = next(records)
                if row < len(results):
                    assert (alpha, exponent) == (results[row][0], results[row][2]), (number, row)
                    assert results[row][3] in (None, inverse), (number, row)
        assert next(weights, None) is None


def played(config: AccelConfig, passes: list[Pass], **options: Any) -> Bench:
    bench = Bench(config, passes, **options)
    bench.run()
    bench.check()
    return bench


def named(config: AccelConfig) -> dict[str, Pass]:
    """Passes of one valid row or all of them, from scores: query and key scales are 2^-8, sums 2^16 times the score."""
    rng = np.random.default_rng(3)
    ramp, ones = np.arange(float(BLOCK_POSITIONS)), np.ones(BLOCK_POSITIONS)
    sequences: dict[str, list[tuple[Any, Any]]] = {
        "single_position": [(ramp[:1] - 3.25, ones * 0.01)],
        "single_position_after_a_block": [(ramp, ones), (ramp[:1] + 2, ones * 0.3)],
        "equal_scores": [(0 * ramp + 1.5, ones), (0 * ramp + 1.5, ones)],
        "maximum_first": [(-ramp / 8, ones), (-ramp / 8 - 1, ones)],
        "maximum_last": [(ramp, ones), (ramp + 16, ones), (ramp + 19.5, ones)],
        "huge_gap_up": [(ramp, ones), (ramp + 1000, ones)],
        "huge_gap_down": [(ramp, ones), (ramp - 1000, ones)],
        "negative_scores": [(-ramp - 100, ones), (ramp - 200, ones)],
        "zero_value_scales": [(ramp / 8, 0 * ones), (ramp / 8, 0 * ones)],
        "largest_weight_is_not_the_maximum": [(ramp / 4, np.exp2(-ramp))],
        "tiny_value_scales": [(ramp / 64, 2.0**-126 * ones)],
        "large_value_scales": [(ramp / 64, MAX_FLOAT * ones), (ramp / 64, MAX_FLOAT * ones)],
        "zero_queries": [(0 * ramp, ones), (0 * ramp[:5], ones)],
    }
    passes = {}
    for n, (name, blocks) in enumerate(sequences.items()):
        rows = (1, config.query_rows)[n % 2]
        passes[name] = Pass(np.full(rows, 2.0**-8 * (name != "zero_queries")), [
            block(config, rng, np.rint(scores * 2.0**16), 2.0**-8 * ones, values, [len(scores)] * rows)
            for scores, values in blocks])
    return passes


def drawn(config: AccelConfig, rng: np.random.Generator, blocks: int) -> Pass:
    """Rows of a chunk: the positions of each end where its token is, from the second block on some may have none."""
    rows = int(rng.integers(1, config.query_rows + 1))
    top, spread = 2.0 ** rng.integers(4, score_sum_bits(config) - 1), np.exp2(rng.uniform(-3, 5))
    counts = [[BLOCK_POSITIONS] * rows for _ in range(blocks)]
    counts[-1] = rng.integers(0 if blocks > 1 else 1, rng.integers(1, BLOCK_POSITIONS) + 1, rows).tolist()
    if blocks > 1 and rng.random() < 0.5:
        counts[-2] = rng.integers(0 if blocks > 2 else 1, BLOCK_POSITIONS + 1, rows).tolist()
        counts[-1] = [last if before == BLOCK_POSITIONS else 0 for last, before in zip(*counts[:-3:-1], strict=True)]
    scales = rnd(spread / top * np.exp2(rng.normal(size=rows)))
    return Pass(scales, [
        block(config, rng, np.clip(rng.normal(size=(rows, BLOCK_POSITIONS)) * top / 4, -top, top).astype(int),
              np.exp2(rng.normal(size=BLOCK_POSITIONS)), np.exp2(rng.normal(size=BLOCK_POSITIONS) * 3 - 6), valid)
        for valid in counts])


def full(config: AccelConfig, rows: int, blocks: int, items: int = BLOCK_POSITIONS) -> Pass:
    rng, ones = np.random.default_rng(8), np.ones(items)
    return Pass(np.ones(rows), [block(config, rng, 0, ones, ones, [items] * rows) for _ in range(blocks)])


def check_random(config: AccelConfig, seed: int, stall: float, blocks: Sequence[int] = (1, 3)) -> None:
    rng = np.random.default_rng(seed)
    played(config, [drawn(config, rng, count) for count in blocks], seed=seed, stall=stall)


def test_named() -> None:
    config = CONFIGS["two_rows_kv16"]
    played(config, list(named(config).values()))


@pytest.mark.parametrize("name", CONFIGS)
def test_random(name: str) -> None:
    check_random(CONFIGS[name], 1, 0.9)


def test_latency() -> None:
    """Four rows of a decode in two lanes."""
    config = CONFIGS["two_lanes"]
    bench = played(config, [full(config, 4, 1)])
    assert bench.weights[0][0] - bench.taken[0] == BLOCK_POSITIONS + BlockSoftmax.LATENCY
    assert bench.done[0] - bench.taken[0] == 2 * BLOCK_POSITIONS + 2 + BLOCK_POSITIONS + BlockSoftmax.LATENCY == 221


@pytest.mark.parametrize(("name", "rows", "passes", "items", "per_set"), [
    ("two_lanes", 4, (4,), 64, 66),      # blocks of one pass
    ("two_lanes", 4, (1,) * 4, 64, 68),  # passes of one block
    ("two_lanes", 4, (4,), 8, 18 + 4 * 2),
    ("four_rows", 4, (4,), 16, 18 + 4),
    ("four_rows", 4, (1,) * 4, 8, 18 + 25),
])
def test_throughput(name: str, rows: int, passes: tuple[int, ...], items: int, per_set: int) -> None:
    config = CONFIGS[name]
    bench = played(config, [full(config, rows, blocks, items) for blocks in passes])
    sets = -(-rows // config.softmax_lanes)
    assert np.diff(bench.done)[1:-1].tolist() == [per_set * sets] * (sum(passes) - 3)


@pytest.mark.parametrize("name", ["two_lanes", "four_rows"])
def test_records_are_done(name: str) -> None:
    config = CONFIGS[name]
    bench = played(config, [full(config, 1, 2)])
    lanes = config.softmax_lanes
    assert [r - d for r, d in zip(bench.recorded, bench.done, strict=True)] == [4 * lanes, 25 * lanes]
