"""Rows of head elements, and a bench that sends them through a quantiser and measures its latency."""

from __future__ import annotations

import numpy as np

from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode, rnd
from tests.hw.norm.bench import chance, receive, run, send


def rows(seed: int = 5) -> dict[str, np.ndarray]:
    """Named rows, then random ones of several lengths and sizes."""
    rng = np.random.default_rng(seed)
    named = {
        "all_zero": np.zeros(32),
        "one_word": np.array([1.0, -2.0, 0.5, 0.25]),
        "equal": np.full(32, -3.0),
        "single_non_zero": np.eye(32)[31] * -0.7,
        "ties": np.arange(-127.0, 129.0, 8.0)[:32] + 0.5,
        "largest_float": np.array([MAX_FLOAT, -MAX_FLOAT, 1.0, 0.0]),
        "smallest_float": np.array([MIN_FLOAT, -MIN_FLOAT, 0.0, 0.0]),
        "wide_range": np.exp2(np.arange(-16.0, 16.0)),
        "all_zero_again": np.zeros(32),
    }
    sizes = {f"random_{n}": rng.normal(size=n) * np.exp2(rng.integers(-20, 20)) for n in (4, 64, 100, 128)}
    return {name: rnd(row) for name, row in (named | sizes).items()}


def quantize(dut, inputs, read, stall: float = 0.0, **steady: int) -> list[list]:
    """Words of `read` for each row; `read` gives a tuple that ends in `last`. `steady` names other inputs."""
    lanes, got, out = dut.config.vector, [], []
    words = []
    for row in inputs:
        parts = encode(row).reshape(-1, lanes).tolist()
        words += [{"values": part, "last": n == len(parts) - 1} for n, part in enumerate(parts)]

    async def sender(ctx):
        for name, value in steady.items():
            ctx.set(getattr(dut, name), value)
        await send(ctx, dut.i, words, chance(1, stall))

    async def receiver(ctx):
        got.extend(await receive(ctx, dut.o, read, len(words), chance(2, stall)))

    run(dut, sender, receiver)
    while got:
        length = next(n for n, word in enumerate(got) if word[-1]) + 1
        out.append(got[:length])
        del got[:length]
    return out


def first_and_last(dut, row) -> tuple[int, int]:
    """Clocks from the row's last word to its first and to its last result."""
    parts = encode(row).reshape(-1, dut.config.vector).tolist()
    clocks = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        await send(ctx, dut.i, [{"values": part, "last": n == len(parts) - 1} for n, part in enumerate(parts)])
        for clock in range(1, 200):
            if ctx.get(dut.o.valid):
                clocks.append(clock)
            await ctx.tick()

    run(dut, bench)
    assert len(clocks) == len(parts)
    return clocks[0], clocks[-1]
