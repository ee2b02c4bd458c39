"""A machine on a bus behind the driver: the image goes to its memory once, then requests run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import Any

import numpy as np

from hw.config import AccelConfig
from sw.driver import Step
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.job import Bus, JobResult, Layout, check_identity, execute, used_end
from sw.requests import Request
from sw.scrub import Progress, scrub

__all__ = ["MachineLink"]

CHUNK_BYTES = 1 << 22
"""Bytes of the image that go to memory, or come back, at a time."""


class MachineLink:
    """Executes requests on the machine behind a bus; the image lies at `base` in its memory.

    `stats` is filled by each run: cycles, counters, seconds of wall time.
    """

    def __init__(self, config: AccelConfig, image: ModelImage, bus: Bus, base: int = 0) -> None:
        self.config, self.image, self.shape = config, image, image.shape
        self.bus, self.base = bus, base
        self.stats: dict[str, Any] = {}
        self._loaded = False

    def load(self) -> None:
        """Writes the image and reads it back; `run` does it where it was not done.

        Raises HardwareError: another build, no room for the model, or memory that does not keep what was written.
        """
        asyncio.run(self._load())
        self._loaded = True

    async def _load(self) -> None:
        await check_identity(self.bus, self.config)
        layout = Layout.of(self.config, self.image, self.base)
        await self._reach(layout.logits)
        content = self.image.memory
        for start in range(0, len(content), CHUNK_BYTES):
            await self.bus.write_memory(layout.image + start, content[start : start + CHUNK_BYTES].tobytes())
        for start in range(0, len(content), CHUNK_BYTES):
            part = content[start : start + CHUNK_BYTES]
            differ = np.flatnonzero(await self.bus.read_memory(layout.image + start, len(part)) != part)
            if len(differ):
                raise HardwareError(
                    f"the memory does not keep the image: the byte at {layout.image + start + differ[0]:#x} differs"
                )

    async def _reach(self, end: int) -> None:
        """Raises HardwareError, as the bus does, where memory ends before an address."""
        await self.bus.read_memory(end - self.config.beat_bytes, self.config.beat_bytes)

    def close(self) -> None:
        """Nothing is left to end: a run that has ended left the machine at rest."""

    def scrub(self, progress: Progress) -> None:
        """Compares the image in memory with what was packed, as `sw.scrub.scrub`; loads it where that was not done."""
        if not self._loaded:
            self.load()
        scrub(lambda address, size: asyncio.run(self.bus.read_memory(address, size)), self.image, self.base, progress)

    def run(self, request: Request) -> Generator[Step, None, None]:
        """Raises HardwareError as `load` and `sw.job.execute` do; closing it aborts the run."""
        if not self._loaded:
            self.load()
        layout = Layout.of(self.config, self.image, self.base)
        asyncio.run(self._reach(used_end(self.config, self.image, layout, request)))
        self.stats, started, result = {}, time.perf_counter(), JobResult()
        tokens = execute(self.bus, self.config, self.image, request, result, self.base)

        async def following() -> int | None:
            return await anext(tokens, None)

        async def close() -> None:
            await tokens.aclose()

        with asyncio.Runner() as runner:
            try:
                while (token := runner.run(following())) is not None:
                    yield Step([], token)
            finally:
                runner.run(close())
        self.stats = {"cycles": result.cycles, "counters": result.counters, "seconds": time.perf_counter() - started}
        if result.logits:
            yield Step([row.astype(np.float64) for row in result.logits], None)
