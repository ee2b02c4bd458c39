"""Addresses of KV blocks equal the arithmetic of the golden machine's cache views."""

from __future__ import annotations

import random

import pytest

from hw.attention.block_address import HEAD_BITS, SLOT_BITS, BlockAddress
from hw.contract.config import BLOCK_POSITIONS, PRESETS
from tests.hw.steps import Step, run_stream

CONFIG = PRESETS["tiny"]
MASK = (1 << CONFIG.address_bits) - 1
NAMED = {
    "origin": (0, 0, 0, 0),
    "last of everything": (2**SLOT_BITS - 1, 2**30, 2**HEAD_BITS - 1, CONFIG.max_positions // BLOCK_POSITIONS - 1),
    "slot alone": (5, 0, 0, 0),
    "head alone": (0, 0, 200, 0),
    "block alone": (0, 0, 0, 41),
}


def check(stall: float, simulator: str = "pysim") -> None:
    """The named queries, then random ones; without stalls each takes `latency` clocks."""
    choose = random.Random(8)
    queries = [*NAMED.values()] + [
        (choose.getrandbits(SLOT_BITS), choose.getrandbits(36), choose.getrandbits(HEAD_BITS), choose.getrandbits(6))
        for _ in range(60)
    ]
    base, slot_stride, head_stride, block_bytes = 0x8_0000_0000, 0x0123_4560, 0x4_4000, 4224
    steady = {"kv_base": base, "slot_stride": slot_stride, "head_stride": head_stride, "block_bytes": block_bytes}
    dut = BlockAddress(CONFIG)
    received, log = run_stream(
        dut, {"i": [dict(zip(("slot", "layer", "head", "block"), query, strict=True)) for query in queries]},
        prepare=[Step(set=steady)], stall=stall, seed=8, silence=2 * dut.latency, simulator=simulator,
    )
    assert received == [
        base + slot * slot_stride + layer + head * head_stride + block * block_bytes & MASK
        for slot, layer, head, block in queries
    ]
    if not stall:
        assert log["o"] == [clock + dut.latency for clock in log["i"]]
        assert log["i"][1:] == [clock + 1 for clock in log["o"][:-1]]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_addresses(stall: float) -> None:
    check(stall)


def test_verilated() -> None:
    for stall in (0.0, 0.5):
        check(stall, "verilator")
