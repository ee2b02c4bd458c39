"""Interface of a link, which executes requests: a board, a simulator or the golden model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sw.links.stop import Stop
from sw.model_plan import ModelPlan
from sw.requests import Request
from sw.scrub import Progress
from sw.shortlist import Shortlist
from sw.split_head import HeadCounts

__all__ = ["Link", "RunStats", "Step", "Traffic"]


@dataclass(frozen=True)
class Step:
    """One step of a run: the requested rows of logits or shortlists, in order, and a token if one was chosen.

    The last step of a run that reads the high plane has its `heads`.
    """

    rows: list[NDArray[np.float64]]
    token: int | None
    lists: tuple[Shortlist, ...] = ()
    heads: HeadCounts | None = None


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Sum of two mappings with the same names."""
    return {name: value + other[name] for name, value in one.items()}


@dataclass(frozen=True)
class Traffic:
    """Traffic of the memory ports.

    Attributes:
        beats_read: beats read by all ports together, each of `config.beat_bytes` bytes.
        beats_written: beats written by all ports together.
        read_bytes: bytes read from each region of the image, from the prompt area (`prompt`), from the KV cache (`kv`),
            and in total (`total`).
    """

    beats_read: int
    beats_written: int
    read_bytes: Mapping[str, int]

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.beats_read + other.beats_read, self.beats_written + other.beats_written,
                       _sum(self.read_bytes, other.read_bytes))


@dataclass(frozen=True)
class RunStats:
    """Statistics of a run, or the sum over several runs.

    Attributes:
        cycles: clocks of the accelerator, from start to done.
        counters: clocks by name, those of `sw.job.COUNTERS` in lower case (docs/registers.md).
        seconds: wall time.
        traffic: traffic of the memory ports; None if the link does not count it.
        runs: number of runs.
        heads_again: of these, runs of the LM head for rows whose shortlists did not suffice.
    """

    cycles: int
    counters: Mapping[str, int]
    seconds: float
    traffic: Traffic | None = None
    runs: int = 1
    heads_again: int = 0

    def __add__(self, other: RunStats) -> RunStats:
        both = None if self.traffic is None or other.traffic is None else self.traffic + other.traffic
        return RunStats(self.cycles + other.cycles, _sum(self.counters, other.counters), self.seconds + other.seconds,
                        both, self.runs + other.runs, self.heads_again + other.heads_again)


class Link(ABC):
    """Executes requests on a model image. Only one thread may use a link at a time.

    Any other thread may end its current operation with `stop`, which raises `sw.links.stop.Stopped` in that thread.

    Attributes:
        config: configuration of the accelerator.
        plan: plan of the model on that configuration.
        stop: ends the current operation from another thread.
    """

    def __init__(self, plan: ModelPlan) -> None:
        self.config, self.plan = plan.config, plan
        self.stop = Stop()

    @abstractmethod
    def build(self) -> int:
        """Build ID of the accelerator. A simulator is compiled first, unless it is cached, which takes a minute or two.

        Raises:
            HardwareError: no accelerator answers.
            ToolError: the simulator cannot be compiled.
        """

    @abstractmethod
    def load(self, progress: Progress) -> None:
        """Load the image into the accelerator's memory. Optional: the methods that need the image load it themselves.

        `progress` is called with the bytes done and the total if loading takes time.

        Raises:
            HardwareError: the accelerator is another build, its memory is too small, or it does not keep written data.
        """

    @abstractmethod
    def run(self, request: Request) -> Generator[Step, None, None]:
        """Run a request and yield its steps, until an end id, `max_new_tokens`, or a full context.

        Closing the generator ends the run. The KV cache is kept for the next run.

        Raises:
            HardwareError: the run failed.
        """

    @abstractmethod
    def scrub(self, progress: Progress) -> None:
        """Compare the image in the accelerator's memory with the packed image. Call it between runs.

        Raises HardwareError, which names the first byte that differs.
        """

    @property
    @abstractmethod
    def stats(self) -> RunStats | None:
        """Statistics of the last run; None before the first run, after an aborted run, and if nothing is measured."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources. The link cannot be used afterwards. May be called again."""
