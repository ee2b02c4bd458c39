"""What executes requests: a board, a simulator or the golden model, all alike."""

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

__all__ = ["Link", "RunStats", "Step", "Traffic"]


@dataclass(frozen=True)
class Step:
    """What comes next: logits of rows that were asked for, in order, and a token if one was chosen."""

    rows: list[NDArray[np.float64]]
    token: int | None


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Name by name."""
    return {name: value + other[name] for name, value in one.items()}


@dataclass(frozen=True)
class Traffic:
    """What went over the memory ports.

    Attributes:
        beats_read: beats of all ports together, each of `config.beat_bytes` bytes.
        beats_written: likewise.
        read_bytes: bytes read by region of the image, of the prompt area (`prompt`) and of the KV memory (`kv`), and
            all together (`total`).
    """

    beats_read: int
    beats_written: int
    read_bytes: Mapping[str, int]

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.beats_read + other.beats_read, self.beats_written + other.beats_written,
                       _sum(self.read_bytes, other.read_bytes))


@dataclass(frozen=True)
class RunStats:
    """What was measured of a run, or of several together, which a sum is of.

    Attributes:
        cycles: clocks of the machine, from start to done.
        counters: clocks by name, those of `sw.job.COUNTERS` in lower case (docs/registers.md).
        seconds: wall time.
        traffic: of the memory ports; None where the link does not see them.
        runs: how many these are of.
    """

    cycles: int
    counters: Mapping[str, int]
    seconds: float
    traffic: Traffic | None = None
    runs: int = 1

    def __add__(self, other: RunStats) -> RunStats:
        both = None if self.traffic is None or other.traffic is None else self.traffic + other.traffic
        return RunStats(self.cycles + other.cycles, _sum(self.counters, other.counters), self.seconds + other.seconds,
                        both, self.runs + other.runs)


class Link(ABC):
    """Executes requests on a model image. One thread at a time uses a link, the one that opened it or another; what
    it does there, any thread may end by `stop`, which raises `sw.links.stop.Stopped` in it.

    Attributes:
        config: of the machine.
        plan: of the model on that configuration.
        stop: ends what the link does from another thread.
    """

    def __init__(self, plan: ModelPlan) -> None:
        self.config, self.plan = plan.config, plan
        self.stop = Stop()

    @abstractmethod
    def build(self) -> int:
        """Build id of the machine behind the link. A machine that has to be made first is: a simulator is compiled, or
        found, which takes a minute or two the first time.

        Raises HardwareError where no machine answers, ToolError where one cannot be made.
        """

    @abstractmethod
    def load(self, progress: Progress) -> None:
        """Brings the image into the machine's memory. Need not be called: whatever needs the image there loads it.
        `progress` is told how many bytes of how many are done, where that takes time.

        Raises HardwareError: another build, no room for the model, or memory that does not keep what was written.
        """

    @abstractmethod
    def run(self, request: Request) -> Generator[Step, None, None]:
        """Steps of a run in order; ends at an end id, `max_new_tokens`, or a full context. Closing it ends the run.

        The KV memory stays for the next run. Raises HardwareError when the run fails.
        """

    @abstractmethod
    def scrub(self, progress: Progress) -> None:
        """Compares the image in the machine's memory with what was packed, between runs. Raises HardwareError that
        names the first byte that differs."""

    @property
    @abstractmethod
    def stats(self) -> RunStats | None:
        """What the last run measured; None before there was one, after one that did not end by itself, and where
        nothing is measured."""

    @abstractmethod
    def close(self) -> None:
        """Ends what the link has started; it is of no use afterwards. May be called again."""
