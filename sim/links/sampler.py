"""Counters over the time of a run: inside the simulator, read through the registers while the run goes on."""

from __future__ import annotations

from hw.contract.register_map import COUNTERS, find
from sim.agents.axi_lite import AxiLitePort

__all__ = ["Sampler"]

FIRST_CLOCKS = 256
"""Clocks between the first samples. A sample takes about 70 clocks of register reads, which disturb no run."""

MOST = 512
"""Samples that are kept: at so many, every other one is dropped, and from then on they are taken half as often."""


class Sampler:
    """Reads the lower words of all counters every so many clocks, which become more as the run becomes longer.

    Runs of 2^32 clocks and more are not for it. The counters of a sample are read one after the other, CYCLES first.

    Attributes:
        samples: values of the counters, in the order of COUNTERS.
        clocks: clocks from one sample to the next.
    """

    def __init__(self, port: AxiLitePort) -> None:
        self._port = port
        self._addresses = [find(f"{name.upper()}_LO").address for name in COUNTERS]
        self.samples: list[list[int]] = []
        self.clocks = FIRST_CLOCKS

    async def take(self) -> None:
        """One sample, right after a rising edge of the clock."""
        self.samples.append([await self._port.read(address) for address in self._addresses])
        if len(self.samples) == MOST:
            del self.samples[::2]
            self.clocks *= 2
