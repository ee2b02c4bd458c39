"""What the cache is known to hold after runs that end, are stopped, or overwrite each other."""

from __future__ import annotations

from sw.kv_record import KvRecord
from sw.requests import Batch, Entry, Job


def job(*prompt: int, start: int = 0, slot: int = 0, most: int = 9) -> Job:
    return Job(prompt=prompt, max_new_tokens=most, start_position=start, slot=slot, chunk=1)


def fed(record: KvRecord, request: Job | Batch, *chosen: int, whole: bool = True) -> None:
    record.begin(request)
    record.end(request, chosen, whole)


WHOLE = (1, 2, 3, 4, 5, 6, 7)


def test_the_last_token_is_always_fed() -> None:
    record = KvRecord()
    assert record.shared(0, WHOLE) == 0
    fed(record, job(1, 2, 3), 4, 5)
    assert record.shared(0, WHOLE) == 4  # 5 was chosen and not fed
    assert [record.shared(0, WHOLE[:n]) for n in (1, 2, 4, 5)] == [0, 1, 3, 4]
    assert record.shared(0, (1, 2, 9, 4, 5)) == 2
    assert record.shared(1, WHOLE) == 0


def test_a_run_that_continues_or_overwrites() -> None:
    record = KvRecord()
    fed(record, job(1, 2, 3), 4)
    fed(record, job(4, 5, start=3), 6)
    assert record.shared(0, WHOLE) == 5
    fed(record, job(9, start=1), 9)
    assert record.shared(0, WHOLE) == 1
    fed(record, job(7, start=6), 8)  # behind unknown positions
    assert record.shared(0, WHOLE) == 1


def test_a_run_that_is_stopped() -> None:
    """Before its first token nothing of its prompt is known."""
    record = KvRecord()
    fed(record, job(1, 2, 3), whole=False)
    assert record.shared(0, WHOLE) == 0
    fed(record, job(1, 2, 3), 4, 5, whole=False)
    assert record.shared(0, WHOLE) == 4
    fed(record, job(5, 6, start=4), whole=False)
    assert record.shared(0, WHOLE) == 4
    fed(record, job(5, 6, start=4, most=0))
    assert record.shared(0, WHOLE) == 6
    fed(record, job(1, 2))  # it was asked for tokens and chose none
    assert record.shared(0, WHOLE) == 0


def test_batches() -> None:
    record = KvRecord()
    fed(record, job(1, 2), 3)
    fed(record, job(1, slot=1), 2)
    both = Batch(entries=(Entry(3, 2, 0), Entry(2, 1, 1)), max_new_tokens=2)
    fed(record, both, 4, 3, 5, 4)
    assert (record.shared(0, WHOLE), record.shared(1, WHOLE)) == (4, 3)
    both = Batch(entries=(Entry(5, 4, 0), Entry(4, 3, 1)), max_new_tokens=2)
    fed(record, both, 6, whole=False)
    assert (record.shared(0, WHOLE), record.shared(1, WHOLE)) == (5, 3)
    record.forget()
    assert record.shared(0, WHOLE) == 0
