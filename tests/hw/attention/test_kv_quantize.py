"""KvQuantize equals the golden codes and scale, at both cache widths, with stalls on both ends."""

import numpy as np
import pytest

from hw.attention.kv_quantize import KvQuantize
from sim.golden.attention import quantize_kv
from sim.golden.number import encode, rnd
from tests.hw.attention.rows import first_and_last, quantize, rows
from tests.hw.norm.vectors import CONFIGS

LARGEST_SUMS = (1, 127, 4571, 2**14 - 1, 2**15 - 1, 2**15, 2**15 + 1, 127 * 6912)


def sum_rows() -> dict[str, tuple[np.ndarray, float]]:
    """Rows as a BitLinear gives them, and their units: sums up to a largest one, times a factor, rounded."""
    rng, out = np.random.default_rng(9), {}
    for largest in LARGEST_SUMS:
        for n, exponent in enumerate((-1, 0, 1, -20)):
            unit = float(rnd(np.exp2(exponent + rng.random()))) if n else 1.0
            sums = rng.integers(-largest, largest + 1, 64)
            sums[n] = largest
            out[f"sums_{largest}_{n}"] = rnd(sums * unit), unit
    return out


def check(config, stall, kv_bits, simulator="pysim"):
    dut = KvQuantize(CONFIGS[config].replace(kv_bits=kv_bits))
    cases = {}
    for name, row in rows().items():  # rows with and without a unit in turn
        cases[name] = row, 0.0
        cases[f"{name}_unit"] = row, 0.75
    cases |= sum_rows()
    values, units = zip(*cases.values(), strict=True)
    extras = [{"unit": int(encode(unit))} for unit in units]
    results = quantize(dut, values, {}, extras, stall=stall, simulator=simulator)
    for (name, (row, unit)), (found, scales) in zip(cases.items(), results, strict=True):
        codes, scale = quantize_kv(row, kv_bits, unit)
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


def test_sums_that_fit_are_stored_exactly():
    """Half of the code range is enough whatever the unit; rows beyond it lose their last bits at most."""
    for name, (row, unit) in sum_rows().items():
        codes, scale = quantize_kv(row, 16, unit)
        sums = np.rint(row / unit)
        if np.abs(sums).max() < 2**14:
            np.testing.assert_array_equal(codes, sums, name)
            assert scale == unit
        assert np.abs(codes * scale / unit - sums).max() <= max(0.5, np.abs(sums).max() * 2.0**-14), name


@pytest.mark.parametrize("unit", [0.0, 0.75])
def test_latency(unit):
    dut = KvQuantize(CONFIGS["pair"])
    assert first_and_last(dut, np.ones(8), unit=int(encode(unit))) == (KvQuantize.LATENCY, KvQuantize.LATENCY + 3)
