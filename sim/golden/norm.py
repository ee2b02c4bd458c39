"""RMSNorm with absmax quantisation, and the residual sum. This file is section 3 of docs/numerics.md (hw/norm)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.contract.config import SUM_PARTIALS, ceil_div
from sim.golden.number import Array, Codes, exponent, rnd, to_int

__all__ = ["Statistics", "Scale", "quantize", "quantize_lm_head", "residual", "scale", "statistics"]

MIN_ABSMAX = rnd(1e-5)
PER_127 = rnd(1 / 127)


@dataclass(frozen=True)
class Statistics:
    """Of one vector per column: `square_sum` [T] and `absmax` [T] of x * g."""

    square_sum: Array
    absmax: Array


@dataclass(frozen=True)
class Scale:
    """Per column [T]: reciprocal rms, the y that gets code 127, and the value of one code."""

    rstd: Array
    top: Array
    act_scale: Array


def statistics(x: Array, g: Array) -> Statistics:
    """x [T, n] machine floats, g [n] norm weights. The order of the sum is part of the contract."""
    t, n = x.shape
    steps = ceil_div(n, SUM_PARTIALS)
    squares = np.zeros((t, steps * SUM_PARTIALS))
    squares[:, :n] = rnd(x * x)
    partial = np.zeros((t, SUM_PARTIALS))
    for step in range(steps):
        partial = rnd(partial + squares[:, step * SUM_PARTIALS : (step + 1) * SUM_PARTIALS])
    stride = SUM_PARTIALS // 2
    while stride:
        partial = rnd(partial[:, :stride] + partial[:, stride:])
        stride //= 2
    return Statistics(partial[:, 0], np.abs(rnd(x * g)).max(axis=1))


def scale(stats: Statistics, per_n: float, eps: float) -> Scale:
    """Scalar work per column; per_n = rnd(1/n), eps > 0."""
    mean = rnd(stats.square_sum * per_n)
    rms = rnd(np.sqrt(rnd(mean + eps)))
    rstd = rnd(1.0 / rms)
    top = np.maximum(stats.absmax, rnd(rms * MIN_ABSMAX))
    return Scale(rstd, top, rnd(np.maximum(rnd(stats.absmax * rstd), MIN_ABSMAX) * PER_127))


def quantize(x: Array, g: Array, top: Array) -> Codes:
    """int8 codes [T, n] for the array.

    float64 is exact enough: 127 y has 24 bits, so a quotient that is no tie is at least 2^-26 of itself away from one.
    """
    return to_int(127.0 * rnd(x * g) / top[:, None], 127)


def quantize_lm_head(x: Array, g: Array, absmax: Array, rstd: Array) -> tuple[Codes, Array]:
    """16-bit codes [T, n] for the LM head and hs [T], the value of one code (section 7)."""
    e = exponent(absmax)
    codes = to_int(rnd(x * g) * np.exp2(14.0 - e)[:, None], 32767)
    return codes, rnd(rstd * np.exp2(e - 14.0))


def residual(h: Array, out: Array) -> Array:
    """h + out, one rounding."""
    return rnd(h + out)
