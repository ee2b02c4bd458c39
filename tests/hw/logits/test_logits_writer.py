"""Rows of logits become float32 words in memory: every beat, every request, and nothing else."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.logits.logits_writer import LogitsWriter
from tests.hw.simulation import send, simulate

CONFIGS = {
    "64": AccelConfig(name="64"),
    "128": AccelConfig(name="128", port_bits=128, rows=4),
    "512": AccelConfig(name="512", port_bits=512, rows=16),
}
MOST = 256


def run(
    config: AccelConfig, rows: list[tuple[int, list[int]]], stall: float, seed: int, simulator: str
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
    """Requests (address, beats), beats (data, strobe), clocks. Between rows the writer must be idle, inside not."""
    dut = LogitsWriter(config)
    requests: list[tuple[int, int]] = []
    beats: list[tuple[int, int]] = []
    clocks = 0

    async def feed(ctx: Any) -> None:
        nonlocal clocks
        choose = random.Random(seed)
        words = config.port_bits // 32
        for address, logits in rows:
            assert ctx.get(dut.idle)
            row = {"address": address, "beats": ceil_div(len(logits), words)}
            await send(ctx, dut.i_row, [row], stall=stall, choose=choose)
            for n, logit in enumerate(logits):
                assert not ctx.get(dut.idle)
                payload = {"row": n % config.max_vocab, "logit": logit, "last": n == len(logits) - 1}
                await send(ctx, dut.i, [payload], stall=stall, choose=choose)
            assert not ctx.get(dut.idle)
            if not ctx.get(dut.idle):
                await ctx.tick().until(dut.idle)
        for _ in range(40):
            await ctx.tick()
            assert ctx.get(dut.idle)

    async def count(ctx: Any) -> None:
        nonlocal clocks
        while True:
            _, _, idle = await ctx.tick().sample(dut.idle)
            clocks += not idle

    def receive(port: Any, into: list[tuple[int, int]], fields: tuple[str, str]) -> Any:
        async def bench(ctx: Any) -> None:
            choose = random.Random(f"{seed} {fields}")
            kept = None
            while True:
                ctx.set(port.ready, choose.random() >= stall)
                _, _, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.payload)
                assert kept is None or (valid and payload.as_bits() == kept), "an offer changed before it was taken"
                kept = payload.as_bits() if valid and not ready else None
                if valid and ready:
                    values = (payload[field] for field in fields)
                    into.append(tuple(v.as_bits() if hasattr(v, "as_bits") else int(v) for v in values))
        return bench

    around = (count, receive(dut.o_request, requests, ("address", "beats")), receive(dut.o, beats, ("data", "strobe")))
    simulate(dut, feed, background=around, simulator=simulator)
    return requests, beats, clocks


def check(
    config: AccelConfig, rows: list[tuple[int, list[int]]], stall: float = 0.0, seed: int = 0,
    simulator: str = "pysim",
) -> int:
    requests, beats, clocks = run(config, rows, stall, seed, simulator)
    words = config.port_bits // 32
    expected_requests, expected_beats = [], []
    for address, logits in rows:
        count = ceil_div(len(logits), words)
        for first in range(0, count, MOST):
            expected_requests.append((address + first * config.beat_bytes, min(MOST, count - first)))
        padded = [logit << 32 - FLOAT_BITS for logit in logits] + [0] * (count * words - len(logits))
        for n in range(count):
            data = sum(word << 32 * i for i, word in enumerate(padded[n * words : (n + 1) * words]))
            expected_beats.append((data, (1 << config.beat_bytes) - 1))
    assert requests == expected_requests
    assert beats == expected_beats
    return clocks


def logits_of(count: int, seed: int) -> list[int]:
    choose = random.Random(seed)
    return [choose.getrandbits(FLOAT_BITS) for _ in range(count)]


def lengths_around_a_beat(config: AccelConfig, stall: float, simulator: str = "pysim") -> None:
    """One logit, full beats, one more, one less; the words behind the last one are 0."""
    words = config.port_bits // 32
    sizes = [1, words, words + 1, 2 * words - 1, 2 * words, 3 * words + 1, 1]
    check(config, [(4096 * n, logits_of(size, n)) for n, size in enumerate(sizes)], stall, 3, simulator)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_lengths_around_a_beat(name: str, stall: float) -> None:
    lengths_around_a_beat(CONFIGS[name], stall)


def test_verilated() -> None:
    for stall in (0.0, 0.5):
        lengths_around_a_beat(CONFIGS["64"], stall, "verilator")
    long_row_with_stalls("verilator")
    no_logit_is_taken_without_a_row("verilator")


@pytest.mark.parametrize("beats", [MOST - 1, MOST, MOST + 1, 2 * MOST, 2 * MOST + 1])
def test_lengths_around_a_request(beats: int) -> None:
    """The second request starts where the first one ended; an odd vocabulary in the last beat."""
    config = CONFIGS["64"]
    rows = [(8 * 77, logits_of(2 * beats - 1, beats)), (8 * (77 + beats), logits_of(2 * beats, beats + 1))]
    clocks = check(config, rows)
    assert clocks == sum(len(logits) + beats + ceil_div(beats, MOST) for _, logits in rows)


def long_row_with_stalls(simulator: str) -> None:
    rows = [(1 << 39, logits_of(2 * MOST + 3, 5)), (16, logits_of(7, 6))]
    check(CONFIGS["64"], rows, stall=0.4, seed=8, simulator=simulator)


def test_a_long_row_with_stalls() -> None:
    long_row_with_stalls("pysim")


def no_logit_is_taken_without_a_row(simulator: str) -> None:
    """Logits of a run that does not keep them pass by."""
    dut = LogitsWriter(CONFIGS["64"])

    async def bench(ctx: Any) -> None:
        ctx.set(dut.i.valid, 1)
        for _ in range(20):
            await ctx.tick()
            assert ctx.get(dut.idle)
            assert not ctx.get(dut.i.ready)
            assert not ctx.get(dut.o_request.valid)
            assert not ctx.get(dut.o.valid)

    simulate(dut, bench, simulator=simulator)


def test_no_logit_is_taken_without_a_row() -> None:
    no_logit_is_taken_without_a_row("pysim")
