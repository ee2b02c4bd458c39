"""Scale and shift of the head's activations equal the golden twin's."""

from __future__ import annotations

import numpy as np
import pytest

from hw.logits.lm_head_scale import LmHeadScale
from sim.golden.norm import quantize_lm_head
from sim.golden.number import encode, exponent, rnd
from tests.hw.steps import Step, run_steps

EDGES = [0.0, 2.0**-126, 1.0, 1.5, 2.0 - 2.0**-16, 65536.0, 3e38]


def edges() -> np.ndarray:
    return np.array([(r, a) for r in (2.0**-60, 0.3, 316.2) for a in EDGES])


def random_pairs() -> np.ndarray:
    return np.exp2(np.random.default_rng(9).uniform(-60, 60, size=(300, 2)))


def check(pairs: np.ndarray, simulator: str = "pysim") -> None:
    """A pair per clock, its result LATENCY clocks later."""
    rstd, absmax = rnd(pairs).T
    _, hs = quantize_lm_head(absmax[:, None], np.ones(1), absmax, rstd)
    steps = [Step(set={"rstd": r, "absmax": a}, read=["shift", "hs"])
             for r, a in zip(encode(rstd).tolist(), encode(absmax).tolist(), strict=True)]
    steps += [Step(read=["shift", "hs"])] * LmHeadScale.LATENCY
    got = run_steps(LmHeadScale(), steps, outputs=[], simulator=simulator).read[LmHeadScale.LATENCY :]
    assert got == np.stack([14 - exponent(absmax), encode(hs)], axis=1).tolist()


@pytest.mark.parametrize("pairs", [edges(), random_pairs()], ids=["edges", "random"])
def test_against_golden(pairs: np.ndarray) -> None:
    check(pairs)


def test_verilated() -> None:
    check(np.concatenate([edges(), random_pairs()]), "verilator")
