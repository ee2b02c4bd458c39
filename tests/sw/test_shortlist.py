"""Records of the golden model as the host reads them, damaged ones, and likelihoods from them."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.record import record_fields
from hw.contract.shortlist import SHORTLIST
from sim.golden.number import rnd
from sim.golden.shortlist import best_rows, power_sum, record
from sw.errors import HardwareError
from sw.serve.order import Likelihood
from sw.shortlist import Shortlist, log_sum_error, logit_scale

LOG2_E = math.log2(math.e)


def scale_of(temperature: float) -> float:
    return float(np.uint32(logit_scale(temperature)).view(np.float32))


def shortlist_of(row: NDArray[np.floating], temperature: float) -> Shortlist:
    content = record(row.astype(np.float64), scale_of(temperature))
    return Shortlist.from_record(content, len(row), temperature)


def exact_log_sum(row: NDArray[np.floating], temperature: float) -> float:
    scaled = row.astype(np.longdouble) / np.longdouble(temperature)
    return float(scaled.max() + np.log(np.exp(scaled - scaled.max()).sum()))


@pytest.mark.parametrize("vocab", [1, 2, 63, 64, 65, 1000])
def test_round_trip(vocab: int) -> None:
    random = np.random.default_rng(vocab)
    for row in (rnd(random.normal(0, 4, vocab)), rnd(random.integers(-3, 4, vocab)), np.zeros(vocab)):
        content = record(row, scale_of(0.7))
        assert len(content) == 528
        assert record_fields(SHORTLIST, content)["sum"] == power_sum(row, scale_of(0.7)).sum
        found = Shortlist.from_record(content + bytes(48), vocab, 0.7)
        assert found.ids.tolist() == best_rows(row).tolist()
        assert found.logits.tolist() == row[found.ids].tolist()
        assert (found.vocab, found.temperature, found.is_whole) == (vocab, 0.7, vocab <= 64)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 0.7, 1.0, 2.5, 100.0])
@pytest.mark.parametrize("seed", range(6))
def test_log_sum(temperature: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(40):
        row = random.normal(random.normal(0, 30), 10 ** random.uniform(-2, 1.3), random.integers(1, 3000))
        row = rnd(np.sort(row) if random.integers(2) else row)  # a rising row raises the reference often
        found = shortlist_of(row, temperature).log_sum
        assert found is not None
        assert abs(found - exact_log_sum(row, temperature)) <= log_sum_error(len(row))


def test_log_sum_of_a_large_vocabulary() -> None:
    """All powers rounded the same way, and a scale that is rounded much: 128,256 rows are off by 6e-6 nats at most."""
    assert log_sum_error(128_256) < 6e-6
    random = np.random.default_rng(3)
    for row in (rnd(random.normal(0, 3, 128_256)), rnd(np.array([3.0, *[-20.0] * 128_255]))):
        for temperature in (0.6, 0.9, 1.0):
            found = shortlist_of(row, temperature).log_sum
            assert found is not None
            assert abs(found - exact_log_sum(row, temperature)) <= log_sum_error(128_256)


@pytest.mark.parametrize(("largest", "temperature"), [
    (2.0**20, 1.0), (-(2.0**20), 1.0), (3e38, 1e30), (1.0, 1e-7), (1.0, 1e-320), (0.0, 1e-320), (1.0, 1e38),
    (1.0, 1e300), (-363400.0, 1.0),
])
def test_no_log_sum(largest: float, temperature: float) -> None:
    """Saturated logits, or temperatures beyond the scales; the list itself holds."""
    row = rnd(largest - np.arange(100.0))
    found = shortlist_of(row, temperature)
    expected = (temperature, largest) == (1e38, 1.0)  # still a scale
    assert (found.log_sum is not None) == expected
    assert found.ids.tolist() == best_rows(row).tolist()


def test_scale() -> None:
    assert scale_of(1.0) == np.float32(LOG2_E)
    assert scale_of(1e-320) == scale_of(1e-40) == np.finfo(np.float32).max
    assert scale_of(1e300) == scale_of(1e39) == np.finfo(np.float32).tiny
    for temperature in (1e-30, 0.3, 7.0, 1e30):
        assert abs(scale_of(temperature) * temperature / LOG2_E - 1) <= 2.0**-24 * (1 + 1e-6)


def put(place: int, form: str, value: float) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into(form, content, place, value)


def exchange(content: bytearray) -> None:
    content[16:24], content[24:32] = content[24:32], content[16:24]


def rows_at(place: int) -> int:
    return 16 + 8 * place


DAMAGES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "short": (lambda content: content.__delitem__(slice(527, None)), "has 527 bytes instead of 528"),
    "no rows": (put(12, "<I", 0), "has 0 rows of 200"),
    "too few rows": (put(12, "<I", 63), "has 63 rows of 200"),
    "too many rows": (put(12, "<I", 65), "has 65 rows of 200"),
    "a row beyond the vocabulary": (put(rows_at(5), "<I", 200), "contains a row beyond the 200 of the vocabulary"),
    "a row far beyond": (put(rows_at(5), "<I", 0xFFFFFFFF), "contains a row beyond the 200 of the vocabulary"),
    "a row twice": (lambda content: content.__setitem__(slice(24, 28), content[16:20]), "contains a row twice"),
    "NaN": (put(rows_at(9) + 4, "<f", math.nan), "contains NaN or infinity"),
    "infinity": (put(rows_at(0) + 4, "<f", math.inf), "contains NaN or infinity"),
    "minus infinity": (put(rows_at(63) + 4, "<f", -math.inf), "contains NaN or infinity"),
    "not sorted": (exchange, "is not sorted"),
    "a larger logit behind": (put(rows_at(63) + 4, "<f", 1000.0), "is not sorted"),
    "no sum": (put(0, "<Q", 0), "has a sum that does not fit its largest logit"),
    "a small sum": (put(0, "<Q", (1 << 34) - 1), "has a sum that does not fit its largest logit"),
    "another reference": (put(8, "<i", 77), "has a sum that does not fit its largest logit"),
    "less than the list": (put(0, "<Q", 1 << 34), "has a sum that does not fit its logits"),
    "more than all rows can have": (put(0, "<Q", 1 << 63), "has a sum that does not fit its logits"),
    "a larger largest logit": (put(rows_at(0) + 4, "<f", 1000.0), "has a sum that does not fit its largest logit"),
    "zeros": (lambda content: content.__setitem__(slice(None), bytes(528)), "has 0 rows of 200"),
    "ones": (lambda content: content.__setitem__(slice(None), b"\xff" * 528), "has 4294967295 rows of 200"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged(name: str) -> None:
    damage, sentence = DAMAGES[name]
    content = bytearray(record(rnd(np.random.default_rng(1).normal(0, 2, 200)), scale_of(1.0)))
    damage(content)
    with pytest.raises(HardwareError, match=f"^a shortlist of the logits {re.escape(sentence)}, because .*: run "
                                            "`bitnet-fpga doctor --board NAME`$"):
        Shortlist.from_record(bytes(content), 200, 1.0)


def test_ties_out_of_order() -> None:
    content = bytearray(record(np.zeros(200), scale_of(1.0)))
    Shortlist.from_record(bytes(content), 200, 1.0)
    exchange(content)
    with pytest.raises(HardwareError, match="is not sorted"):
        Shortlist.from_record(bytes(content), 200, 1.0)


def test_any_bytes() -> None:
    """Flipped bits are refused, or give a list that is one of some row: sampling never fails in another way."""
    random = np.random.default_rng(8)
    whole = record(rnd(random.normal(0, 2, 200)), scale_of(1.0))
    for _ in range(2000):
        content = np.frombuffer(whole, np.uint8).copy()
        content[random.integers(0, 528, random.integers(1, 4))] ^= np.uint8(1 << random.integers(8))
        try:
            found = Shortlist.from_record(content.tobytes(), 200, 1.0)
        except HardwareError:
            continue
        assert found.ids.max() < 200
        assert np.isfinite(found.logits).all()


@pytest.mark.parametrize("vocab", [5, 64, 65, 500])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_likelihood(vocab: int, count: int) -> None:
    row = rnd(np.random.default_rng(vocab).normal(0, 3, vocab)).astype(np.float32)
    row[1] = row[3]
    shortlist = shortlist_of(row, 1.0)
    for token in shortlist.ids.tolist():
        found, expected = Likelihood.of_list(token, shortlist, count), Likelihood.of(token, row, count)
        assert found is not None
        assert found.token == token
        assert [one for one, _ in found.likeliest] == [one for one, _ in expected.likeliest]
        pairs = zip((found.log_probability, *(value for _, value in found.likeliest)),
                    (expected.log_probability, *(value for _, value in expected.likeliest)), strict=True)
        assert all(abs(one - other) <= log_sum_error(vocab) for one, other in pairs)


def test_no_likelihood() -> None:
    row = rnd(np.random.default_rng(1).normal(0, 3, 100))
    first, last = int(row.argmax()), int(row.argmin())
    assert Likelihood.of_list(first, shortlist_of(row, 1.0), 64) is not None
    assert Likelihood.of_list(first, shortlist_of(row, 1.0), 65) is None
    assert Likelihood.of_list(last, shortlist_of(row, 1.0), 1) is None
    assert Likelihood.of_list(first, shortlist_of(row, 0.5), 1) is None
    assert Likelihood.of_list(first, shortlist_of(row * 2.0**20, 1.0), 1) is None
    assert Likelihood.of_list(int(row[:9].argmin()), shortlist_of(row[:9], 1.0), 20) is not None
