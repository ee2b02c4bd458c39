"""The engine: sequences of several users share the passes of one machine, and join and leave at any time.

The machine does one run after the other. A prompt is fed in pieces, one run each, and the prompts of several requests
take turns. After each piece the sequences that are already fed decode: one pass if a prompt waits for its next piece,
`PASSES` at most while requests wait for a place, and otherwise until one of them ends. A run of several passes is ended
at once when a request arrives or leaves. So a request that gets a place is fed after `PASSES` passes at most, and a
stream pauses for one piece at most.

The tokens of a sequence do not depend on the others: the logits of a column are its own, and each sequence has its own
random numbers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from hw.contract.register_map import MAX_END_IDS
from sw.driver import Driver, Generation
from sw.errors import HardwareError, SessionClosedError
from sw.links.link import RunStats
from sw.links.stop import Stopped
from sw.requests import Batch, HeadAgain, Job, Request
from sw.serve.order import Order, QueueFullError, Tell
from sw.serve.sequence import Sequence
from sw.serve.slots import Slots
from sw.split_head import HeadCounts
from sw.text import CheckpointText

__all__ = ["PASSES", "PIECE_PASSES", "Engine", "Tally"]

PASSES = 8
"""Most passes of a run while requests wait for a place."""

PIECE_PASSES = 16
"""Passes over the weights that feed a piece of a prompt."""

IDLE_S = 1
"""Seconds after which an idle engine looks again."""


class _Over(Exception):
    """A sequence of a run is over, which the machine does not know."""


@dataclass
class Tally:
    """Sums since the start."""

    runs: int = 0
    failed_runs: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    new_tokens: int = 0


@dataclass
class _UnderWay:
    """What the machine does now, under the engine's lock.

    Attributes:
        running: whether there is a run.
        yields: whether a run ends when a request arrives or leaves.
        asked: whether the engine has asked the link to stop it.
    """

    running: bool = False
    yields: bool = False
    asked: bool = False


class Engine:
    """Answers requests with a driver. `serve` runs in the thread of the machine, the other methods in any thread."""

    def __init__(self, driver: Driver, text: CheckpointText, queue: int, guard: int = 0) -> None:
        """`queue` is how many requests may wait for a place on the machine, `guard` that of jobs and batches."""
        self._driver, self._text, self._queue, self._guard = driver, text, queue, guard
        self._columns = driver.config.columns
        self.places = min(self._columns, driver.shape.sequences)
        self.context = driver.shape.context
        self.tally = Tally()
        self._slots = Slots(driver.shape.sequences, driver.cache)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Sequence] = deque()
        self._active: list[Sequence] = []
        self._under_way = _UnderWay()
        self._closed = False

    @property
    def load(self) -> tuple[int, int]:
        """How many requests have a place, and how many wait."""
        with self._lock:
            return len(self._active), len(self._waiting)

    @property
    def stats(self) -> RunStats | None:
        """Statistics of all runs so far together; None before the first one, and for the golden model."""
        return self._driver.total

    @property
    def head_counts(self) -> HeadCounts | None:
        """What was counted of the split head in all runs so far together; None if no run used it."""
        return self._driver.heads

    @property
    def full(self) -> bool:
        """Whether no more requests may wait."""
        with self._lock:
            return self._full()

    def _full(self) -> bool:
        return sum(not one.over for one in (*self._active, *self._waiting)) >= self.places + self._queue

    def check(self, order: Order) -> None:
        """Raises JobError for an order that cannot run."""
        self._driver.check(Job(prompt=order.prompt, max_new_tokens=order.max_new_tokens, chunk=1))

    def submit(self, order: Order, tell: Tell) -> Sequence:
        """Ask for an answer. `tell` gets its events, the last of which is an End or a Failure. Returns at once.

        Raises:
            JobError: the order cannot run.
            QueueFullError: too many requests wait.
            SessionClosedError: the engine is closed.
        """
        self.check(order)
        sequence = Sequence(order, tell, self._text, self.context, self._driver.config)
        with self._lock:
            if self._closed:
                raise SessionClosedError("the server is ending: send the request again later")
            if self._full():
                raise QueueFullError(f"{self._queue} requests wait already: try again later")
            self._waiting.append(sequence)
            self._change()
        return sequence

    def leave(self, sequence: Sequence) -> None:
        """Nobody wants the rest of an answer; there are no more events. May be called again."""
        with self._lock:
            if not sequence.over:
                sequence.gone = True
                self._change()

    def close(self) -> None:
        """End all answers with a Failure, and `serve`. Returns at once; may be called again."""
        with self._lock:
            self._closed = True
            self._change()

    def _change(self) -> None:
        """Something is to be decided anew: end the run if it need not end soon by itself. Under the lock."""
        self._changed.notify_all()
        now = self._under_way
        if now.running and (now.yields or self._closed) and not now.asked:
            now.asked = True
            self._driver.link.stop.ask()

    def serve(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Answer until `close`, or until `ended` says that the link's owner wants it back, at which it also stops the
        link. Raises what is not a HardwareError; those are told to the sequences of their run."""
        error: Exception = SessionClosedError("the server is ending: send the request again later")
        try:
            while self._settle(ended):
                self._feed()
                self._decode()
        except Exception as unexpected:
            error = unexpected
            raise
        finally:
            with self._lock:
                self._closed = True
                left = [*self._active, *self._waiting]
                self._active, self._waiting = [], deque()
            for sequence in left:
                sequence.fail(error)

    def _settle(self, ended: Callable[[], bool]) -> bool:
        """Remove sequences that are over, give free places to those that wait. Waits for a sequence.

        Returns False when the engine is closed.
        """
        with self._lock:
            while not (self._closed or ended()):
                for sequence in self._active:
                    if sequence.over and sequence.slot is not None:
                        self._slots.release(sequence.slot)
                self._active = [one for one in self._active if not one.over]
                self._waiting = deque(one for one in self._waiting if not one.over)
                while self._waiting and len(self._active) < self.places and self._slots:
                    sequence = self._waiting.popleft()
                    slot, reused = self._slots.take(sequence.order.prompt)
                    sequence.start(slot, reused)
                    self._active.append(sequence)
                    self.tally.prompt_tokens += len(sequence.order.prompt)
                    self.tally.reused_tokens += reused
                if self._active:
                    return True
                self._changed.wait(IDLE_S)
            return False

    def _feed(self) -> None:
        """Feed a piece of a prompt, and let the others be first the next time."""
        sequence = next((one for one in self._active if not one.ready), None)
        if sequence is None:
            return
        with self._lock:
            self._active.remove(sequence)
            self._active.append(sequence)
        job = replace(sequence.piece(PIECE_PASSES * self._columns, self._columns), guard=self._guard)
        if self._run(job, [sequence], 0) and not job.max_new_tokens:
            sequence.fed += len(job.prompt)

    def _decode(self) -> None:
        """Run a batch of those that are fed.

        A sequence whose likelihoods come from shortlists gets them from one whoever shares the pass: they differ from
        those of a row in the sixth digit. Others that need rows then get them from another run of the LM head.
        """
        ready = [one for one in self._active if one.ready and not one.over]
        if not ready:
            return
        feeding, end_ids = len(ready) < len(self._active), self._text.tokens.end_ids
        rows = any(one.needs_row for one in ready) and not any(one.likely_from_list for one in ready)
        one_pass = feeding or len(end_ids) > MAX_END_IDS or any(
            one.needs_row or one.list_at is not None for one in ready)
        with self._lock:
            limit = PASSES if self._waiting else self.context
        most = min(limit, self._driver.link.plan.run_rows // len(ready), *(one.left for one in ready))
        batch = Batch(entries=tuple(one.entry for one in ready), max_new_tokens=1 if one_pass else most,
                      end_ids=() if one_pass else end_ids, all_logits=rows, guard=self._guard)
        self._run(batch, ready, batch.max_new_tokens)

    def _run(
        self, request: Request, sequences: list[Sequence], passes: int, results: list[Generation] | None = None
    ) -> bool:
        """Run a request and give its tokens to the sequences. Returns whether it ran to its end.

        `results` get the logits of a request that chooses no tokens.
        """
        results, tokens = results or [Generation([]) for _ in sequences], list[int]()
        live, columns = passes > 1, len(sequences)

        def on_token(token: int) -> None:
            tokens.append(token)
            if live:
                sequences[(len(tokens) - 1) % columns].take(token)
                if len(tokens) % columns == 0 and any(one.over for one in sequences) and not _ends(request, tokens):
                    raise _Over

        with self._lock:
            if self._closed:
                return False
            self._under_way = _UnderWay(True, live)
        try:
            self._driver.run(request, results, on_token)
            if len(tokens) % columns or (request.max_new_tokens and not tokens):
                raise HardwareError("a run ended in the middle of a pass: reset the accelerator")
        except _Over:
            return False
        except Stopped:
            if not self._under_way.asked:  # by the link's owner
                self._closed = True
            return False
        except HardwareError as error:
            self._fault(sequences, error)
            return False
        finally:
            with self._lock:
                if self._under_way.asked:
                    self._driver.link.stop.clear()
                self._under_way = _UnderWay()
            self.tally.runs += 1
            self.tally.new_tokens += len(tokens)
        if not live and tokens:
            self._draw(sequences, results)
        return True

    def _draw(self, sequences: list[Sequence], results: list[Generation]) -> None:
        """Give each sequence its only token of a run, and the row of logits or the shortlist that it was chosen from,
        if there is one. Where shortlists do not suffice, the rows take another run."""
        left = self._take(sequences, results)
        if not left:
            return
        lacking, rows = [sequences[n] for n in left], [Generation([]) for _ in left]
        if self._run(HeadAgain(columns=len(sequences), wanted=tuple(left)), lacking, 0, rows):
            for n, row in zip(left, rows, strict=True):
                row.tokens = results[n].tokens
            self._take(lacking, rows)

    def _take(self, sequences: list[Sequence], results: list[Generation]) -> list[int]:
        """Give sequences their token, and what it is drawn from. Returns the numbers of those that still have none."""
        failed, left = list[tuple[Sequence, HardwareError]](), list[int]()
        for n, (sequence, result) in enumerate(zip(sequences, results, strict=True)):
            row = result.logits[-1] if result.logits else None
            shortlist = result.lists[-1] if result.lists else None
            try:
                if not sequence.take(result.tokens[-1], row, shortlist):
                    left.append(n)
            except HardwareError as error:
                failed.append((sequence, error))
        for sequence, error in failed:
            self._fault([sequence], error)
        return [] if failed else left  # after a fault all are fed again

    def _fault(self, sequences: list[Sequence], error: HardwareError) -> None:
        """Some sequences fail. What the cache holds is not trusted any more: the others are fed again."""
        self.tally.failed_runs += 1
        self._driver.cache.forget()
        for sequence in sequences:
            sequence.fail(error)
        for sequence in self._active:
            sequence.fed = 0


def _ends(request: Request, tokens: list[int]) -> bool:
    """Whether the machine ends a batch with the pass of these last tokens."""
    return len(tokens) == request.most_tokens or any(token in request.end_ids for token in tokens[-request.columns :])
