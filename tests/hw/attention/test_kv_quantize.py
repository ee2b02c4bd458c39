"""KvQuantize equals the golden codes and scale, at both cache widths, with stalls on both ends."""

import numpy as np
import pytest

from hw.attention.interfaces import RowKind
from hw.attention.kv_quantize import KvQuantize
from sim.golden.attention import quantize_kv
from sim.golden.number import encode, rnd
from tests.hw.attention.rows import largest_of, rows, words_of
from tests.hw.norm.vectors import CONFIGS
from tests.hw.steps import run_stream

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


def check(name: str, stall: float, kv_bits: int, simulator: str = "pysim") -> None:
    config = CONFIGS[name].replace(kv_bits=kv_bits)
    cases: list[tuple[np.ndarray, float]] = []
    for row in rows().values():  # rows with and without a unit in turn
        cases += [(row, 0.0), (row, 0.75)]
    cases += sum_rows().values()
    facts, sent, expected = [], [], []
    for n, (row, unit) in enumerate(cases):
        facts.append({"largest": largest_of(row), "unit": int(encode(unit))})
        words = words_of(row, config.vector, kind=(RowKind.KEY, RowKind.VALUE)[n % 2], row=0, bank=0, scale_bank=0)
        codes, scale = quantize_kv(row, kv_bits, unit)
        parts = codes.reshape(-1, config.vector).tolist()
        sent += words
        expected += [{"codes": part, "scale": int(encode(scale)), "last": word["last"]}
                     for part, word in zip(parts, words, strict=True)]
    received, _ = run_stream(KvQuantize(config), {"i_row": facts, "i": sent}, stall=stall, seed=1, simulator=simulator)
    assert received == expected


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
def test_clocks(unit: float) -> None:
    """Rows of enough words follow each other without a gap; the division bounds the rate of shorter ones."""
    for length in (4, KvQuantize.ROW_CLOCKS - 1, KvQuantize.ROW_CLOCKS, 32):
        row, count = np.ones(2 * length), 4
        words = words_of(row, 2, kind=RowKind.KEY, row=0, bank=0, scale_bank=0)
        facts = {"largest": largest_of(row), "unit": int(encode(unit))}
        _, log = run_stream(KvQuantize(CONFIGS["pair"]), {"i_row": [facts] * count, "i": words * count})
        assert log["i"][0] - log["i_row"][0] == KvQuantize.ROW_CLOCKS + 1
        assert log["o"] == [clock + KvQuantize.LATENCY for clock in log["i"]]
        firsts = log["i"][::length]
        assert np.diff(firsts).tolist() == [max(length, KvQuantize.ROW_CLOCKS)] * (count - 1)
