"""QueryQuantize equals the codes and scale of the contract, with stalls on both ends."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed

from hw.attention.interfaces import RowKind
from hw.attention.query_quantize import QueryQuantize
from hw.float.scale import scaled
from sim.golden.number import decode, encode, rnd
from tests.hw.attention.rows import query_codes, rows, words_of
from tests.hw.float.vectors import random_codes, special_codes
from tests.hw.norm.vectors import CONFIGS
from tests.hw.simulation import simulate
from tests.hw.steps import Step, run_stream

SCALE = float(rnd(64**-0.5 * np.log2(np.e)))


def check(name: str, stall: float, simulator: str = "pysim") -> None:
    config = CONFIGS[name]
    sent, expected = [], []
    for n, row in enumerate(rows().values()):
        place = {"row": n % config.query_rows, "bank": n % 2, "scale_bank": n % 3}
        words = words_of(row, config.vector, kind=RowKind.QUERY, **place)
        codes, scale = query_codes(row, SCALE)
        parts = codes.reshape(-1, config.vector).tolist()
        sent += words
        expected += [{"codes": part, "scale": scale, "index": word["index"], "last": word["last"], **place}
                     for part, word in zip(parts, words, strict=True)]
    steady = Step(set={"softmax_scale": int(encode(SCALE))})
    received, log = run_stream(QueryQuantize(config), {"i": sent}, prepare=[steady], stall=stall, seed=1,
                               simulator=simulator)
    assert received == expected
    if not stall:
        assert log["o"] == [clock + QueryQuantize.LATENCY for clock in log["i"]]
        assert log["o"][-1] - log["o"][0] == len(sent) - 1


@pytest.mark.parametrize("config, stall", [("scalar", 0.4), ("pair", 0.0), ("pair", 0.4), ("quad", 0.4)])
def test_matches_contract(config: str, stall: float) -> None:
    check(config, stall)


def test_verilated() -> None:
    for stall in (0.0, 0.4):
        check("pair", stall, "verilator")


def test_scaled() -> None:
    """Every special value and random ones, with shifts beyond both ends of the range."""
    rng = np.random.default_rng(2)
    codes = np.concatenate([special_codes(), random_codes(rng, 500)])
    shifts = rng.integers(-256, 256, len(codes))
    m, code, shift, got = Module(), Signal(25), Signal(signed(9)), []
    result = scaled(m, code, shift)

    async def bench(ctx):
        for a, n in zip(codes.tolist(), shifts.tolist(), strict=True):
            ctx.set(code, a)
            ctx.set(shift, n)
            got.append(ctx.get(result))

    simulate(m, bench)
    assert got == encode(rnd(decode(codes) * np.exp2(shifts.astype(float)))).tolist()
