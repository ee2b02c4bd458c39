"""Link to an accelerator on a bus: loads the image into its memory once, then runs requests."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Coroutine, Generator
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sw.errors import HardwareError
from sw.image import ModelImage
from sw.job import JobResult, execute
from sw.links.link import Link, RunStats, Step
from sw.registers import Bus, Machine, check_identity, read_build_id
from sw.requests import Request
from sw.scrub import Progress, scrub

T = TypeVar("T")

__all__ = ["PIECE_BYTES", "MachineBus", "MachineLink", "piece_checksums"]

PIECE_BYTES = 1 << 15
"""Bytes of a piece. Memory is compared with the image by the CRC-32 of each piece, from the start of the range."""

GROUP_BYTES = 1 << 18
"""Bytes of the image that are compared at a time."""


def piece_checksums(content: NDArray[np.uint8]) -> list[int]:
    """CRC-32 of each piece of a content; the last one may be shorter."""
    return [zlib.crc32(content[start : start + PIECE_BYTES].data) for start in range(0, len(content), PIECE_BYTES)]


class MachineBus(Bus, Protocol):
    """A bus to an accelerator whose memory keeps its content between runs."""

    @property
    def base(self) -> int:
        """First address for an image."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory from `base` on."""
        ...

    def describe(self) -> str:
        """Text with the port or device of the accelerator and its properties."""
        ...

    async def checksums(self, address: int, size: int) -> list[int]:
        """`piece_checksums` of a range of memory, computed by the board if it can."""
        ...

    def close(self) -> None:
        """Release the port or device. May be called again."""
        ...


class MachineLink(Link):
    """Executes requests on the accelerator on a bus. The image is at `bus.base` in its memory."""

    def __init__(self, image: ModelImage, bus: MachineBus) -> None:
        super().__init__(image.plan)
        self.image, self.bus, self.base = image, bus, bus.base
        self._machine = Machine(bus)
        self._stats: RunStats | None = None
        self._loaded = False
        self._reached = 0

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result. `stop` ends it."""
        return asyncio.run(self.stop.ending(work))

    def build(self) -> int:
        """Build ID in the accelerator's registers. Raises HardwareError if they do not hold valid values."""
        return self._wait(read_build_id(self.bus))

    def load(self, progress: Progress = lambda done, total: None) -> None:
        """Load the image into memory; `run` calls it if necessary.

        Pieces that are in memory from an earlier load are not written again. At the end all pieces are compared again.
        `progress` is called with the bytes done and the total.

        Raises:
            HardwareError: the accelerator is another build, its memory is too small, or it does not keep written data.
        """
        self._wait(self._load(progress))
        self._loaded = True

    async def _load(self, progress: Progress) -> None:
        await check_identity(self.bus, self.config)
        layout = self.plan.layout(self.base)
        await self._reach(layout.logits)
        content = self.image.memory
        starts = range(0, len(content), GROUP_BYTES)
        for start in starts:
            for at in await self._wrong(start):
                await self.bus.write_memory(self.base + at, content[at : at + PIECE_BYTES].tobytes())
                progress(min(at + PIECE_BYTES, len(content)), len(content))
                await asyncio.sleep(0)  # an interruption may come in
            progress(min(start + GROUP_BYTES, len(content)), len(content))
        for start in starts:
            for at in await self._wrong(start):
                await self._tell_apart(at)

    async def _wrong(self, start: int, size: int = GROUP_BYTES) -> list[int]:
        """Start offsets of the pieces, within a range of the image, that differ in memory."""
        await asyncio.sleep(0)  # an interruption may come in
        part = self.image.memory[start : start + size]
        found = await self.bus.checksums(self.base + start, len(part))
        pieces = range(start, start + len(part), PIECE_BYTES)
        return [at for at, mine, theirs in zip(pieces, piece_checksums(part), found, strict=True) if mine != theirs]

    async def _read_back(self, start: int, size: int) -> NDArray[np.uint8]:
        """Content of memory for a range of the image. Pieces with the right checksum are not transferred."""
        content = np.array(self.image.memory[start : start + size])
        for at in await self._wrong(start, size):
            piece = content[at - start : at - start + PIECE_BYTES]
            piece[:] = await self.bus.read_memory(self.base + at, len(piece))
        return content

    async def _tell_apart(self, at: int) -> None:
        """Raise a HardwareError that describes how the piece at offset `at` is wrong."""
        piece = self.image.memory[at : at + PIECE_BYTES]
        differ = np.flatnonzero(await self.bus.read_memory(self.base + at, len(piece)) != piece)
        where = f"the byte at {self.base + at + differ[0]:#x} differs" if len(differ) else \
            f"the checksum of {len(piece)} bytes at {self.base + at:#x} was wrong"
        raise HardwareError(f"the memory does not keep the image: {where}; run `bitnet-fpga doctor --board NAME`")

    async def _reach(self, end: int) -> None:
        """Check that memory extends to an address. The bus raises HardwareError if it does not."""
        if end > self._reached:
            await self.bus.read_memory(end - self.config.beat_bytes, self.config.beat_bytes)
            self._reached = end

    def close(self) -> None:
        """Close the bus. The accelerator is idle between runs, so it needs no reset."""
        self.bus.close()

    @property
    def stats(self) -> RunStats | None:
        """Statistics from the accelerator's own counters. It does not count its memory traffic."""
        return self._stats

    def scrub(self, progress: Progress) -> None:
        """Compare the image in memory with the packed image (`sw.scrub.scrub`). Loads it first if necessary."""
        if not self._loaded:
            self.load()
        scrub(lambda address, size: self._wait(self._read_back(address - self.base, size)), self.image, self.base,
              progress)

    def run(self, request: Request) -> Generator[Step, None, None]:
        """As `Link.run`. Closing the generator aborts the run. Raises HardwareError as `load` and `sw.job.execute`."""
        if not self._loaded:
            self.load()
        self._wait(self._reach(self.plan.layout(self.base).used_end(request)))
        self._stats, started, result = None, time.perf_counter(), JobResult()
        tokens = execute(self._machine, self.plan, request, result, self.base)

        async def following() -> int | None:
            return await anext(tokens, None)

        async def close() -> None:
            await tokens.aclose()

        with asyncio.Runner() as runner:
            try:
                while (token := runner.run(self.stop.ending(following()))) is not None:
                    yield Step([], token)
            finally:
                runner.run(close())
        self._stats = RunStats(result.cycles, result.counters, time.perf_counter() - started)
        if result.logits or result.lists or result.heads:
            yield Step([row.astype(np.float64) for row in result.logits], None, tuple(result.lists), result.heads)
