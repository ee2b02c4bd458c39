"""Sampler: all counters of a moment, and half as often when there are many samples."""

from __future__ import annotations

import asyncio
from typing import Any

from hw.contract.register_map import COUNTERS, find
from sim.links.sampler import FIRST_CLOCKS, MOST, Sampler


class Port:
    """Registers that hold their address plus the number of the sample, times 4096."""

    sample = 0

    async def read(self, address: int) -> int:
        return self.sample << 12 | address


def sampled(times: int) -> Sampler:
    port: Any = Port()
    sampler = Sampler(port)

    async def take() -> None:
        for port.sample in range(1, times + 1):
            await sampler.take()

    asyncio.run(take())
    return sampler


def test_a_sample_has_every_counter() -> None:
    (sample,) = sampled(1).samples
    assert sample == [1 << 12 | find(f"{name.upper()}_LO").address for name in COUNTERS]


def test_a_long_run_has_fewer_samples_per_clock() -> None:
    sampler = sampled(MOST - 1)
    assert (len(sampler.samples), sampler.clocks) == (MOST - 1, FIRST_CLOCKS)
    sampler = sampled(MOST + 3)
    assert sampler.clocks == 2 * FIRST_CLOCKS
    assert [sample[0] >> 12 for sample in sampler.samples] == [*range(2, MOST + 1, 2), MOST + 1, MOST + 2, MOST + 3]
