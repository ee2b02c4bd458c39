"""When a run is looked at again, by what its counters were at the looks before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sw.pace import STANDING_SHARE, Pace
from sw.registers import Machine
from sw.requests import Batch, Entry, Job, Request
from tests.sw.test_job import PLAN, FakeBus, stands

STREAM, LM_HEAD = (PLAN.regions[name].size // PLAN.config.stream_bytes for name in ("stream", "head"))
PASS = STREAM + LM_HEAD
DRAWN = Job(prompt=(3,), max_new_tokens=1, chunk=1, last_logits=True)


@pytest.fixture
def machine() -> Machine:
    return Machine(FakeBus(stands))


def pace(machine: Machine, request: Request = DRAWN) -> Pace:
    return Pace(machine, PLAN, request)


def test_the_next_run_of_a_kind_is_looked_at_when_the_last_one_had_ended(machine: Machine) -> None:
    first = pace(machine)
    assert first.clocks(0, 0, 0) == 0
    first.learn(1, 5000, PASS)
    assert pace(machine).clocks(0, 0, 0) == 5000
    assert pace(machine, replace(DRAWN, prompt=(1, 2, 3), chunk=3)).clocks(0, 0, 0) == 0


def test_without_one_it_is_looked_at_when_it_is_twice_as_old(machine: Machine) -> None:
    first = pace(machine)
    first.clocks(0, 0, 0)
    assert first.clocks(0, 1000, 10) == 1000
    assert first.clocks(0, 2000, PASS - 10) == 2000 * 10 // (PASS - 10)


def test_a_token_is_due_when_its_beats_are(machine: Machine) -> None:
    """By the clocks from the token before; what a look comes too late does not add up."""
    run = pace(machine, replace(DRAWN, max_new_tokens=4))
    assert run.clocks(1, 2 * (PASS + 8), PASS + 8) == 2 * (PASS - 8)
    assert run.clocks(2, 2 * (PASS + 8) + 3 * PASS, 2 * PASS + 8) == 3 * (PASS - 8)
    assert run.clocks(4, 10_000, 4 * PASS) == 0


def test_a_batch_makes_a_token_of_each_at_once(machine: Machine) -> None:
    batch = Batch(entries=(Entry(1, 0, 0), Entry(2, 0, 1)), max_new_tokens=3)
    run = pace(machine, batch)
    pair = STREAM + LM_HEAD  # both columns share a pass over the LM head
    assert run.clocks(2, pair, pair) == pair


def test_looks_in_quick_succession_teach_nothing(machine: Machine) -> None:
    """The last token was seen just before the run had ended; CYCLES and STREAM_BUSY are not of the same clock."""
    first = pace(machine)
    first.clocks(0, 0, 0)
    first.clocks(1, 4000, PASS - 1)
    first.learn(1, 5000, PASS)
    assert pace(machine).clocks(0, 0, 0) == round(PASS * 4000 / (PASS - 1))


def test_while_nothing_moves(machine: Machine) -> None:
    """Neither at once nor only when a whole token should have come: the run may hang."""
    run = pace(machine)
    run.clocks(0, 0, 0)
    run.clocks(0, 8000, 10)
    assert run.clocks(0, 16_000, 10) == 16_000 // STANDING_SHARE


def test_what_is_due_was_taken(machine: Machine) -> None:
    """The token is not counted yet, or was counted behind the look, and the next pass has begun."""
    run = pace(machine, replace(DRAWN, max_new_tokens=2))
    run.clocks(0, 0, 0)
    assert run.clocks(0, 5000, PASS) == 0
    assert run.clocks(0, 5050, PASS + 3) == 0
