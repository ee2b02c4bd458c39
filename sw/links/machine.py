"""A machine on a bus behind the driver: the image goes to its memory once, then requests run."""

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
"""Memory is compared with the image by the CRC-32 of pieces of this size, counted from where the comparison starts."""

GROUP_BYTES = 1 << 18
"""Bytes of the image that are compared at a time."""


def piece_checksums(content: NDArray[np.uint8]) -> list[int]:
    """CRC-32 of each piece of a content; the last one may be shorter."""
    return [zlib.crc32(content[start : start + PIECE_BYTES].data) for start in range(0, len(content), PIECE_BYTES)]


class MachineBus(Bus, Protocol):
    """A bus whose memory keeps the image from run to run."""

    @property
    def base(self) -> int:
        """Where an image may lie."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Size of the memory from there on."""
        ...

    def describe(self) -> str:
        """Where the board is and what it says of itself, for people."""
        ...

    async def checksums(self, address: int, size: int) -> list[int]:
        """`piece_checksums` of a range of memory, computed as near to it as can be."""
        ...

    def close(self) -> None:
        """Frees what the bus holds. May be called again."""
        ...


class MachineLink(Link):
    """Executes requests on the machine behind a bus; the image lies at `bus.base` in its memory."""

    def __init__(self, image: ModelImage, bus: MachineBus) -> None:
        super().__init__(image.plan)
        self.image, self.bus, self.base = image, bus, bus.base
        self._machine = Machine(bus)
        self._stats: RunStats | None = None
        self._loaded = False
        self._reached = 0

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; `stop` ends it."""
        return asyncio.run(self.stop.ending(work))

    def build(self) -> int:
        """What the machine's registers say. Raises HardwareError if nothing sensible answers."""
        return self._wait(read_build_id(self.bus))

    def load(self, progress: Progress = lambda done, total: None) -> None:
        """Brings the image into memory; `run` does it where it was not done. Pieces that are there already, from an
        earlier load, are not written again; in the end all of them are compared once more. `progress` is told how many
        bytes of how many are done.

        Raises HardwareError: another build, no room for the model, or memory that does not keep what was written.
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
        """Where pieces of a range of the image begin that are not in memory as they are in the image."""
        await asyncio.sleep(0)  # an interruption may come in
        part = self.image.memory[start : start + size]
        found = await self.bus.checksums(self.base + start, len(part))
        pieces = range(start, start + len(part), PIECE_BYTES)
        return [at for at, mine, theirs in zip(pieces, piece_checksums(part), found, strict=True) if mine != theirs]

    async def _read_back(self, start: int, size: int) -> NDArray[np.uint8]:
        """What is in memory where a range of the image belongs; pieces with its checksum are not transferred."""
        content = np.array(self.image.memory[start : start + size])
        for at in await self._wrong(start, size):
            piece = content[at - start : at - start + PIECE_BYTES]
            piece[:] = await self.bus.read_memory(self.base + at, len(piece))
        return content

    async def _tell_apart(self, at: int) -> None:
        """Raises HardwareError for the piece that starts there."""
        piece = self.image.memory[at : at + PIECE_BYTES]
        differ = np.flatnonzero(await self.bus.read_memory(self.base + at, len(piece)) != piece)
        where = f"the byte at {self.base + at + differ[0]:#x} differs" if len(differ) else \
            f"the checksum of {len(piece)} bytes at {self.base + at:#x} was wrong"
        raise HardwareError(f"the memory does not keep the image: {where}")

    async def _reach(self, end: int) -> None:
        """Raises HardwareError, as the bus does, where memory ends before an address. Asks where it was not yet."""
        if end > self._reached:
            await self.bus.read_memory(end - self.config.beat_bytes, self.config.beat_bytes)
            self._reached = end

    def close(self) -> None:
        """Frees the bus; a run that has ended left the machine at rest."""
        self.bus.close()

    @property
    def stats(self) -> RunStats | None:
        """Clocks and counters are the machine's own; it does not count its memory traffic."""
        return self._stats

    def scrub(self, progress: Progress) -> None:
        """Compares the image in memory with what was packed, as `sw.scrub.scrub`; loads it where that was not done."""
        if not self._loaded:
            self.load()
        scrub(lambda address, size: self._wait(self._read_back(address - self.base, size)), self.image, self.base,
              progress)

    def run(self, request: Request) -> Generator[Step, None, None]:
        """Raises HardwareError as `load` and `sw.job.execute` do; closing it aborts the run."""
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
        if result.logits:
            yield Step([row.astype(np.float64) for row in result.logits], None)
