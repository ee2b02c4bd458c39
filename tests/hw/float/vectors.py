"""Test vectors of the float units, and a bench that streams them through a pipelined unit."""

from __future__ import annotations

import numpy as np

from hw.contract.machine_float import FRACTION_BITS
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode
from tests.hw.steps import Step, run_steps

ULP = 2.0**-FRACTION_BITS

SPECIAL = {
    "zero": 0.0,
    "one": 1.0,
    "minus_one": -1.0,
    "after_one": 1.0 + ULP,
    "two_after_one": 1.0 + 2 * ULP,
    "before_one": 1.0 - ULP / 2,
    "before_two": 2.0 - ULP,
    "minus_before_two": -(2.0 - ULP),
    "one_and_half": 1.5,
    "half_ulp": ULP / 2,
    "minus_half_ulp": -ULP / 2,
    "above_half_ulp": ULP / 2 * (1 + ULP),
    "below_half_ulp": ULP / 2 * (1 - ULP / 2),
    "quarter_ulp": ULP / 4,
    "minus_quarter_ulp": -ULP / 4,
    "minus_above_quarter_ulp": -ULP / 4 * (1 + ULP),
    "three": 3.0,
    "root_of_min": 2.0**-63,
    "below_root_of_min": 2.0**-63 * (1 - ULP / 2),
    "root_of_max": 2.0**64,
    "max": MAX_FLOAT,
    "min": MIN_FLOAT,
    "minus_max": -MAX_FLOAT,
    "minus_min": -MIN_FLOAT,
    "after_min": MIN_FLOAT * (1 + ULP),
    "double_min": 2 * MIN_FLOAT,
    "before_double_min": MIN_FLOAT * (2 - ULP),
    "half_max": 2.0**127,
    "half_ulp_of_max": 2.0**(127 - FRACTION_BITS - 1),
}


def special_codes() -> np.ndarray:
    return encode(np.array(list(SPECIAL.values())))


def special_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Every special value with every other, both ways round."""
    codes = special_codes()
    a, b = np.meshgrid(codes, codes)
    return a.ravel(), b.ravel()


def random_codes(rng: np.random.Generator, count: int, low: int = 1, high: int = 254) -> np.ndarray:
    """Non-zero codes with exponent fields low..high; a quarter of the fractions are almost all zeros or all ones."""
    fraction = rng.integers(0, 1 << FRACTION_BITS, count)
    fraction = np.where(rng.random(count) < 0.25, rng.integers(-4, 4, count) % (1 << FRACTION_BITS), fraction)
    return rng.integers(0, 2, count) << 24 | rng.integers(low, high + 1, count) << FRACTION_BITS | fraction


def random_pairs(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A quarter with any exponents, the rest with exponents close together; signs vary, some are negated copies."""
    rng = np.random.default_rng(seed)
    wide = count // 4
    near = random_codes(rng, count - wide, 100, 140)
    distance = rng.integers(-20, 21, count - wide)
    other = random_codes(rng, count - wide, 1, 1) + (((near >> FRACTION_BITS & 0xFF) + distance - 1) << FRACTION_BITS)
    other = np.where(rng.random(count - wide) < 0.1, near ^ 1 << 24, other)
    return (np.concatenate([random_codes(rng, wide), near]), np.concatenate([random_codes(rng, wide), other]))


def pairs(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """All special pairs, then random ones."""
    special, rand = special_pairs(), random_pairs(seed, count)
    return np.concatenate([special[0], rand[0]]), np.concatenate([special[1], rand[1]])


def stream(dut, simulator: str = "pysim", **inputs) -> np.ndarray:
    """Feed one vector per clock; the output read LATENCY clocks after each. A wrong latency shows as wrong values."""
    columns = {name: np.asarray(values).tolist() for name, values in inputs.items()}
    count = len(next(iter(columns.values())))
    steps = [
        Step(set={name: column[min(clock, count - 1)] for name, column in columns.items()},
             read=["o"] if clock >= dut.LATENCY else [])
        for clock in range(count + dut.LATENCY)
    ]
    return np.array([value for value, in run_steps(dut, steps, outputs=[], simulator=simulator).read])


def serial(dut, simulator: str = "pysim", **inputs) -> np.ndarray:
    """Start one operation after the other; done must pulse exactly LATENCY clocks after each start."""
    steps = []
    for values in zip(*(np.asarray(column).tolist() for column in inputs.values()), strict=True):
        steps += [Step(set=dict(zip(inputs, values, strict=True)) | {"start": 1}),
                  Step(set=dict.fromkeys(inputs, 0x155_5555) | {"start": 0}, until="done", read=["o"])]
    run = run_steps(dut, steps, outputs=[], pulses={"start": "", "done": ""}, simulator=simulator)
    assert run.clocks["done"] == [clock + dut.LATENCY for clock in run.clocks["start"]]
    return np.array([value for value, in run.read])


def assert_equal(got, expected, *inputs) -> None:
    """Compare and show the first few vectors that differ, in hexadecimal."""
    wrong = np.flatnonzero(np.asarray(got) != np.asarray(expected))
    lines = [f"inputs {[hex(v[n]) for v in inputs]}: got {int(got[n]):#x}, expected {int(expected[n]):#x}"
             for n in wrong[:5]]
    assert not len(wrong), f"{len(wrong)} of {len(expected)} differ\n" + "\n".join(lines)
