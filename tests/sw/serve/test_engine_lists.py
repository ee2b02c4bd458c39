"""Answers drawn from shortlists, beside others that need rows of logits, and those whose lists do not suffice."""

from __future__ import annotations

from pathlib import Path

from sw.requests import HeadAgain
from sw.sampling import Sampling
from sw.serve.order import Failure, Likelihood, Order, Part
from sw.text import CheckpointText
from tests.sw.serve.house import Guest
from tests.sw.serve.orders import assert_alone, house_of, order

FLAT = Sampling(temperature=100.0, top_p=0.9, seed=1)
"""Its lists never suffice."""

ORDERS = {
    "flat": order(3, 6, 1, sampling=FLAT),
    "listed": order(4, 6, 2, sampling=Sampling(temperature=0.9, top_k=20, seed=2)),
    "rows": order(2, 6, 3, sampling=Sampling(temperature=1.0, seed=3)),
    "greedy": order(5, 6, 4),
    "likely": order(3, 6, 5, alternatives=3),
    "likely and drawn": order(3, 6, 6, alternatives=2, sampling=Sampling(temperature=0.7, top_k=9, seed=4)),
}


def likelihoods(guest: Guest) -> list[Likelihood]:
    return [one for _, event in guest.events if isinstance(event, Part) for one in event.likelihoods]


def served(model: Path, text: CheckpointText, *orders: Order) -> list[Guest]:
    house = house_of(model, text)
    guests = [house.come(one) for one in orders]
    house.serve()
    for guest in guests:
        assert_alone(house, model, guest)
    return guests


def test_all_kinds_together(model: Path, text: CheckpointText) -> None:
    """Each answer is that alone, and so is each likelihood to the last bit, whoever shares its passes."""
    guests = served(model, text, *ORDERS.values())
    for guest in guests:
        alone, = served(model, text, guest.order)
        assert likelihoods(guest) == likelihoods(alone)
        assert bool(likelihoods(guest)) == (guest.order.alternatives is not None)


def test_a_list_in_vain(model: Path, text: CheckpointText) -> None:
    """One more run, of the row of the sequence that lacks one; its next tokens are drawn from rows at once."""
    house = house_of(model, text)
    flat, listed = house.come(ORDERS["flat"]), house.come(ORDERS["listed"])
    house.serve()
    assert_alone(house, model, flat)
    assert_alone(house, model, listed)
    again = [run.request for run in house.runs if isinstance(run.request, HeadAgain)]
    assert again == [HeadAgain(columns=1, wanted=(0,))]


def test_a_fault_of_the_head_again(model: Path, text: CheckpointText) -> None:
    """It fails the sequence that needed it; the other is fed again and answers as ever."""
    house = house_of(model, text)
    house.broken = lambda request: isinstance(request, HeadAgain)
    listed, flat = house.come(ORDERS["listed"]), house.come(ORDERS["flat"])
    house.serve()
    assert isinstance(flat.end, Failure)
    assert_alone(house, model, listed)
