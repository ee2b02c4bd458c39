"""KvQuantize equals the golden codes and scale, at both cache widths, with stalls on both ends."""

import numpy as np
import pytest

from hw.attention.kv_quantize import KvQuantize
from sim.golden.attention import quantize_kv
from sim.golden.number import encode
from tests.hw.attention.rows import first_and_last, quantize, rows
from tests.hw.norm.bench import CONFIGS


@pytest.mark.parametrize("kv_bits", [8, 16])
@pytest.mark.parametrize("config, stall", [("scalar", 0.4), ("pair", 0.0), ("pair", 0.4), ("quad", 0.4)])
def test_matches_golden(config, stall, kv_bits):
    dut = KvQuantize(CONFIGS[config].replace(kv_bits=kv_bits))
    cases = rows()

    def read(payload):
        return [payload.codes[lane] for lane in range(dut.config.vector)], payload.scale, payload.last

    for name, words in zip(cases, quantize(dut, cases.values(), read, stall), strict=True):
        codes, scale = quantize_kv(cases[name], kv_bits)
        assert np.concatenate([word[0] for word in words]).tolist() == codes.tolist(), name
        assert {word[1] for word in words} == {int(encode(scale))}, name


def test_latency():
    assert first_and_last(KvQuantize(CONFIGS["pair"]), np.ones(8)) == (KvQuantize.LATENCY, KvQuantize.LATENCY + 3)
