"""Words of vectors for the units between the array and the scratchpad, and a bench that compares what they make."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hw.contract.config import AccelConfig
from sim.golden.number import Array, encode
from tests.hw.steps import Step, run_steps
from tests.hw.with_memories import WithMemories, load

SIZES = {"max_hidden": 32, "max_intermediate": 64}
CONFIGS = {
    "scalar": AccelConfig(name="scalar", vector=1, columns=1, **SIZES),
    "pair": AccelConfig(name="pair", vector=2, columns=3, **SIZES),
    "quad": AccelConfig(name="quad", vector=4, rows=4, inputs=10, columns=2, **SIZES),
}
"""Every vector width; one column, and a number of columns that is no power of two."""


def words(config: AccelConfig, vectors, field: str) -> list[dict]:
    """Words of one vector per column as the array sends them: column after column for every word index."""
    count = vectors.shape[1] // config.vector
    cut = np.asarray(vectors).reshape(len(vectors), count, config.vector).tolist()
    return [{"column": column, "index": index, field: cut[column][index]}
            for index in range(count) for column in range(len(vectors))]


def stored(config: AccelConfig, vectors, base: int = 0) -> list[Step]:
    """Writes one vector of floats per column into the scratchpad, from word `base` of the column on."""
    return load("read", (
        {"addr": word["column"] * config.column_words + base + word["index"], "data": word["values"]}
        for word in words(config, encode(vectors), "values")
    ))


def check(
    dut, parts: Iterable[tuple[list[Step], list[dict], Array]], stall: float = 0.0, seed: int = 0,
    simulator: str = "pysim",
) -> None:
    """Plays each part: steps, then words that go in; the floats that must come out, and nothing else.

    Without stalls one word per clock, LATENCY clocks later.
    """
    parts = list(parts)
    steps = [step for before, inputs, _ in parts for step in (*before, Step(send={"i": inputs}))]
    run = run_steps(WithMemories(dut), steps, stall=stall, seed=seed, simulator=simulator)
    assert run.received["o"] == [word for _, _, floats in parts for word in words(dut.config, encode(floats), "values")]
    if not stall:
        assert run.clocks["o"] == [clock + dut.LATENCY for clock in run.clocks["i"]]
        taken = iter(run.clocks["i"])
        for _, inputs, _ in parts:
            clocks = [next(taken) for _ in inputs]
            assert clocks == list(range(clocks[0], clocks[0] + len(inputs)))
