"""KvQuantize equals the golden codes and scale, at both cache widths, with stalls on both ends."""

import numpy as np
import pytest

from hw.attention.kv_quantize import KvQuantize
from sim.golden.attention import quantize_kv
from sim.golden.number import encode
from tests.hw.attention.rows import first_and_last, quantize, rows
from tests.hw.norm.bench import CONFIGS


def check(config, stall, kv_bits, simulator="pysim"):
    dut = KvQuantize(CONFIGS[config].replace(kv_bits=kv_bits))
    cases = rows()
    results = quantize(dut, cases.values(), {}, stall=stall, simulator=simulator)
    for name, (found, scales) in zip(cases, results, strict=True):
        codes, scale = quantize_kv(cases[name], kv_bits)
        assert found == codes.tolist(), name
        assert scales == {int(encode(scale))}, name


@pytest.mark.parametrize("kv_bits", [8, 16])
@pytest.mark.parametrize("config, stall", [("scalar", 0.4), ("pair", 0.0), ("pair", 0.4), ("quad", 0.4)])
def test_matches_golden(config, stall, kv_bits):
    check(config, stall, kv_bits)


@pytest.mark.parametrize("kv_bits", [8, 16])
def test_verilated(kv_bits):
    for stall in (0.0, 0.4):
        check("pair", stall, kv_bits, "verilator")


def test_latency():
    assert first_and_last(KvQuantize(CONFIGS["pair"]), np.ones(8)) == (KvQuantize.LATENCY, KvQuantize.LATENCY + 3)
