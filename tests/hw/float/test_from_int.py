# amaranth: UnusedElaboratable=no

"""IntToFloat equals rnd(i)."""

import numpy as np
import pytest

from hw.float.from_int import IntToFloat
from sim.golden.number import encode, rnd
from tests.hw.float.vectors import assert_equal, stream


def test_latency():
    assert IntToFloat.LATENCY == 2


@pytest.mark.parametrize(
    "width, simulator", [*((width, "pysim") for width in (2, 8, 17, 18, 19, 24, 32, 40)), (34, "verilator")]
)
def test_equals_golden(width, simulator):
    rng = np.random.default_rng(width)
    top = 1 << (width - 1)
    named = np.array([0, 1, -1, top - 1, -top, 1 - top, 0x1FFFF, 0x20001, 0x20003, -0x20001, 0x3FFFF, 0x40006])
    sizes = rng.integers(0, width, 2000)
    values = np.concatenate([named[(named >= -top) & (named < top)],
                             rng.integers(-top, top, 2000) >> sizes])
    assert_equal(stream(IntToFloat(width), simulator, i=values), encode(rnd(values.astype(np.float64))), values)


def test_refuses_width():
    with pytest.raises(ValueError, match="not 65"):
        IntToFloat(65)
