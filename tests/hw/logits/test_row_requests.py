"""The requests of RowRequests read the rows that were asked for, out of heads as the packer lays them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.config import STRIPE_BYTES, AccelConfig, preset
from hw.contract.head_layout import HeadLayout
from hw.logits.row_requests import RowRequests
from sw.pack import head_groups
from tests.hw.steps import Step, run_steps


def config(ports: int, port_bits: int, **sizes: int) -> AccelConfig:
    return AccelConfig(name="rows", ports=ports, port_bits=port_bits, rows=4, inputs=5 * ports * port_bits // 32,
                       candidates=64, **sizes)


CONFIGS = [config(ports, port_bits) for ports in (1, 2, 4) for port_bits in (64, 128, 256, 512)]
BASE = 0x8_7654_0000
LARGE = 128_256


def port_beats(layout: HeadLayout) -> NDArray[np.int64]:
    """Of each beat of port 0, in the order in which the port reads them, the byte address behind that of the region."""
    beats = layout.config.header_beats + layout.groups * layout.group_beats
    if layout.config.ports == 1:
        return np.arange(beats) * layout.config.beat_bytes
    stripe = STRIPE_BYTES // layout.config.beat_bytes
    memory = np.arange(-(-beats // stripe) * layout.config.ports * stripe) * layout.config.beat_bytes
    return memory.reshape(-1, layout.config.ports, stripe)[:, 0].reshape(-1)[:beats]


def starts(layout: HeadLayout) -> NDArray[np.int64]:
    """Of each row the number of its first beat on its port, by counting beats as they come."""
    beats = np.arange(layout.groups)[:, None, None] * layout.group_beats + np.arange(layout.port_rows)[:, None] * (
        layout.row_beats) + np.zeros(layout.config.ports, dtype=int)
    return beats.reshape(-1)[: layout.vocab] + layout.config.header_beats + 1


def expected(layout: HeadLayout, rows: Iterable[int], base: int) -> list[dict[str, int]]:
    """Requests for the beats of each row, a new one wherever their addresses do not follow each other."""
    addresses, first, requests = port_beats(layout), starts(layout), []
    for row in rows:
        own = addresses[first[row] : first[row] + layout.row_beats].tolist()
        cuts = [n + 1 for n, (a, b) in enumerate(pairwise(own)) if b != a + layout.config.beat_bytes]
        requests += [{"address": base + own[a], "beats": b - a} for a, b in pairwise([0, *cuts, len(own)])]
    return requests


def step(layout: HeadLayout, rows: Sequence[int], base: int) -> Step:
    return Step(set={"base": base, "row_beats": layout.row_beats}, send={"i": rows})


def check(layouts: Sequence[HeadLayout], choice: Sequence[Sequence[int]], **options: Any) -> list[dict[str, int]]:
    """Some rows of each of some heads of a machine; the last row is finished before the next head."""
    steps, wanted = [], []
    for n, (layout, rows) in enumerate(zip(layouts, choice, strict=True)):
        steps += [step(layout, rows, BASE + n * STRIPE_BYTES), Step(clocks=300)]
        wanted += expected(layout, rows, BASE + n * STRIPE_BYTES)
    run = run_steps(RowRequests(layouts[0].config), steps, **options)
    assert run.received["o"] == wanted
    return wanted


def at_ends_of_stripes(layout: HeadLayout) -> list[int]:
    """Rows that end with a stripe, begin with one, or are cut, and those that lie beside them."""
    stripe = STRIPE_BYTES // layout.config.beat_bytes
    first = starts(layout)
    near = np.flatnonzero((first % stripe > stripe - layout.row_beats - 2) | (first % stripe < 2))
    return near[:: max(1, len(near) // 40)].tolist()


def by_name(one: AccelConfig) -> str:
    return f"{one.ports} ports of {one.port_bits}"


@pytest.mark.parametrize("dut", CONFIGS, ids=by_name)
def test_rows_out_of_a_packed_head(dut: AccelConfig) -> None:
    """Memory is filled by the packer, and every port reads what the requests say."""
    layout = HeadLayout(dut, 777, 300)
    random = np.random.default_rng(dut.ports)
    codes = random.integers(-127, 128, (layout.vocab, layout.hidden))
    payload = head_groups(layout, codes, np.arange(layout.vocab, dtype=np.uint32)).reshape(-1)
    region = np.concatenate([np.zeros(dut.header_bytes, dtype=np.uint8), payload])
    memory = np.zeros(-len(region) % (dut.ports * STRIPE_BYTES) + len(region), dtype=np.uint8)
    memory[: len(region)] = region
    if dut.ports > 1:
        memory = memory.reshape(-1, STRIPE_BYTES // dut.beat_bytes, dut.ports, dut.beat_bytes)
        memory = memory.swapaxes(1, 2).reshape(-1)
    requests = iter(check([layout], [range(layout.vocab)], clocks=200_000))
    for row in range(layout.vocab):
        found = bytearray()
        while len(found) < layout.row_beats * dut.beat_bytes:
            one = next(requests)
            start = one["address"] - BASE + row % dut.ports * STRIPE_BYTES * (dut.ports > 1)
            found += memory[start : start + one["beats"] * dut.beat_bytes].tobytes()
        assert np.frombuffer(bytes(found), dtype=np.int8)[: layout.hidden].tolist() == codes[row].tolist()


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("dut", CONFIGS, ids=by_name)
def test_any_heads(dut: AccelConfig, stall: float) -> None:
    """Of several sizes, one after the other: the first and last rows, those at the ends of stripes, and others."""
    random = np.random.default_rng(dut.port_bits)
    layouts = [HeadLayout(dut, hidden, vocab) for hidden, vocab in
               ((1, 1), (dut.beat_bytes, 4096), (576, 777), (1000, 3001), (2048, 8192))]
    choice = [[0, *at_ends_of_stripes(one), *random.integers(0, one.vocab, 9).tolist(), one.vocab - 1]
              for one in layouts]
    requests = check(layouts, choice, stall=stall)
    cut = len(requests) > sum(map(len, choice))
    assert cut == (dut.ports > 1)


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_the_largest_vocabulary(ports: int) -> None:
    """As on `kv260`: rows of 2560 bytes, the last one of 128,256 too."""
    dut = preset("kv260").replace(ports=ports, rows=4, inputs=20 * ports, candidates=1024)
    layout = HeadLayout(dut, 2560, LARGE)
    rows = [0, 1, LARGE // 2, *at_ends_of_stripes(layout), LARGE - ports - 1, LARGE - 2, LARGE - 1]
    requests = check([layout], [rows])
    end = BASE + -(-(dut.header_bytes + layout.payload_bytes) // (ports * STRIPE_BYTES)) * ports * STRIPE_BYTES
    assert end - 2 * ports * STRIPE_BYTES < requests[-1]["address"] < end


def test_rows_longer_than_a_stripe() -> None:
    """They are cut more than once."""
    dut = config(2, 64, max_hidden=65535, max_vocab=100)
    requests = check([HeadLayout(dut, 65535, 100)], [[0, 1, 50, 99]])
    assert {one["beats"] for one in requests} > {STRIPE_BYTES // 8}
    assert len(requests) >= 4 * 4


def test_rows_of_one_beat_and_one_row() -> None:
    dut = config(1, 64, max_hidden=8, max_vocab=1)
    check([HeadLayout(dut, 8, 1), HeadLayout(dut, 3, 1)], [[0, 0], [0]])


@pytest.mark.parametrize("hidden", [1, 8, 16, 24, 100, 2048])
def test_cycles(hidden: int) -> None:
    """A request n + 3 clocks after its row, which is taken n + 4 clocks after the one before."""
    layout = HeadLayout(config(1, 64), hidden, 8192)
    clocks = run_steps(RowRequests(layout.config), [step(layout, [0, 8191, 77, 78], BASE)]).clocks
    bits = layout.row_beats.bit_length()
    assert [b - a for a, b in zip(clocks["i"], clocks["o"], strict=True)] == [bits + 3] * 4
    assert [b - a for a, b in pairwise(clocks["i"])] == [bits + 4] * 3


def test_cycles_of_a_row_that_is_cut() -> None:
    """Two more."""
    layout = HeadLayout(config(2, 64), 2048, 8192)
    first = starts(layout) % (STRIPE_BYTES // 8)
    row = int(np.flatnonzero(first > STRIPE_BYTES // 8 - 200)[0])
    clocks = run_steps(RowRequests(layout.config), [step(layout, [row, row], BASE)]).clocks
    bits = layout.row_beats.bit_length()
    assert clocks["o"] == [clocks["i"][0] + n + bits + 3 for n in (0, 2, bits + 6, bits + 8)]
    assert clocks["i"][1] == clocks["i"][0] + bits + 6


def test_a_base_inside_of_a_stripe() -> None:
    layout = HeadLayout(config(2, 64), 64, 64)
    with pytest.raises(AssertionError, match="the head starts at 876541000"):
        run_steps(RowRequests(layout.config), [step(layout, [1], BASE + 0x1000)])


@pytest.mark.parametrize("simulator", ["verilator", "netlist"])
@pytest.mark.parametrize("dut", [CONFIGS[0], CONFIGS[9]], ids=by_name)
def test_verilated(dut: AccelConfig, simulator: str) -> None:
    layouts = [HeadLayout(dut, hidden, 3001) for hidden in (3, 576, 2047)]
    for stall in (0.0, 0.4):
        check(layouts, [range(0, 3001, 7)] * 3, stall=stall, simulator=simulator)
