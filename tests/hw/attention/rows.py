"""Rows of head elements, and how a row goes into a quantiser and comes out of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hw.contract.machine_float import FRACTION_BITS
from hw.dot.interfaces import OPERAND_BITS
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, Array, Codes, encode, exponent, rnd, to_int

__all__ = ["largest_of", "query_codes", "rows", "words_of"]


def rows(seed: int = 5) -> dict[str, Array]:
    """Named rows, then random ones of several lengths and sizes."""
    rng = np.random.default_rng(seed)
    named = {
        "all_zero": np.zeros(32),
        "one_word": np.array([1.0, -2.0, 0.5, 0.25]),
        "equal": np.full(32, -3.0),
        "single_non_zero": np.eye(32)[31] * -0.7,
        "minus_zero": np.array([-0.0, 1.5, -0.0, -0.0]),
        "ties": np.arange(-127.0, 129.0, 8.0)[:32] + 0.5,
        "largest_float": np.array([MAX_FLOAT, -MAX_FLOAT, 1.0, 0.0]),
        "smallest_float": np.array([MIN_FLOAT, -MIN_FLOAT, 0.0, 0.0]),
        "wide_range": np.exp2(np.arange(-16.0, 16.0)),
        "all_zero_again": np.zeros(32),
    }
    sizes = {f"random_{n}": rng.normal(size=n) * np.exp2(rng.integers(-20, 20)) for n in (4, 64, 100, 128)}
    small_and_large = {f"random_2^{e}": rng.normal(size=8) * 2.0**e for e in (-120, -112, 110, 120)}
    return {name: rnd(row) for name, row in (named | sizes | small_and_large).items()}


def query_codes(row: Array, softmax_scale: float) -> tuple[Codes, int]:
    """Codes of a query row, and the float code of their scale."""
    top = OPERAND_BITS - 2
    e = exponent(np.abs(row).max())
    return to_int(row * np.exp2(float(top - e)), 2 ** (top + 1) - 1), int(encode(rnd(softmax_scale * np.exp2(e - top))))


def largest_of(row: Array) -> int:
    """Code of the largest magnitude, without its sign."""
    return int(encode(np.abs(row).max()))


def words_of(values: Array, vector: int, **fields: Any) -> list[dict[str, Any]]:
    """A row as words of row_word; `fields` are the same in all."""
    parts = encode(values).reshape(-1, vector).tolist()
    exponent_field = largest_of(values) >> FRACTION_BITS
    return [{"values": part, "index": n, "exponent": exponent_field, "last": int(n == len(parts) - 1), **fields}
            for n, part in enumerate(parts)]
