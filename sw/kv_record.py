"""What the KV cache is known to hold, so that a conversation feeds only tokens that are new."""

from __future__ import annotations

from collections.abc import Sequence

from sw.requests import Batch, HeadAgain, Request

__all__ = ["KvRecord"]


class KvRecord:
    """The tokens of each slot's cache, from position 0 on, as far as runs are known to have fed them.

    A position is known to be fed when a token was chosen from it or from a later one, or when its run ended. Of a run
    that was stopped or failed, later positions may be fed or not, so they are not trusted.
    """

    def __init__(self) -> None:
        self._fed: dict[int, list[int]] = {}

    def shared(self, slot: int, tokens: Sequence[int]) -> int:
        """How many of the first tokens are in the cache of a slot. The last one never counts: it is fed to choose the
        next one from it."""
        fed, candidates = self._fed.get(slot, []), tokens[:-1]
        pairs = zip(fed, candidates, strict=False)
        return next((n for n, (old, new) in enumerate(pairs) if old != new), min(len(fed), len(candidates)))

    def held(self, slot: int) -> int:
        """How many tokens the cache of a slot is known to hold."""
        return len(self._fed.get(slot, []))

    def begin(self, request: Request) -> None:
        """A run begins, which overwrites its positions."""
        for slot, start, _ in _fed_by(request):
            del self._fed.setdefault(slot, [])[start:]

    def end(self, request: Request, chosen: Sequence[int], whole: bool) -> None:
        """A run chose tokens and ended; `whole` if it was not stopped before its end."""
        columns = request.columns if isinstance(request, Batch) else 1
        for number, (slot, start, given) in enumerate(_fed_by(request)):
            own, fed = chosen[number::columns], self._fed[slot]
            # A run that ended without the tokens it was asked for fed nothing that is known, and behind unknown
            # positions nothing is of use.
            if len(fed) == start and (own or (whole and not request.max_new_tokens)):
                fed += [*given, *own[:-1]]

    def forget(self) -> None:
        """Nothing is known any more, as after a failure of the hardware."""
        self._fed.clear()


def _fed_by(request: Request) -> list[tuple[int, int, Sequence[int]]]:
    """Slot, first position and tokens that a request feeds, besides those that it chooses."""
    if isinstance(request, HeadAgain):
        return []
    if isinstance(request, Batch):
        return [(entry.slot, entry.position, (entry.token,)) for entry in request.entries]
    return [(request.slot, request.start_position, request.prompt)]
