"""When to look at a run again, and whether it still moves: both from the machine's own counters."""

from __future__ import annotations

from sw.errors import HardwareError
from sw.model_plan import ModelPlan
from sw.registers import Machine
from sw.requests import Batch, Request

__all__ = ["FROZEN_PAUSES", "Liveness", "Pace", "patience"]

PATIENCE_CLOCKS = 1_000_000
"""Clocks that a run may spend on anything but a long ATTEND without a beat of the packet stream."""

FROZEN_PAUSES = 10
"""Pauses in which a running machine may fail to count clocks, before its clock counts as dead."""

STANDING_SHARE = 16
"""While a run takes nothing from the stream, as in an ATTEND, it is looked at again after this part of its age."""


def patience(plan: ModelPlan, request: Request) -> int:
    """Clocks without a beat of the packet stream after which a run counts as hung.

    The longest healthy pause is an ATTEND of a full context: every query head of every column plays the cache of its KV
    head. A memory that does not answer is reported by the machine itself, long before.
    """
    cache_beats = plan.head_stride // plan.config.beat_bytes
    return PATIENCE_CLOCKS + plan.config.timeout_cycles + 4 * request.columns * plan.shape.heads * cache_beats


class Liveness:
    """Watches the counters of a run. Clocks are the machine's own, so that a slow bus is not taken for a hang."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._moved = self._since = self._clock = -1
        self._frozen = 0

    def check(self, cycles: int, beats: int) -> None:
        """Takes CYCLES and STREAM_BUSY of a look at the run. Raises HardwareError if it hangs."""
        if beats != self._moved:
            self._moved, self._since, self._frozen = beats, -1, 0
            return
        self._frozen = self._frozen + 1 if cycles == self._clock else 0
        self._clock = cycles
        if self._frozen > FROZEN_PAUSES:
            raise HardwareError("the accelerator says that it runs, but its counter of clocks stands still")
        if self._since < 0:
            self._since = cycles
        if cycles - self._since > self._patience:
            raise HardwareError(
                f"the accelerator hangs: for {cycles - self._since} clocks it took nothing from the packet stream"
            )


class Pace:
    """How long to leave a run alone: until its next token is due, or its end.

    It is known how many beats of the packet stream a token takes, and STREAM_BUSY counts them. How many clocks a beat
    takes is learned from the token before, or from the last run of this kind on this machine. Where there was none, the
    first look comes after a moment, and each one after that when the run is twice as old at the latest.
    """

    def __init__(self, machine: Machine, plan: ModelPlan, request: Request) -> None:
        self._paces, self._request = machine.paces, request
        self._kind = type(request), request.columns
        self._stream, self._head = (plan.regions[name].size // plan.config.stream_bytes for name in ("stream", "head"))
        self._step = request.columns if isinstance(request, Batch) else 1  # tokens of a pass
        self._token = (0, 0, 0)  # tokens, clocks and beats when the last token was seen
        self._seen_beats = -1

    def _beats(self, tokens: int) -> int:
        """Of the packet stream, until so many tokens are made."""
        return self._request.passes(tokens) * self._stream + self._request.heads(tokens) * self._head

    def due(self, tokens: int) -> int:
        """How many tokens there are when the next ones are made."""
        return min(tokens + self._step, self._request.most_tokens)

    def clocks(self, tokens: int, cycles: int, beats: int) -> int:
        """Until the next look, after one that found these: TOKEN_COUNT, CYCLES and STREAM_BUSY. 0: a moment."""
        self.learn(tokens, cycles, beats)
        stands, self._seen_beats = beats == self._seen_beats, beats
        due = self._beats(self.due(tokens))
        left = due - beats
        if stands:
            return (cycles - self._token[1]) // STANDING_SHARE
        if left < 0:  # the pass after it has begun
            return 0
        pace = self._paces.get(self._kind)
        if pace is not None:
            return round(left * pace)
        return min(left * cycles // beats, cycles) if beats else 0

    def learn(self, tokens: int, cycles: int, beats: int) -> None:
        """As `clocks`, after the last look. Learns from one token to another, because the two counters are not read in
        the same clock, which would count between two looks in quick succession."""
        tokens_before, cycles_before, beats_before = self._token
        taken = beats - beats_before
        if taken and tokens != tokens_before:
            self._paces[self._kind] = (cycles - cycles_before) / taken
            self._token = tokens, cycles, beats
