"""HeadOutputs equals the golden output of passes of any shape, with stalls; the numbers of its clocks are as stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hw.attention.head_outputs import HeadOutputs
from hw.contract.config import AccelConfig, ceil_div
from hw.dot.interfaces import value_sum_bits
from sim.golden.number import MAX_FLOAT, encode, rnd
from tests.hw.simulation import simulate
from tests.hw.streams import Port, Sink, Source

WIDTHS = [(ports, vector) for ports in (1, 2, 4) for vector in (1, 2, 4)]


def config_of(ports: int, vector: int, **sizes: Any) -> AccelConfig:
    return AccelConfig(name="outputs", ports=ports, vector=vector, rows=4, inputs=10 * ports,
                       **{"max_head_dim": 24, "query_rows": 4, "columns": 3, **sizes})


@dataclass
class Step:
    """A block: sums [rows, head_dim], and alpha, exponent E_v, 1/l of every row."""

    sums: np.ndarray
    alphas: np.ndarray
    exponents: np.ndarray
    inverses: np.ndarray


def step(sums: Any, alpha: float, exponent: int, inverse: float = 0.75) -> Step:
    """The same for all rows."""
    rows = len(sums)
    return Step(np.asarray(sums), np.full(rows, alpha), np.full(rows, exponent), np.full(rows, inverse))


def named(config: AccelConfig) -> dict[str, list[Step]]:
    """Passes of edges; the first alpha is 0."""
    top = 2 ** (value_sum_bits(config) - 1) - 1
    ramp = np.arange(16).reshape(1, -1) * 1000 - 7000
    largest = np.where(np.arange(16) % 2, top, -top).reshape(2, 8)
    return {
        "one_block": [step(ramp, 0.0, 0)],
        "largest_sums": [step(largest, 0.0, 3), step(largest, 1.0, 3)],
        "cancellation": [step(ramp, 0.0, 0), step(-ramp, 1.0, 0)],
        "no_valid_position": [step(ramp, 0.0, 0), step(0 * ramp, 1.0, -127), step(ramp, 0.5, 0)],
        "below_the_range": [step(ramp, 0.0, -126), step(ramp, 1.0, -120)],
        "above_the_range": [step(largest, 0.0, 127), step(largest, 1.0, 127, 1.0)],
        "inverse_is_large": [step(ramp, 0.0, 100, MAX_FLOAT)],
        "rounding": [step(ramp + 1, 0.0, 0), step(ramp + 3, 65535 / 65536, 9), step(ramp, 1 / 65536, -9, 1 / 3)],
    }


def drawn(config: AccelConfig, rng: np.random.Generator, blocks: int, rows: int = 0, head_dim: int = 0) -> list[Step]:
    top = 2 ** (value_sum_bits(config) - 1) - 1
    rows = rows or int(rng.integers(1, config.query_rows + 1))
    head_dim = head_dim or 8 * int(rng.integers(1, config.max_head_dim // 8 + 1))
    return [
        Step(rng.integers(-top, top + 1, (rows, head_dim)) >> rng.integers(0, 26),
             rng.integers(0, 65537, rows) / 65536 * (n > 0), rng.integers(-20, 5, rows),
             rnd(1 / rng.uniform(1, 200, rows)))
        for n in range(blocks)
    ]


def golden(blocks: list[Step]) -> np.ndarray:
    acc = np.zeros(blocks[0].sums.shape)
    for one in blocks:
        acc = rnd(rnd(acc * one.alphas[:, None]) + rnd(rnd(one.sums) * np.exp2(one.exponents - 16.0)[:, None]))
    return rnd(acc * rnd(blocks[-1].inverses)[:, None])


class Bench:
    """Memories with sums and records. A bank holds garbage from `read_done` until its next job is offered."""

    def __init__(self, config: AccelConfig, passes: list[list[Step]], seed: int = 0, stall: float = 0.0) -> None:
        self.config, self.passes, self.stall, self.seed = config, passes, stall, seed
        rng = self.rng = np.random.default_rng(seed)
        self.steps = [(k, one, n == len(blocks) - 1) for k, blocks in enumerate(passes) for n, one in enumerate(blocks)]
        self.columns = rng.integers(0, config.columns, (len(passes), config.query_rows))
        most = config.column_words - ceil_div(config.max_head_dim, config.vector)
        self.bases = rng.integers(0, most + 1, (len(passes), config.query_rows))
        self.banks: list[Step | None] = [None, None]
        self.read: list[int] = []
        self.done: list[int] = []

    def job(self, number: int) -> dict[str, Any]:
        k, one, last = self.steps[number]
        rows, head_dim = one.sums.shape
        return {"bank": number % 2, "record": number % 4, "last": last, "rows": rows,
                "words": head_dim // self.config.ports, "column": self.columns[k].tolist(),
                "base": self.bases[k].tolist()}

    def sums_at(self, bank: int, row: int, word: int) -> list[int]:
        stored, ports = self.banks[bank], self.config.ports
        if stored is None or row >= len(stored.sums):
            return self.rng.integers(-1000, 1000, ports).tolist()
        return stored.sums[row, word * ports : (word + 1) * ports].tolist()

    def record_at(self, record: int, row: int, offered: int) -> tuple[int, int, int]:
        """Of the last job offered with that record."""
        at = [one for n, (_, one, _) in enumerate(self.steps[:offered]) if n % 4 == record]
        if not at or row >= len(at[-1].sums):
            return 0x1ABCDEF & 0xFFFFFF, 255, 0x123456
        one = at[-1]
        return int(encode(one.alphas[row])), int(one.exponents[row]) + 127, int(encode(rnd(one.inverses[row])))

    def run(self) -> Bench:
        dut: Any = HeadOutputs(self.config)

        async def bench(ctx: Any) -> None:
            await self._play(ctx, dut)

        simulate(dut, bench, clocks=60_000, explain=lambda: f"{len(self.read)} of {len(self.steps)} jobs")
        return self

    async def _play(self, ctx: Any, dut: Any) -> None:
        self.source = source = Source(dut, "i", self.stall, self.seed)
        self.sink = sink = Sink(dut, "o", self.stall, self.seed)
        sums = Port(dut, "sums.sums")
        offered = clock = silent = 0
        address: tuple[int, ...] = (0, 0, 0, 0)
        # A job without outputs is silent while its sums are read.
        longest = self.config.query_rows * ceil_div(self.config.max_head_dim, self.config.ports)
        while silent < longest + dut.LATENCY:
            if not source.waiting and offered < min(len(self.steps), len(self.read) + 2):
                self.banks[offered % 2] = self.steps[offered][1]
                source.send([self.job(offered)])
                offered += 1
            source.drive(ctx)
            sink.drive(ctx)
            _, _, *seen = await ctx.tick().sample(
                source.ready.value, sink.valid.value, sink.payload.value, dut.read_done, dut.done, dut.sums.bank,
                dut.sums.row, dut.sums.word, dut.record.record, dut.record.row)
            clock += 1
            ready, valid, payload, read_done, done, bank, row, word, record, record_row = seen
            moved = source.look(ctx, clock, ready) | sink.look(clock, valid, payload)
            silent = 0 if moved or valid else silent + 1
            if read_done:
                self.banks[len(self.read) % 2] = None
                self.read.append(clock)
            if done:
                self.done.append(clock)
            assert row == record_row
            ctx.set(sums.value, sums.bits(self.sums_at(*address[:3])))
            alpha, exponent, inverse = self.record_at(address[3], address[1], offered)
            ctx.set(dut.record.alpha, alpha)
            ctx.set(dut.record.exponent, exponent)
            ctx.set(dut.record.inverse, inverse)
            address = (bank, row, word, record)

    def check(self) -> Bench:
        """All outputs, and the pulses."""
        words, ends = [], []
        for k, blocks in enumerate(self.passes):
            for row, values in enumerate(encode(golden(blocks))):
                for n, word in enumerate(values.reshape(-1, self.config.vector).tolist()):
                    words.append({"column": int(self.columns[k, row]), "index": int(self.bases[k, row]) + n,
                                  "values": word})
            ends.append(len(words) - 1)
        assert [self.sink.payload.plain(bits) for bits in self.sink.received] == words
        assert self.done == [self.sink.clocks[end] for end in ends]
        assert len(self.read) == len(self.steps)
        return self


@pytest.mark.parametrize(("ports", "vector"), WIDTHS)
def test_outputs_equal_golden(ports: int, vector: int) -> None:
    config = config_of(ports, vector, kv_bits=8 if vector == 2 else 16)
    rng = np.random.default_rng(5)
    passes = [*named(config).values(), *(drawn(config, rng, n) for n in (2, 1, 3, 1))]
    Bench(config, passes, stall=0.3).run().check()


def test_no_stalls() -> None:
    config = config_of(2, 2)
    Bench(config, list(named(config).values())).run().check()


def check_random(config: AccelConfig, seed: int, stall: float, blocks: Sequence[int] = (1, 4, 2)) -> None:
    rng = np.random.default_rng(seed)
    Bench(config, [drawn(config, rng, count) for count in blocks], seed, stall).run().check()


def test_one_row() -> None:
    check_random(config_of(2, 1, query_rows=1, columns=1, max_head_dim=16), 6, 0.0)


@pytest.mark.parametrize(("ports", "vector", "rows", "head_dim"), [
    (1, 2, 2, 24), (4, 4, 4, 24), (4, 2, 1, 8), (2, 4, 1, 8),
])
def test_clocks(ports: int, vector: int, rows: int, head_dim: int) -> None:
    config = config_of(ports, vector)
    passes = [drawn(config, np.random.default_rng(7), 4, rows, head_dim)]
    bench = Bench(config, passes).run().check()
    words = rows * head_dim // ports
    taken, out = bench.source.clocks, bench.sink.clocks
    assert np.diff(taken).tolist() == [max(words, HeadOutputs.STORED)] * 3
    assert out[0] - taken[-1] == HeadOutputs.LATENCY + max(1, vector // ports) - 1
    assert out[-1] - out[0] == rows * head_dim // min(ports, vector) - max(1, vector // ports)
