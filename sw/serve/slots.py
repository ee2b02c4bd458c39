"""KV slots: which one a request gets, so that what the cache holds is used again."""

from __future__ import annotations

from collections.abc import Sequence

from sw.kv_record import KvRecord

__all__ = ["Slots"]


class Slots:
    """The slots that no sequence uses."""

    def __init__(self, count: int, cache: KvRecord) -> None:
        self._free, self._cache = list(range(count)), cache
        self._used = [0] * count  # when, in requests
        self._now = 0

    def __bool__(self) -> bool:
        """Whether there is a free one."""
        return bool(self._free)

    def take(self, prompt: Sequence[int]) -> tuple[int, int]:
        """A slot for a prompt, and how many of its first tokens that holds.

        It is the one that holds most of them, if that is at least half of the prompt. Otherwise, because all
        conversations may begin alike, it is the one whose content is worth least: tokens divided by the requests since
        it was used. So short requests use each other's slots, and a conversation that was left is overwritten at last.
        """
        self._now += 1
        slot = max(self._free, key=lambda one: self._cache.shared(one, prompt))
        if 2 * self._cache.shared(slot, prompt) < len(prompt):
            slot = min(self._free, key=lambda one: self._cache.held(one) / (self._now - self._used[one] + 1))
        self._free.remove(slot)
        return slot, self._cache.shared(slot, prompt)

    def release(self, slot: int) -> None:
        """Nothing uses the slot any more; the cache keeps what it holds."""
        self._used[slot] = self._now
        self._free.append(slot)
