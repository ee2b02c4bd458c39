"""Several users on one machine: each answer is that of its order alone, whoever comes and goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sw.errors import HardwareError
from sw.requests import Batch, Job, Request
from sw.sampling import Sampling
from sw.serve.engine import PASSES
from sw.serve.order import End, Failure, Order
from sw.text import CheckpointText
from tests.sw.chat.chat_model import CONTEXT
from tests.sw.serve.house import Guest, House
from tests.sw.serve.orders import PIECE, assert_alone, house_of, image, order, tokens

ORDERS = [
    order(3, 30, 1), order(PIECE + 9, 20, 2), order(1, 9, 3),
    order(20, 25, 4, sampling=Sampling(temperature=0.9, seed=5)),
    order(2, 40, 5), order(CONTEXT - 4, 30, 6), order(5, 3, 7, sampling=Sampling(temperature=1.2, top_k=9, seed=1)),
    order(CONTEXT, 4, 8),
]


@pytest.mark.parametrize("slots", [2, 6])
def test_each_answer_is_that_of_its_order_alone(slots: int, model: Path, text: CheckpointText) -> None:
    """Greedy and drawn ones; they arrive in the middle of runs, some of which end because of it."""
    house = house_of(model, text, slots)
    coming = ORDERS[1:]

    def plan(house: House) -> None:
        if coming and sum(run.tokens for run in house.runs) >= 4 * (len(ORDERS) - len(coming)):
            house.come(coming.pop(0))

    house.plan_of = plan
    house.come(ORDERS[0])
    house.serve()
    assert len(house.guests) == len(ORDERS)
    for guest in house.guests:
        assert_alone(house, model, guest)
    assert any(run.stopped for run in house.runs)
    assert max(run.request.columns for run in house.runs if isinstance(run.request, Batch)) == min(slots, 4)


def test_alone_a_greedy_answer_takes_one_run(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text)
    house.come(order(3, 30))
    house.serve()
    assert [type(run.request) for run in house.runs] == [Job, Batch]
    assert [run.request.max_new_tokens for run in house.runs] == [1, 29]


def test_runs_are_short_while_requests_wait(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text, slots=2)
    guests = [house.come(order(3, most, seed)) for seed, most in enumerate((40, 40, 5))]
    house.serve()
    waited = [run.request for run in house.runs[2 : guests[2].events[0][0] - 1] if isinstance(run.request, Batch)]
    assert waited
    assert max(batch.max_new_tokens for batch in waited) <= PASSES


def test_a_request_that_arrives_ends_a_long_run_and_is_fed_next(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text)
    house.come(order(3, 60, 1))

    def plan(house: House) -> None:
        if len(house.guests) == 1 and house.runs[-1].tokens == 5 and isinstance(house.runs[-1].request, Batch):
            house.come(order(3, 5, 2))

    house.plan_of = plan
    house.serve()
    assert (house.runs[1].stopped, house.runs[1].tokens) == (True, 5)
    assert isinstance(house.runs[2].request, Job)
    assert house.guests[1].events[0][0] == 3
    for guest in house.guests:
        assert_alone(house, model, guest)


def test_prompts_are_fed_in_pieces_and_streams_go_on(model: Path, text: CheckpointText) -> None:
    """Two long prompts take turns, and no stream waits for more than a piece."""
    house = house_of(model, text)
    house.come(order(2, 30, 1))

    def plan(house: House) -> None:
        if len(house.guests) == 1 and len(house.runs) == 2:
            house.come(order(2 * PIECE, 3, 2))
            house.come(order(2 * PIECE, 3, 3))

    house.plan_of = plan
    house.serve()
    kinds = [("piece", run.request.slot) if isinstance(run.request, Job) else ("batch", run.request.max_new_tokens)
             for run in house.runs[2:9]]
    assert kinds == [("piece", 1), ("batch", 1), ("piece", 2), ("batch", 1), ("piece", 1), ("batch", 1), ("piece", 2)]
    assert all(len(run.request.prompt) <= PIECE for run in house.runs if isinstance(run.request, Job))
    for guest in house.guests:
        assert_alone(house, model, guest)


def test_a_hang_up_ends_one_answer_and_changes_no_other(model: Path, text: CheckpointText) -> None:
    """During a run of all, during its own prompt, and while it waits."""
    house = house_of(model, text, slots=2)
    guests = [house.come(one) for one in (order(3, 50, 1), order(4, 50, 2), order(2 * PIECE, 9, 3), order(6, 9, 4),
                                          order(4, 20, 5))]

    def plan(house: House) -> None:
        run = house.runs[-1]
        if isinstance(run.request, Batch) and run.request.max_new_tokens > 1 and run.tokens == 3:
            house.hang_up(guests[0])
            house.hang_up(guests[3])
        if isinstance(run.request, Job) and len(run.request.prompt) == PIECE:
            house.hang_up(guests[2])

    house.plan_of = plan
    house.serve()
    assert tokens(house, guests[0]) == house.alone(image(model), guests[0].order)[: len(tokens(house, guests[0]))]
    assert [tokens(house, guests[n]) for n in (2, 3)] == [[], []]
    assert_alone(house, model, guests[1])
    assert_alone(house, model, guests[4])


def test_a_stop_text_ends_one_answer_before_it(model: Path, text: CheckpointText) -> None:
    """It crosses tokens; the run ends with it, and the others go on."""
    house = house_of(model, text)
    alone = house.alone(image(model), order(3, 40, 1))
    whole = text.decode(alone) or ""
    stop = whole[5:9]
    stopping = house.come(order(3, 40, 1, stops=("never written", stop)))
    other = house.come(order(4, 40, 2))
    house.serve()
    assert stopping.text == whole[: whole.index(stop)]
    assert isinstance(stopping.end, End)
    assert stopping.end.reason == "stop"
    assert stopping.end.new_tokens < 40
    assert_alone(house, model, other)


def test_reasons(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text)
    ends = [house.come(one) for one in (order(2, 3, 1), order(CONTEXT - 2, 50, 2))]
    house.serve()
    assert [guest.end for guest in ends] == [End("length", 2, 3, 0), End("length", CONTEXT - 2, 3, 0)]


def test_a_conversation_is_fed_once(model: Path, text: CheckpointText) -> None:
    """Its next turn gets its slot, while short requests beside it use the others, more than there are columns."""
    house = house_of(model, text, slots=5)
    first = house.come(order(30, 10, 1))
    turns: list[Guest] = []

    def plan(house: House) -> None:
        if first.sequence is not None and first.sequence.ended and not turns and house.left < 2:
            turns.extend(house.come(order(8, 2, seed)) for seed in range(2, 9))
            answer = tokens(house, first)
            turns.append(house.come(Order(prompt=(*first.order.prompt, *answer, 7, 8, 9), max_new_tokens=4)))

    house.plan_of = plan
    house.come(order(3, 60, 10))
    house.serve()
    end = turns[-1].end
    assert isinstance(end, End)
    assert end.reused == 30 + 10 - 1
    for guest in house.guests:
        assert_alone(house, model, guest)


def test_a_fault_ends_the_answers_of_its_run_alone(model: Path, text: CheckpointText) -> None:
    """The others are fed again, because the cache is not trusted any more."""
    house = house_of(model, text)
    guests = [house.come(order(3, 30, seed)) for seed in range(3)]

    def fails(request: Request) -> bool:
        return isinstance(request, Job) and len(request.prompt) == PIECE

    def plan(house: House) -> None:
        if len(house.guests) == 3 and len(house.runs) == 4:
            house.come(order(PIECE + 3, 3, 3))

    house.broken, house.plan_of = fails, plan
    house.serve()
    failed = [guest for guest in house.guests if isinstance(guest.end, Failure)]
    assert failed == house.guests[3:]
    assert isinstance(failed[0].end, Failure)
    assert isinstance(failed[0].end.error, HardwareError)
    for guest in guests:
        assert_alone(house, model, guest)
    fed = [run.request.prompt for run in house.runs if isinstance(run.request, Job)]
    assert sum(len(prompt) > 3 and prompt[:3] == guests[0].order.prompt for prompt in fed) == 1
    assert house.engine.tally.failed_runs == 1


def test_logits_that_are_not_finite(model: Path, text: CheckpointText, monkeypatch: pytest.MonkeyPatch) -> None:
    house = house_of(model, text)
    drawn = house.come(order(3, 9, 1, sampling=Sampling(temperature=1.0)))
    greedy = house.come(order(3, 9, 2))

    def draw(self: object, row: np.ndarray) -> int:
        raise HardwareError("the logits contain NaN")

    monkeypatch.setattr("sw.sampling.Sampler.draw", draw)
    house.serve()
    assert isinstance(drawn.end, Failure)
    assert_alone(house, model, greedy)
