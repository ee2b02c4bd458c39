"""NormScale equals the scalar part of the golden norm, in constant time."""

import numpy as np
import pytest

from hw.norm import scale as unit
from hw.norm.scale import NormScale
from sim.golden import norm
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.norm.vectors import CONFIGS
from tests.hw.steps import run_stream

FIELDS = ("square_sum", "absmax", "per_n", "eps")
RESULTS = ("rstd", "top", "act_scale")
BELOW = float(norm.MIN_ABSMAX) * (1 - 2.0**-16)

CASES = {
    "all_zero": (0.0, 0.0, 1 / 2048, 1e-5),
    "ordinary": (2048.0, 3.5, 1 / 2048, 1e-5),
    "one_element": (4.0, 2.0, 1.0, 1e-6),
    "huge_outlier": (1e30, 1e15, 1 / 160, 1e-5),
    "tiny_values": (1e-20, 1e-10, 1 / 160, 1e-5),
    "just_clamped": (1.0, BELOW, 1.0, MIN_FLOAT),
    "just_not_clamped": (1.0, float(norm.MIN_ABSMAX), 1.0, MIN_FLOAT),
    "saturated_sum": (MAX_FLOAT, MAX_FLOAT, 1 / 2560, 1e-5),
    "smallest_eps": (0.0, 0.0, 1 / 160, MIN_FLOAT),
    "large_norm_weights": (0.0, 1e20, 1 / 160, 1e-5),
}


def random_requests(seed: int, count: int) -> list[tuple]:
    rng = np.random.default_rng(seed)
    sums, maxima = np.exp(rng.normal(size=(2, count)) * [[8.0], [12.0]] - [[0.0], [6.0]])
    lengths = rng.integers(1, 6912, count)
    return [(s, a, 1 / n, 1e-5) for s, a, n in zip(sums, maxima, lengths, strict=True)]


def expected(requests) -> list[list[int]]:
    results = []
    for square_sum, absmax, per_n, eps in rnd(requests):
        out = norm.scale(norm.Statistics(square_sum[None], absmax[None]), float(per_n), float(eps))
        results.append([int(encode(getattr(out, name))[0]) for name in RESULTS])
    return results


def apply(requests, stall=0.0, simulator="pysim") -> list[list[int]]:
    """The results of the contract, the inverse belongs to the top; without stalls LATENCY clocks after each request."""
    payloads = [dict(zip(FIELDS, encode(rnd(request)).tolist(), strict=True)) for request in requests]
    got, log = run_stream(NormScale(CONFIGS["pair"]), {"i": payloads}, stall=stall, seed=1,
                          silence=2 * NormScale.LATENCY, simulator=simulator)
    if not stall:
        assert log["o"] == [clock + NormScale.LATENCY for clock in log["i"]]
    inverse, top = (decode([result[name] for result in got]) for name in ("inverse", "top"))
    np.testing.assert_allclose(inverse * top, 127.0, rtol=2.0**-14)
    return [[result[name] for name in RESULTS] for result in got]


def test_constants():
    assert unit.MIN_ABSMAX.value == encode(norm.MIN_ABSMAX)
    assert unit.TINY_MULTIPLIER.value == encode(rnd(127e5))
    assert unit.PER_127.value == encode(norm.PER_127)
    assert unit.ONE.value == encode(1.0)
    assert unit.LARGEST_CODE.value == encode(127.0)


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    assert apply([CASES[name]]) == expected([CASES[name]])


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random(stall):
    requests = random_requests(21, 150)
    results = expected(requests)
    clamped = sum(result[2] == expected([CASES["just_clamped"]])[0][2] for result in results)
    assert 20 < clamped < 130, "the vectors should cover both sides of the clamp"
    assert apply(requests, stall) == results


def test_just_clamped_shows_a_wrong_choice():
    # eps vanishes beside the sum, so rstd is 1 and absmax * rstd is absmax itself.
    above, below = expected([CASES["just_not_clamped"], CASES["just_clamped"]])
    assert above[1] == below[1] == encode(norm.MIN_ABSMAX) != encode(BELOW)


def test_latency():
    apply(CASES.values())
    assert NormScale.LATENCY == 55


def test_verilated():
    requests = [*CASES.values(), *random_requests(21, 150)]
    for stall in (0.0, 0.5):
        assert apply(requests, stall, "verilator") == expected(requests)
