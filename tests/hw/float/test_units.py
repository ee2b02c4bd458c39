# amaranth: UnusedElaboratable=no

"""Each float unit equals its golden function at its documented latency: in Verilator, and named cases one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hw.float.add import FloatAdd
from hw.float.divide import FloatDivide
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul
from hw.float.mul_to_int import MulToInt
from hw.float.sqrt import FloatSqrt
from hw.float.to_int import FloatToInt
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd, to_int
from tests.hw.float.vectors import (
    ULP,
    assert_equal,
    pairs,
    random_codes,
    random_pairs,
    serial,
    special_codes,
    special_pairs,
    stream,
)
from tests.hw.steps import Step, run_steps


@dataclass(frozen=True)
class Unit:
    """A unit and what is known of it.

    Attributes:
        make: the unit.
        golden: codes of the results, of codes of the inputs.
        inputs: codes for each input, by its name; arguments of `golden`.
        latency: clocks.
        play: how the inputs are given, `stream` or `serial`.
        simulator: in which all inputs are played.
        named: inputs and result, as numbers.
    """

    make: Callable[[], Any]
    golden: Callable[..., np.ndarray]
    inputs: Callable[[], dict[str, np.ndarray]]
    latency: int
    play: Callable[..., np.ndarray] = stream
    simulator: str = "verilator"
    named: dict[str, tuple[float, ...]] = field(default_factory=dict)


def of_pairs(seed: int, count: int) -> Callable[[], dict[str, np.ndarray]]:
    return lambda: dict(zip("ab", pairs(seed, count), strict=True))


def quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, y = decode(a), decode(b)
    return encode(rnd(np.where(y == 0, np.sign(x) * MAX_FLOAT, x / np.where(y == 0, 1, y))))


def for_divide() -> dict[str, np.ndarray]:
    both = zip(special_pairs(), random_pairs(seed=4, count=2500), strict=True)
    return dict(zip("ab", map(np.concatenate, both), strict=True))


def for_sqrt() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    squares = encode(rnd(np.arange(1, 300).astype(float) ** 2))
    a = np.concatenate([special_codes(), squares, random_codes(rng, 1500), random_codes(rng, 1500, 120, 135)])
    keep_negative = rng.random(len(a)) < 0.05
    return {"a": np.where(keep_negative, a, a & 0xFF_FFFF)}


def for_from_int(width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(width)
    top = 1 << (width - 1)
    named = np.array([0, 1, -1, top - 1, -top, 1 - top, 0x1FFFF, 0x20001, 0x20003, -0x20001, 0x3FFFF, 0x40006])
    sizes = rng.integers(0, width, 2000)
    return {"i": np.concatenate([named[(named >= -top) & (named < top)], rng.integers(-top, top, 2000) >> sizes])}


def for_mul_to_int(limit: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(limit)
    count, bits = 2000, limit.bit_length()
    special_a, special_b = pairs(seed=limit, count=1000)
    near = random_codes(rng, count, 20, 230)
    partner = np.clip(2 * 127 - (near >> 16 & 0xFF) + rng.integers(-4, bits + 2, count), 1, 254) << 16
    partner |= rng.integers(0, 1 << 16, count)
    ties = encode(rng.integers(-2 * limit, 2 * limit + 1, count) / 2)
    return {"a": np.concatenate([special_a, near, ties]),
            "b": np.concatenate([special_b, partner, np.full(count, encode(1.0))])}


HALVES = encode(rnd(np.concatenate([np.arange(-300, 300) / 2, (np.arange(-300, 300) * 2.0**15 + 1) * 2.0**-16])))


def for_to_int(limit: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(limit)
    bits = limit.bit_length()
    codes = np.concatenate([
        HALVES, special_codes(), random_codes(rng, 2000), random_codes(rng, 2000, 120, 129 + bits),
        encode(rnd(rng.integers(-2 * limit, 2 * limit + 1, 1000) / 2)),
    ])
    shifts = np.where(rng.random(len(codes)) < 0.6, 0, rng.integers(-256, 256, len(codes)))
    # Some of the random shifts bring the value into the range of the integer again.
    centred = np.clip(127 - (codes >> 16 & 0xFF) + rng.integers(-3, bits + 2, len(codes)), -256, 255)
    return {"i": codes, "shift": np.where(rng.random(len(codes)) < 0.2, centred, shifts)}


UNITS = {
    "add": Unit(FloatAdd, lambda a, b: encode(rnd(decode(a) + decode(b))), of_pairs(2, 10000), 3, named={
        "zeros": (0.0, 0.0, 0.0),
        "cancellation_is_plus_zero": (-1.5, 1.5, 0.0),
        "cancellation_is_exact": (1.0, -(1 - ULP / 2), ULP / 2),
        "tie_to_even_down": (1.0, ULP / 2, 1.0),
        "tie_to_even_up": (1 + ULP, ULP / 2, 1 + 2 * ULP),
        "above_tie": (1.0, ULP / 2 * (1 + ULP), 1 + ULP),
        "tie_below_a_power_of_two": (1.0, -ULP / 4, 1.0),
        "past_tie_below_a_power_of_two": (1.0, -ULP / 4 * (1 + ULP), 1 - ULP / 2),
        "carry_out_of_rounding": (2 - ULP, ULP / 2, 2.0),
        "far_operand_vanishes": (1.0, -MIN_FLOAT, 1.0),
        "overflow_saturates": (MAX_FLOAT, MAX_FLOAT, MAX_FLOAT),
        "rounding_overflows": (-MAX_FLOAT, -2.0**110, -MAX_FLOAT),
        "underflow_is_plus_zero": (MIN_FLOAT, -MIN_FLOAT * (1 + ULP), 0.0),
    }),
    "mul": Unit(FloatMul, lambda a, b: encode(rnd(decode(a) * decode(b))), of_pairs(1, 8000), 3, named={
        "zero_times_negative_is_plus_zero": (0.0, -2.0, 0.0),
        "tie_to_even_down": (1 + 3 * ULP, 1.5, 1.5 + 4 * ULP),
        "tie_to_even_up": (1 + ULP, -1.5, -(1.5 + 2 * ULP)),
        "carry_out_of_rounding": (1.5, 87381 * ULP, 2.0),
        "overflow_saturates": (MAX_FLOAT, -2.0, -MAX_FLOAT),
        "rounding_overflows": (2.0**127 * 1.5, 87381 * ULP, MAX_FLOAT),
        "underflow_is_plus_zero": (-MIN_FLOAT, 0.5, 0.0),
        "just_below_min_is_plus_zero": (MIN_FLOAT, 1 - ULP / 2, 0.0),
        "rounding_up_reaches_min": (2.0**-63 * (1 + ULP), 2.0**-63 * (1 - ULP), MIN_FLOAT),
    }),
    "divide": Unit(FloatDivide, quotient, for_divide, 21, serial, named={
        "zero_by_zero": (0.0, 0.0, 0.0),
        "positive_by_zero": (1.0, 0.0, MAX_FLOAT),
        "negative_by_zero": (-MIN_FLOAT, 0.0, -MAX_FLOAT),
        "zero_by_negative_is_plus_zero": (0.0, -3.0, 0.0),
        "exact": (-6.0, 3.0, -2.0),
        "third": (1.0, 3.0, 87381 * ULP / 4),
        "overflow_saturates": (MAX_FLOAT, -0.5, -MAX_FLOAT),
        "underflow_is_plus_zero": (-MIN_FLOAT, 2.0, 0.0),
        "just_below_min_is_plus_zero": (MIN_FLOAT, 1 + ULP, 0.0),
        "after_one": (1 + ULP, 1 - ULP / 2, 1 + 2 * ULP),
    }),
    # Negative numbers give zero.
    "sqrt": Unit(FloatSqrt, lambda a: encode(rnd(np.sqrt(np.maximum(decode(a), 0.0)))), for_sqrt, 20, serial, named={
        "zero": (0.0, 0.0),
        "negative": (-4.0, 0.0),
        "even_power": (4.0, 2.0),
        "min": (MIN_FLOAT, 2.0**-63),
        "max": (MAX_FLOAT, 2.0**64 * (1 - ULP / 2)),
        "square": (2.25, 1.5),
        "before_one": (1 - ULP / 2, 1 - ULP / 2),
        "after_one": (1 + ULP, 1.0),
        "two_after_one": (1 + 2 * ULP, 1 + ULP),
    }),
    **{f"from_int-{width}": Unit(
        lambda width=width: IntToFloat(width), lambda i: encode(rnd(i.astype(np.float64))),
        lambda width=width: for_from_int(width), 3, simulator="verilator" if width == 34 else "pysim",
    ) for width in (2, 8, 17, 18, 19, 24, 32, 34, 40)},
    **{f"mul_to_int-{width}-{limit}": Unit(
        lambda width=width, limit=limit: MulToInt(width, limit),
        lambda a, b, limit=limit: to_int(decode(a) * decode(b), limit), lambda limit=limit: for_mul_to_int(limit), 4,
        simulator="verilator" if width == 8 else "pysim",
    ) for width, limit in ((2, 1), (8, 127), (16, 32767))},
    **{f"to_int-{width}-{limit}": Unit(
        lambda width=width, limit=limit: FloatToInt(width, limit),
        lambda i, shift, limit=limit: to_int(np.ldexp(decode(i), shift), limit), lambda limit=limit: for_to_int(limit),
        2, simulator="verilator" if width == 16 else "pysim",
    ) for width, limit in ((2, 1), (8, 127), (8, 100), (16, 32767), (24, 8_000_000))},
}


@pytest.mark.parametrize("name", UNITS)
def test_latency(name: str) -> None:
    assert UNITS[name].latency == UNITS[name].make().LATENCY


@pytest.mark.parametrize("name", UNITS)
def test_equals_golden(name: str) -> None:
    unit, inputs = UNITS[name], UNITS[name].inputs()
    codes = inputs.values()
    assert_equal(unit.play(unit.make(), unit.simulator, **inputs), unit.golden(*codes), *codes)


@pytest.mark.parametrize("name, case", [(name, case) for name, unit in UNITS.items() for case in unit.named])
def test_named(name: str, case: str) -> None:
    unit = UNITS[name]
    *inputs, expected = encode(unit.named[case]).tolist()
    assert unit.play(unit.make(), **{port: [code] for port, code in zip("ab", inputs, strict=False)})[0] == expected


@pytest.mark.parametrize("a, b, expected", [
    (3.0, 0.5, 2), (5.0, 0.5, 2), (-5.0, 0.5, -2), (2.0, 0.25, 0), (255.0, 0.5, 127), (-256.0, 0.5, -127),
    # Rounded to floats first, these products would be the ties 0.5 and 1.5, and then 0 and 2.
    (1 + 2.0**-8, 0.5 * (1 - 2.0**-8 + 2.0**-16), 1),
    (3 * (1 + 2.0**-9), 0.5 * (1 - 2.0**-9), 1),
])
def test_products_are_rounded_once(a: float, b: float, expected: int) -> None:
    code_a, code_b = encode([a, b]).tolist()
    assert stream(MulToInt(8, 127), a=[code_a], b=[code_b])[0] == expected


def test_restart_and_hold() -> None:
    """A division is abandoned for the next, and its result stays."""
    six, three, two, one = encode([6.0, 3.0, 2.0, 1.0]).tolist()
    steps = [
        Step(set={"a": one, "b": three, "start": 1}), Step(set={"start": 0}, clocks=10),
        Step(set={"a": six, "start": 1}), Step(set={"start": 0}, clocks=78, read=["o"]),
    ]
    run = run_steps(FloatDivide(), steps, outputs=[], pulses={"start": "", "done": ""})
    assert run.clocks["done"] == [run.clocks["start"][1] + FloatDivide.LATENCY]
    assert run.read == [[two]]


@pytest.mark.parametrize("make, message", [
    (lambda: IntToFloat(65), "not 65"),
    (lambda: MulToInt(8, 0), "limit 0 does not fit a signed result of 8 bits"),
    (lambda: FloatToInt(8, 128), "limit 128 does not fit a signed result of 8 bits"),
], ids=["from_int", "mul_to_int", "to_int"])
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
