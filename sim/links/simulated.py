"""The Verilated accelerator behind the driver: a simulator process per run, tokens as they come."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hw.accelerator import Accelerator
from hw.config import AccelConfig
from sim.bench import BenchError, build_model, run_bench
from sim.memory.top import SimulatedMemory
from sw.driver import Step
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.job import Layout
from sw.requests import Request

__all__ = ["SimulatedLink", "open_link"]

TOP = "accelerator"
POLL_S = 0.02
CYCLES_PER_BEAT = 40
"""Clocks granted per beat of a pass before a run counts as hung; a healthy one needs 2 to 5."""


class SimulatedLink:
    """Executes requests in Verilator.

    `stats` is filled by each run: cycles, counters, beats of memory traffic, seconds of wall time. `kv` is the KV
    memory between runs, all zero at first: a later one may continue where an earlier one ended.
    """

    def __init__(self, config: AccelConfig, image: ModelImage, memory_seed: int = 0) -> None:
        self.config, self.image, self.shape = config, image, image.shape
        self.memory_seed = memory_seed
        self.stats: dict[str, Any] = {}
        self.kv = np.zeros((self.shape.sequences, self.shape.slot_stride(config)), dtype=np.uint8)

    def build(self) -> Path:
        """Builds the simulator, or finds it; the first time takes a minute or two."""
        return build_model(Accelerator(self.config), top=TOP, memory=True)

    def _limit_cycles(self, request: Request) -> int:
        """A generous bound: every token reads the whole stream, the head, and the cache."""
        passes = request.fed(request.most_tokens) + 1
        beats = sum(r.size for r in self.image.regions.values()) // self.config.beat_bytes
        cache = self.shape.slot_stride(self.config) * self.shape.heads // self.config.beat_bytes
        return CYCLES_PER_BEAT * passes * (beats + cache) + 1_000_000

    def _read_bytes(self, request: Request, tokens: int, beats_read: int) -> dict[str, int]:
        """Bytes read per region: what the token loop asks for is known exactly, the rest of the total is KV cache."""
        beat, regions, fed = self.config.beat_bytes, self.image.regions, request.fed(tokens)
        found = {
            "stream": request.passes(tokens) * regions["stream"].size,
            "head": request.heads(tokens) * regions["head"].size,
            "embed": fed * self.shape.embed_stride(self.config),
            "rope": fed * self.shape.rope_stride(self.config),
            "prompt": request.prompt_words * beat,
        }
        return found | {"kv": beats_read * beat - sum(found.values()), "total": beats_read * beat}

    def run(self, request: Request) -> Generator[Step, None, None]:
        """Raises HardwareError if the accelerator reports an error or the simulator fails; ends it when closed."""
        layout = Layout.of(self.config, self.image)
        memory = SimulatedMemory(file=self.image.path, size=layout.end, seed=self.memory_seed)
        self.stats = {}
        failed: list[BaseException] = []
        with tempfile.TemporaryDirectory() as folder:
            events, logits, kv, stop = (Path(folder) / name for name in ("events", "logits.npy", "kv.npy", "stop"))
            np.save(kv, self.kv)
            parameters = {
                "image": str(self.image.path.resolve()), "request": asdict(request), "events": str(events),
                "logits": str(logits), "limit_cycles": self._limit_cycles(request), "kv": str(kv),
                "stop": str(stop),
            }

            def simulate() -> None:
                try:
                    run_bench(Accelerator(self.config), self.config, "sim.links.simulated_bench", top=TOP,
                              memory=memory, parameters=parameters)
                except BaseException as error:
                    failed.append(error)

            tokens, started = 0, time.perf_counter()
            worker = threading.Thread(target=simulate, daemon=True)
            worker.start()
            try:
                for event in _follow(events, worker):
                    if "error" in event:
                        failed.append(HardwareError(event["error"]))
                    elif "token" in event:
                        tokens += 1
                        yield Step([], event["token"])
                    else:
                        self.stats = event | {"seconds": time.perf_counter() - started}
                        self.stats["read_bytes"] = self._read_bytes(request, tokens, event["beats_read"])
            finally:  # also when the tokens are not wanted any more: the simulator ends before its folder does
                stop.touch()
                worker.join()
            if failed:
                if isinstance(failed[0], BenchError):
                    raise HardwareError(f"the simulator failed: {failed[0]}") from failed[0]
                raise failed[0]
            self.kv = np.load(kv)
            if request.all_logits:
                yield Step(list(np.load(logits).astype(np.float64)), None)


def _follow(path: Path, worker: threading.Thread) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines as they are written, until the worker has ended."""
    done, at = False, 0
    while True:
        text = path.read_text()[at:] if path.exists() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):
                at += len(line)
                yield json.loads(line)
        if done:
            return
        done = not worker.is_alive()
        time.sleep(POLL_S)


def open_link(config: AccelConfig, image: ModelImage, memory_seed: int = 0) -> SimulatedLink:
    """Used by `sw.driver.open_link`."""
    return SimulatedLink(config, image, memory_seed)
