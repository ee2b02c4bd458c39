"""Polling of a run: when to read its counters again, and detection of a run that hangs."""

from __future__ import annotations

from sw.errors import HardwareError
from sw.model_plan import ModelPlan
from sw.registers import Machine
from sw.requests import Batch, HeadAgain, Request

__all__ = ["FROZEN_PAUSES", "Liveness", "Pace", "patience"]

PATIENCE_CLOCKS = 1_000_000
"""Most clocks without a beat of the packet stream, for anything but a long ATTEND or many rows of a split head."""

FROZEN_PAUSES = 10
"""Most polls in a row at which CYCLES of a running machine is unchanged, before its clock counts as stopped."""

STANDING_SHARE = 16
"""While no beats are taken from the stream, as in an ATTEND, the next poll is after 1/16 of the token's time so far."""


def patience(plan: ModelPlan, request: Request) -> int:
    """Clocks without a beat of the packet stream after which a run counts as hung.

    The longest regular pause is an ATTEND at full context, in which each query head of each column reads the cache of
    its KV head at most once; or a split head reads single rows, as many as it lists. If memory does not respond, the
    machine reports an error long before this limit.
    """
    config = plan.config
    attention = request.columns * plan.shape.heads * (plan.head_stride // config.beat_bytes)
    rows = config.candidates * plan.head_layout.row_beats if request.reads_high_plane else 0
    return PATIENCE_CLOCKS + config.timeout_cycles + 4 * max(attention, rows)


class Liveness:
    """Detects a run that hangs. It counts the machine's clocks, so that a slow bus is not taken for a hang."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._moved = self._since = self._clock = -1
        self._frozen = 0

    def check(self, cycles: int, beats: int) -> None:
        """Check one poll: the values of CYCLES and STREAM_BUSY. Raises HardwareError if the run hangs."""
        if beats != self._moved:
            self._moved, self._since, self._frozen = beats, -1, 0
            return
        self._frozen = self._frozen + 1 if cycles == self._clock else 0
        self._clock = cycles
        if self._frozen > FROZEN_PAUSES:
            raise HardwareError(f"the accelerator is busy, but its clock counter stays at {cycles}: check its clock, "
                                "and load the bitstream again")
        if self._since < 0:
            self._since = cycles
        if cycles - self._since > self._patience:
            raise HardwareError(
                f"the accelerator hangs: it read nothing from the packet stream for {cycles - self._since} clocks; "
                "check the image in its memory with --scrub, test the board with `bitnet-fpga doctor --board NAME`, "
                "and if both pass, report it with the output of `bitnet-fpga --version`"
            )


class Pace:
    """Estimates the clocks until the next token of a run, or its end, so that the host polls seldom.

    The plan gives the beats of the packet stream per token, and STREAM_BUSY counts them; with a split head they are
    those of its high plane, and a token for which the whole head is read comes later. The clocks per beat are
    measured at the previous token, or were measured in the last run of the same kind on this machine. Without a
    measurement, the first poll comes at once, and each later one before the run is twice as old.
    """

    def __init__(self, machine: Machine, plan: ModelPlan, request: Request) -> None:
        self._paces, self._request = machine.paces, request
        self._kind = type(request), request.columns, request.reads_high_plane
        regions = (plan.regions[name] for name in ("stream", "high" if request.reads_high_plane else "head"))
        self._stream, self._lm_head = (region.size // plan.config.stream_bytes for region in regions)
        self._together = plan.config.head_columns
        self._step = request.columns if isinstance(request, Batch) else 1  # tokens of a pass
        self._token = (0, 0, 0)  # tokens, clocks and beats when the last token was seen
        self._seen_beats = -1

    def _beats(self, tokens: int) -> int:
        """Beats of the packet stream until `tokens` tokens have been generated."""
        heads = self._request.lm_heads(tokens, self._together)
        return self._request.passes(tokens) * self._stream + heads * self._lm_head

    def due(self, tokens: int) -> int:
        """How many tokens there are when the next ones are made."""
        return min(tokens + self._step, self._request.most_tokens)

    def clocks(self, tokens: int, cycles: int, beats: int) -> int:
        """Clocks until the next poll, given TOKEN_COUNT, CYCLES and STREAM_BUSY of this one. 0: the shortest pause."""
        self.learn(tokens, cycles, beats)
        stands, self._seen_beats = beats == self._seen_beats, beats
        due = self._beats(self.due(tokens))
        left = due - beats
        if stands:
            return (cycles - self._token[1]) // STANDING_SHARE
        if left < 0:  # the pass after it has begun
            return 0
        pace = self._paces.get(self._kind)
        if pace is None and isinstance(self._request, HeadAgain):  # chooses no token to measure at
            pace = next(iter(self._paces.values()), None)
        if pace is not None:
            return round(left * pace)
        return min(left * cycles // beats, cycles) if beats else 0

    def learn(self, tokens: int, cycles: int, beats: int) -> None:
        """Measure the clocks per beat, from the values of a poll.

        It measures from one token to the next, because the two counters are not read in the same clock, which would
        distort the ratio over a short time.
        """
        tokens_before, cycles_before, beats_before = self._token
        taken = beats - beats_before
        if taken and tokens != tokens_before:
            self._paces[self._kind] = (cycles - cycles_before) / taken
            self._token = tokens, cycles, beats
