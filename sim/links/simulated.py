"""The Verilated accelerator behind the driver: tokens as they come, from a simulator that lives as long as the link."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.accelerator import Accelerator
from hw.contract.config import AccelConfig
from sim.bench import build_model
from sim.links.simulator_process import TOP, Reply, SimulatorProcess
from sim.memory.top import SimulatedMemory
from sw.driver import Step
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.requests import Request
from sw.scrub import Progress, scrub

__all__ = ["SimulatedLink", "open_link"]

CYCLES_PER_BEAT = 40
"""Clocks granted per beat of a pass before a run counts as hung; a healthy one needs 2 to 5."""


class SimulatedLink:
    """Executes requests in Verilator.

    The simulator starts with the first run and ends with `close`; its memory, KV cache and all, stays in between. When
    it ends before, the link is of no more use: open another one.

    `stats` is filled by each run: cycles, counters, beats of memory traffic, seconds of wall time.
    """

    def __init__(self, config: AccelConfig, image: ModelImage, memory_seed: int = 0) -> None:
        self.config, self.image, self.plan = config, image, image.plan
        self.layout = image.plan.layout()
        self.memory_seed = memory_seed
        self.stats: dict[str, Any] = {}
        self._simulator: SimulatorProcess | None = None
        self._closed = False

    def build(self) -> Path:
        """Builds the simulator, or finds it; the first time takes a minute or two."""
        return build_model(Accelerator(self.config), top=TOP, memory=True)

    def close(self) -> None:
        """Ends the simulator. May be called again; a run afterwards raises HardwareError."""
        self._closed = True
        if self._simulator is not None:
            self._simulator.close()

    def _started(self) -> SimulatorProcess:
        if self._closed:
            raise HardwareError("the link to the simulator is closed: open another one")
        if self._simulator is None:
            memory = SimulatedMemory(file=self.image.path, size=self.layout.end, seed=self.memory_seed)
            self._simulator = SimulatorProcess(self.config, memory, self.image.path)
        return self._simulator

    def _limit_cycles(self, request: Request) -> int:
        """A generous bound: every token reads the whole stream, the head, and the cache."""
        passes = request.fed(request.most_tokens) + 1
        beats = sum(r.size for r in self.plan.regions.values()) // self.config.beat_bytes
        cache = self.plan.slot_stride * self.plan.shape.heads // self.config.beat_bytes
        return CYCLES_PER_BEAT * passes * (beats + cache) + 1_000_000

    def _read_bytes(self, request: Request, tokens: int, beats_read: int) -> dict[str, int]:
        """Bytes read per region: what the token loop asks for is known exactly, the rest of the total is KV cache."""
        beat, regions, fed = self.config.beat_bytes, self.plan.regions, request.fed(tokens)
        found = {
            "stream": request.passes(tokens) * regions["stream"].size,
            "head": request.heads(tokens) * regions["head"].size,
            "embed": fed * self.plan.embed_stride,
            "rope": fed * self.plan.rope_stride,
            "prompt": request.prompt_words * beat,
        }
        return found | {"kv": beats_read * beat - sum(found.values()), "total": beats_read * beat}

    def run(self, request: Request) -> Generator[Step, None, None]:
        """Closing it aborts the run. Raises HardwareError if the accelerator reports an error or the simulator fails,
        with what its log says."""
        self.stats = {}
        simulator, tokens, started = self._started(), 0, time.perf_counter()
        simulator.order("run", request, self._limit_cycles(request))
        try:
            while (reply := simulator.reply())[0] is Reply.TOKEN:
                tokens += 1
                yield Step([], reply[1])
        finally:
            simulator.settle()
        measured, rows = reply[1]
        self.stats = measured | {"seconds": time.perf_counter() - started}
        self.stats["read_bytes"] = self._read_bytes(request, tokens, measured["beats_read"])
        if rows:
            yield Step([row.astype(np.float64) for row in rows], None)

    def _memory(self, order: str, *arguments: object) -> Any:
        simulator = self._started()
        simulator.order(order, *arguments)
        try:
            return simulator.reply()[1]
        finally:
            simulator.settle()

    def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        """Bytes of the simulated memory, between runs. Raises HardwareError outside of it."""
        return self._memory("read_memory", address, size)

    def write_memory(self, address: int, content: bytes) -> None:
        """As `read_memory`."""
        self._memory("write_memory", address, content)

    def scrub(self, progress: Progress) -> None:
        """Compares the image in memory with what was packed, as `sw.scrub.scrub`."""
        scrub(self.read_memory, self.image, self.layout.image, progress)


def open_link(config: AccelConfig, image: ModelImage, memory_seed: int = 0) -> SimulatedLink:
    """Used by `sw.driver.open_link`."""
    return SimulatedLink(config, image, memory_seed)
