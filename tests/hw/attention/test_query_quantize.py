"""QueryQuantize equals the golden query codes and scale, with stalls on both ends."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed

from hw.attention.query_quantize import QueryQuantize
from hw.float.scale import scaled
from sim.golden.attention import quantize_query
from sim.golden.number import decode, encode, rnd
from tests.hw.attention.rows import first_and_last, quantize, rows
from tests.hw.float.vectors import random_codes, special_codes
from tests.hw.norm.vectors import CONFIGS
from tests.hw.simulation import simulate

SCALE = float(rnd(64**-0.5 * np.log2(np.e)))


def check(config, stall, simulator="pysim"):
    cases = rows()
    results = quantize(QueryQuantize(CONFIGS[config]), cases.values(), {"softmax_scale": int(encode(SCALE))},
                       stall=stall, simulator=simulator)
    for name, (found, scales) in zip(cases, results, strict=True):
        codes, scale = quantize_query(cases[name][None], SCALE)
        assert found == codes[0].tolist(), name
        assert scales == {int(encode(scale[0]))}, name


@pytest.mark.parametrize("config, stall", [("scalar", 0.4), ("pair", 0.0), ("pair", 0.4), ("quad", 0.4)])
def test_matches_golden(config, stall):
    check(config, stall)


def test_verilated():
    for stall in (0.0, 0.4):
        check("pair", stall, "verilator")


def test_latency():
    dut = QueryQuantize(CONFIGS["pair"])
    assert first_and_last(dut, np.ones(8)) == (QueryQuantize.LATENCY, QueryQuantize.LATENCY + 3)


def test_scaled():
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
