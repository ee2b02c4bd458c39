"""An engine that is run by the test itself: what happens during which run is decided there, so nothing depends on time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from hw.contract.config import AccelConfig
from sim.links.golden import GoldenLink
from sw.checkpoint import Checkpoint
from sw.driver import Driver
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.link import Link, RunStats, Step
from sw.pack import pack
from sw.requests import Job, Request
from sw.serve.engine import Engine
from sw.serve.order import End, Event, Failure, Order, Part
from sw.serve.sequence import Sequence
from sw.text import CheckpointText
from tests.sw.fake_link import FakeLink

__all__ = ["Guest", "House", "Run", "image_of"]


def image_of(checkpoint: Path, folder: Path, config: AccelConfig, slots: int) -> ModelImage:
    path = folder / f"{config.name}-{config.columns}-{slots}.img"
    if not path.exists():
        pack(Checkpoint.open(checkpoint), path, config, sequences=slots)
    return ModelImage.open(path, config)


@dataclass
class Run:
    """A run, its tokens, and its clocks where they are counted."""

    request: Request
    tokens: int = 0
    clocks: int = 0
    stopped: bool = False


@dataclass
class Guest:
    """A user: what it got, and during which runs."""

    order: Order
    came: int
    sequence: Sequence | None = None
    events: list[tuple[int, Event]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(event.text for _, event in self.events if isinstance(event, Part))

    @property
    def end(self) -> End | Failure:
        """The last event, and the only one of its kind."""
        last = [event for _, event in self.events if not isinstance(event, Part)]
        assert len(last) == 1
        assert self.events[-1][1] is last[0]
        return last[0]


class House(FakeLink):
    """Link and engine. `plan` is called with itself before every token (and before every run)."""

    def __init__(self, link: Link, text: CheckpointText, queue: int = 8) -> None:
        super().__init__(link.plan)
        self.link, self.stop = link, link.stop
        self.runs: list[Run] = []
        self.guests: list[Guest] = []
        self.left = 0
        self.plan_of: Callable[[House], None] = lambda house: None
        self.broken: Callable[[Request], bool] = lambda request: False
        self.engine = Engine(Driver(self), text, queue)

    @property
    def stats(self) -> RunStats | None:
        return self.link.stats

    def come(self, order: Order) -> Guest:
        guest = Guest(order, len(self.runs))
        self.left += 1

        def tell(event: Event) -> None:
            guest.events.append((len(self.runs), event))
            if not isinstance(event, Part):
                self._gone()

        guest.sequence = self.engine.submit(order, tell)
        self.guests.append(guest)
        return guest

    def hang_up(self, guest: Guest) -> None:
        assert guest.sequence is not None
        if not guest.sequence.over:
            self.engine.leave(guest.sequence)
            self._gone()

    def _gone(self) -> None:
        self.left -= 1
        if not self.left:
            self.engine.close()

    def run(self, request: Request) -> Generator[Step, None, None]:
        run = Run(request)
        self.runs.append(run)
        self.plan_of(self)
        if self.broken(request):
            raise HardwareError("the machine is broken")
        try:
            for step in self.link.run(request):
                if step.token is not None:
                    run.tokens += 1
                yield step
                self.plan_of(self)
        except BaseException:
            run.stopped = True
            raise
        measured = self.link.stats
        run.clocks = measured.cycles if measured else 0

    def serve(self) -> None:
        self.engine.serve()
        assert not self.left

    def alone(self, image: ModelImage, order: Order) -> list[int]:
        """The tokens of an order that nobody else disturbs, in the golden model."""
        job = Job(prompt=order.prompt, max_new_tokens=order.max_new_tokens, chunk=1, sampling=order.sampling,
                  end_ids=self.engine._text.tokens.end_ids)
        return Driver(GoldenLink(image)).generate(job).tokens
