"""Scale and shift of the head's activations equal the golden twin's."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.logits.head_scale import HeadScale
from sim.golden.norm import quantize_head
from sim.golden.number import decode, encode, exponent, rnd

EDGES = [0.0, 2.0**-126, 1.0, 1.5, 2.0 - 2.0**-16, 65536.0, 3e38]


@pytest.mark.parametrize("kind", ["edges", "random"])
def test_against_golden(kind: str) -> None:
    rng = np.random.default_rng(9)
    if kind == "edges":
        pairs = [(r, a) for r in (2.0**-60, 0.3, 316.2) for a in EDGES]
    else:
        pairs = [(abs(r), abs(a)) for r, a in np.exp2(rng.uniform(-60, 60, size=(300, 2)))]
    rstd, absmax = rnd(np.array(pairs)).T
    _, hs = quantize_head(absmax[:, None], np.ones(1), absmax, rstd)
    dut = HeadScale()

    async def bench(ctx) -> None:
        for n in range(len(rstd)):
            ctx.set(dut.rstd, int(encode(rstd[n])))
            ctx.set(dut.absmax, int(encode(absmax[n])))
            await ctx.tick().repeat(HeadScale.LATENCY)
            assert ctx.get(dut.shift) == 14 - int(exponent(absmax[n]))
            assert float(decode(ctx.get(dut.hs))) == hs[n], (rstd[n], absmax[n])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
