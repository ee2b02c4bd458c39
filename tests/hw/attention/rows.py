"""Rows of head elements, and a bench that sends them through a quantiser and measures its latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode, rnd
from tests.hw.steps import Step, run_stream


def rows(seed: int = 5) -> dict[str, np.ndarray]:
    """Named rows, then random ones of several lengths and sizes."""
    rng = np.random.default_rng(seed)
    named = {
        "all_zero": np.zeros(32),
        "one_word": np.array([1.0, -2.0, 0.5, 0.25]),
        "equal": np.full(32, -3.0),
        "single_non_zero": np.eye(32)[31] * -0.7,
        "ties": np.arange(-127.0, 129.0, 8.0)[:32] + 0.5,
        "largest_float": np.array([MAX_FLOAT, -MAX_FLOAT, 1.0, 0.0]),
        "smallest_float": np.array([MIN_FLOAT, -MIN_FLOAT, 0.0, 0.0]),
        "wide_range": np.exp2(np.arange(-16.0, 16.0)),
        "all_zero_again": np.zeros(32),
    }
    sizes = {f"random_{n}": rng.normal(size=n) * np.exp2(rng.integers(-20, 20)) for n in (4, 64, 100, 128)}
    return {name: rnd(row) for name, row in (named | sizes).items()}


def _words(dut, row, extra: Mapping[str, int]) -> list[dict]:
    parts = encode(row).reshape(-1, dut.config.vector).tolist()
    return [{"values": part, "last": n == len(parts) - 1, **extra} for n, part in enumerate(parts)]


def quantize(
    dut, inputs, steady: Mapping[str, int], extras: Sequence[Mapping[str, int]] | None = None, **options
) -> list[tuple[list[int], set[int]]]:
    """Codes of each row and the scales beside them; `steady` are values of other inputs, `extras` fields per row."""
    sent = [word for row, extra in zip(inputs, extras or [{}] * len(inputs), strict=True)
            for word in _words(dut, row, extra)]
    received, _ = run_stream(dut, {"i": sent}, prepare=[Step(set=steady)], silence=200, seed=1, **options)
    assert [word["last"] for word in received] == [word["last"] for word in sent]
    out, codes, scales = [], [], set()
    for word in received:
        codes += word["codes"]
        scales.add(word["scale"])
        if word["last"]:
            out.append((codes, scales))
            codes, scales = [], set()
    return out


def first_and_last(dut, row, **extra: int) -> tuple[int, int]:
    """Clocks from the row's last word to its first and to its last result."""
    _, log = run_stream(dut, {"i": _words(dut, row, extra)}, silence=200)
    return log["o"][0] - log["i"][-1], log["o"][-1] - log["i"][-1]
