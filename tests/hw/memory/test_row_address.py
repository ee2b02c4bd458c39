"""Addresses of table rows against base + index * stride, at the limits and at random."""

from __future__ import annotations

import random

import pytest

from hw.contract.config import AccelConfig
from hw.memory.row_address import INDEX_BITS, RowAddress
from tests.hw.steps import run_stream

CONFIGS = {"36": AccelConfig(name="36", address_bits=36), "64": AccelConfig(name="64", address_bits=64)}
TOP_INDEX, TOP_STRIDE = (1 << INDEX_BITS) - 1, (1 << 32) - 1


def check(
    config: AccelConfig, queries: list[tuple[int, int, int]], stall: float = 0.0, seed: int = 0,
    simulator: str = "pysim",
) -> dict:
    """One answer per query, in order, and no more; returns the clocks of the transfers."""
    inputs = [dict(zip(("base", "stride", "index"), query, strict=True)) for query in queries]
    received, log = run_stream(RowAddress(config), {"i": inputs}, stall=stall, seed=seed, simulator=simulator)
    assert received == [(base + index * stride) % (1 << config.address_bits) for base, stride, index in queries]
    return log


def limits(config: AccelConfig) -> list[tuple[int, int, int]]:
    """No row, first and last index, an address that wraps around."""
    top = (1 << config.address_bits) - 1
    return [
        (0, 0, 0), (top, 0, TOP_INDEX), (4096, 640, 0), (4096, 640, 1), (0, TOP_STRIDE, TOP_INDEX), (top, 1, 1),
        (top, TOP_STRIDE, TOP_INDEX), (0, 1, TOP_INDEX), (0, 8, 1 << INDEX_BITS - 1), (0, 1 << 31, TOP_INDEX),
    ]


def random_queries(config: AccelConfig, seed: int) -> list[tuple[int, int, int]]:
    choose = random.Random(seed)
    bits = config.address_bits
    return [(choose.getrandbits(bits), choose.getrandbits(32), choose.getrandbits(INDEX_BITS)) for _ in range(25)]


@pytest.mark.parametrize("name", CONFIGS)
def test_limits(name: str) -> None:
    log = check(CONFIGS[name], limits(CONFIGS[name]))
    assert [o - i for i, o in zip(log["i"], log["o"], strict=True)] == [RowAddress.LATENCY] * 10
    assert all(i == o + 1 for o, i in zip(log["o"], log["i"][1:], strict=False))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_random_queries_and_stalls(name: str, seed: int) -> None:
    check(CONFIGS[name], random_queries(CONFIGS[name], seed), stall=0.5, seed=seed)


def test_verilated() -> None:
    config = CONFIGS["36"]
    for stall in (0.0, 0.5):
        check(config, limits(config) + random_queries(config, 1), stall, 1, "verilator")
