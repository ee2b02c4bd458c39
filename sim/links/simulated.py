"""Link to the accelerator in Verilator. The simulator runs as long as the link is open."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.accelerator import Accelerator
from hw.contract.register_map import COUNTERS
from sim.bench import build_model
from sim.links.simulator_process import TOP, Reply, SimulatorProcess
from sim.memory.part import IDEAL, memory_part
from sim.memory.top import SimulatedMemory
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.link import Link, RunStats, Step, Traffic
from sw.requests import Request
from sw.scrub import Progress, scrub
from sw.split_head import HeadCounts

__all__ = ["SimulatedLink"]

CYCLES_PER_BEAT = 40
"""Clocks granted per beat of a pass before a run counts as hung; a healthy one needs 2 to 5."""


class SimulatedLink(Link):
    """Executes requests in Verilator.

    The simulator starts with `load` or the first run and ends with `close`; its memory, KV cache and all, stays in
    between. If the simulator ends earlier, the link cannot be used any more: open another one.

    Attributes:
        sampled: whether the counters are read over the time of the following runs, which takes a second or two.
        samples: those of the last run: values of all counters, by the name.
    """

    def __init__(self, image: ModelImage, memory_seed: int = 0, memory: str = IDEAL) -> None:
        """`memory` is one of sim.memory.part.MEMORIES; raises JobError if it is none or does not fit the ports."""
        super().__init__(image.plan)
        self.image, self.layout = image, image.plan.layout()
        self.memory_seed, self.part = memory_seed, memory_part(memory)
        if self.part:
            self.part.check(self.config)
        self._stats: RunStats | None = None
        self._simulator: SimulatorProcess | None = None
        self._closed = False
        self.sampled = False
        self.samples: list[dict[str, int]] = []

    def build(self) -> int:
        """Builds the simulator, or finds it. Its id is that of the configuration, which its Verilog is made of."""
        build_model(Accelerator(self.config), top=TOP, memory=True)
        return self.config.build_id

    def load(self, progress: Progress) -> None:
        """Starts the simulator, whose memory holds the image file from the first clock on; nothing is transferred."""
        self._started()

    @property
    def stats(self) -> RunStats | None:
        """Clocks, counters and memory traffic, as the simulation counts them."""
        return self._stats

    def close(self) -> None:
        """Ends the simulator. May be called again; a run afterwards raises HardwareError."""
        self._closed = True
        if self._simulator is not None:
            self._simulator.close()

    def _started(self) -> SimulatorProcess:
        if self._closed:
            raise HardwareError("the link to the simulator is closed: open another one")
        if self._simulator is None:
            memory = SimulatedMemory(file=self.image.path, size=self.layout.end, seed=self.memory_seed,
                                     part=self.part)
            self._simulator = SimulatorProcess(self.config, memory, self.image.path)
        return self._simulator

    def _limit_cycles(self, request: Request) -> int:
        """A generous bound: every token reads the whole stream, the LM head, and the cache."""
        passes = request.fed(request.most_tokens) + 1
        beats = sum(r.size for r in self.plan.regions.values()) // self.config.beat_bytes
        cache = self.plan.slot_stride // self.plan.shape.kv_heads * self.plan.shape.heads // self.config.beat_bytes
        return CYCLES_PER_BEAT * passes * (beats + cache) + 1_000_000

    def _read_bytes(
        self, request: Request, tokens: int, beats_read: int, counted: HeadCounts | None
    ) -> dict[str, int]:
        """Bytes read per region: what the token loop asks for is known exactly, the rest of the total is KV cache."""
        beat, regions, fed = self.config.beat_bytes, self.plan.regions, request.fed(tokens)
        heads = request.lm_heads(tokens, self.config.head_columns)
        found = {
            "stream": request.passes(tokens) * regions["stream"].size,
            "head": heads * regions["head"].size if counted is None else
                    counted.heads_repeated * regions["head"].size
                    + counted.rows_rescored * self.plan.head_layout.row_beats * self.config.stream_bytes,
            "embed": fed * self.plan.embed_stride,
            "rope": fed * self.plan.rope_stride,
            "prompt": request.prompt_words(self.config) * beat,
        }
        if self.plan.split:
            found["high"] = 0 if counted is None else heads * regions["high"].size
        return found | {"kv": beats_read * beat - sum(found.values()), "total": beats_read * beat}

    def run(self, request: Request) -> Generator[Step, None, None]:
        """Closing it aborts the run. Raises HardwareError if the accelerator reports an error or the simulator fails,
        with what its log says."""
        self._stats = None
        simulator, tokens, started = self._started(), 0, time.perf_counter()
        simulator.order("run", request, self._limit_cycles(request), self.sampled)
        try:
            while (reply := simulator.reply(self.stop.check))[0] is Reply.TOKEN:
                tokens += 1
                yield Step([], reply[1])
        finally:
            simulator.settle()
        measured, (rows, lists) = reply[1]
        self.samples = [dict(zip(COUNTERS, sample, strict=True)) for sample in measured["samples"]]
        read, written = measured["beats_read"], measured["beats_written"]
        self._stats = RunStats(measured["cycles"], measured["counters"], time.perf_counter() - started,
                               Traffic(read, written, self._read_bytes(request, tokens, read, measured["heads"])))
        if rows or lists or measured["heads"]:
            yield Step([row.astype(np.float64) for row in rows], None, tuple(lists), measured["heads"])

    def _memory(self, order: str, *arguments: object) -> Any:
        simulator = self._started()
        simulator.order(order, *arguments)
        try:
            return simulator.reply(self.stop.check)[1]
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
