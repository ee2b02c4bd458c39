"""The golden model behind the driver: the token loop that the sequencer runs in fabric."""

from __future__ import annotations

from collections.abc import Generator

from hw.config import AccelConfig
from sim.golden.logits import argmax
from sim.golden.machine import GoldenMachine
from sw.driver import Step
from sw.image import ModelImage
from sw.requests import Job

__all__ = ["GoldenLink", "open_link"]


class GoldenLink:
    """Executes jobs in NumPy."""

    def __init__(self, config: AccelConfig, image: ModelImage) -> None:
        self.shape = image.shape
        self.machine = GoldenMachine(config, image)

    def run(self, job: Job) -> Generator[Step, None, None]:
        """Prompt in chunks, then token by token. A chosen token is fed only if another may follow."""
        fed, position, last = 0, job.start_position, len(job.prompt) - 1
        row = None
        while fed <= last:
            part = job.prompt[fed : fed + job.chunk]
            want = [job.all_logits or (fed + i == last and job.max_new_tokens > 0) for i in range(len(part))]
            rows = [r for r in self.machine.run_chunk(part, position, job.slot, want) if r is not None]
            fed, position = fed + len(part), position + len(part)
            row = rows[-1] if rows else None
            if fed <= last or not job.max_new_tokens:
                yield Step(rows, None)
            else:
                yield Step(rows, argmax(rows[-1]))
        for made in range(1, job.max_new_tokens):
            assert row is not None
            token = argmax(row)
            if token in self.shape.eos or position >= self.shape.context:
                return
            row = self.machine.run_chunk([token], position, job.slot, [True])[0]
            assert row is not None, made
            position += 1
            yield Step([row], argmax(row))


def open_link(config: AccelConfig, image: ModelImage) -> GoldenLink:
    """Used by `sw.driver.open_link`."""
    return GoldenLink(config, image)
