"""Rows of logits become float32 words in memory: every beat, every request, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.logits.interfaces import logits_row
from hw.logits.logits_writer import LogitsWriter
from sim.golden.number import decode
from tests.hw.float.vectors import random_codes
from tests.hw.logits.head_bench import written
from tests.hw.steps import Run, Step, run_steps


def config(ports: int, port_bits: int, columns: int, max_vocab: int = 300) -> AccelConfig:
    return AccelConfig(name="writer", ports=ports, port_bits=port_bits, rows=4, inputs=5 * ports * port_bits // 32,
                       columns=columns, query_rows=columns, max_vocab=max_vocab, max_hidden=64)


CONFIGS = {
    "64": config(1, 64, 2), "64, four ports": config(4, 64, 3), "128": config(1, 128, 1),
    "256": config(2, 256, 2), "512": config(1, 512, 5), "512, four ports": config(4, 512, 2),
    "a block is not filled": config(1, 64, 2, max_vocab=5),
}


class Writer(wiring.Component):
    """The unit with a `ready` of its rows, which is no port of a unit that is always ready."""

    def __init__(self, config: AccelConfig) -> None:
        self.config, self.unit = config, LogitsWriter(config)
        super().__init__(dict(self.unit.signature.members) | {"i_row": In(stream.Signature(logits_row(config)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        for name in ("i", "o_request", "o"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        m.d.comb += [
            unit.i_row.valid.eq(self.i_row.valid), unit.i_row.payload.eq(self.i_row.payload), self.i_row.ready.eq(1),
            unit.columns.eq(self.columns), self.idle.eq(unit.idle),
        ]
        return m


def words(config: AccelConfig, codes: NDArray[np.integer]) -> list[dict[str, int]]:
    """Row by row, of each row column by column; rows up to the end of the group of the layout are padding."""
    columns, m = codes.shape
    layout = HeadLayout(config, 1, m)
    rows = layout.groups * layout.group_rows
    padded = np.pad(codes, ((0, 0), (0, rows - m))).T.tolist()
    return [{"column": n, "row": row, "logit": padded[row][n], "padding": int(row >= m), "last": int(row == rows - 1)}
            for row in range(rows) for n in range(columns)]


def check(
    config: AccelConfig, groups: list[NDArray[np.integer]], stall: float = 0.0, seed: int = 0, simulator: str = "pysim"
) -> Run:
    """Groups of columns of logits [columns, m], one after the other. The unit is idle between them, and not inside."""
    random = np.random.default_rng(seed)
    addresses = [[int(n) * config.beat_bytes for n in random.integers(0, 1 << 30, len(group))] for group in groups]
    steps = [Step(read=["idle"])]
    for group, there in zip(groups, addresses, strict=True):
        announced = [{"column": n, "address": address} for n, address in enumerate(there)]
        steps += [Step(set={"columns": len(group)}, send={"i_row": announced}), Step(read=["idle"]),
                  Step(send={"i": words(config, group)}, read=["idle"]), Step(until="idle"),
                  Step(clocks=20, read=["idle"])]
    run = run_steps(Writer(config), steps, outputs=("o_request", "o"), stall=stall, seed=seed, simulator=simulator)
    expected = [written(config, decode(group), there) for group, there in zip(groups, addresses, strict=True)]
    assert run.received["o_request"] == [request for requests, _ in expected for request in requests]
    assert run.received["o"] == [beat for _, beats in expected for beat in beats]
    assert run.read == [[1], *[[0], [0], [1]] * len(groups)]
    return run


def logits(seed: Any, columns: int, m: int) -> NDArray[np.integer]:
    return np.asarray(random_codes(np.random.default_rng(seed), columns * m, 100, 150)).reshape(columns, m)


def groups_of(name: str, *counts: int) -> list[NDArray[np.integer]]:
    """Groups of so many logits; of all columns, of one, and so on."""
    dut = CONFIGS[name]
    most = dut.head_columns
    return [logits([m, n], (most, 1)[n % 2], m) for n, m in enumerate(counts) if m <= dut.max_vocab]


def counts_around_a_beat(name: str) -> list[NDArray[np.integer]]:
    """One logit, full beats, one more, one less."""
    size = CONFIGS[name].port_bits // 32
    return groups_of(name, 1, size, size + 1, 2 * size - 1, 2 * size, 3 * size + 1, 1)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_counts_around_a_beat(name: str, stall: float) -> None:
    """The words behind the last one are 0."""
    check(CONFIGS[name], counts_around_a_beat(name), stall, 3)


@pytest.mark.parametrize("name", CONFIGS)
def test_counts_around_a_block(name: str) -> None:
    """A request of each column for 64 rows; the next one starts where it ended."""
    check(CONFIGS[name], groups_of(name, 63, 64, 65, 127, 128, 129, 300))


@pytest.mark.parametrize("name", ["64", "128"])
def test_clocks(name: str) -> None:
    """A clock per beat and one per request, beside the logits of the next 64 rows, which are more."""
    dut, columns = CONFIGS[name], CONFIGS[name].head_columns
    run = check(dut, [logits(1, columns, 256)])
    beats = 64 * 32 // dut.port_bits
    first = run.clocks["i"][64 * columns - 1] + 1
    assert run.clocks["i"] == list(range(run.clocks["i"][0], run.clocks["i"][0] + 256 * columns))
    assert run.clocks["o_request"] == [
        first + n * 64 * columns + column * (1 + beats) for n in range(4) for column in range(columns)]
    assert run.clocks["o"] == [start + 1 + beat for start in run.clocks["o_request"] for beat in range(beats)]


def test_a_long_row_with_stalls() -> None:
    check(CONFIGS["64"], groups_of("64", 299, 7), stall=0.4, seed=8)


def no_logit_is_taken_without_a_row(simulator: str) -> None:
    """Logits of a run that does not keep them pass by."""
    names = ["idle", "i.ready", "o_request.valid", "o.valid"]
    offered = {"column": 0, "row": 0, "logit": 5, "padding": 0, "last": 1}
    steps = [Step(set={"columns": 1, "i.valid": 1, "i.payload": offered}), *[Step(read=names)] * 20]
    assert run_steps(Writer(CONFIGS["64"]), steps, outputs=(), simulator=simulator).read == [[1, 0, 0, 0]] * 20


def test_no_logit_is_taken_without_a_row() -> None:
    no_logit_is_taken_without_a_row("pysim")


def test_verilated() -> None:
    for stall in (0.0, 0.5):
        check(CONFIGS["64"], counts_around_a_beat("64") + groups_of("64", 63, 65, 300), stall, 3, "verilator")
        check(CONFIGS["512"], counts_around_a_beat("512") + groups_of("512", 129), stall, 4, "verilator")
    no_logit_is_taken_without_a_row("verilator")
