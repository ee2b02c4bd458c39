"""How long users wait, in clocks of the simulated machine, while others are served."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from sim.links.simulated import SimulatedLink
from sw.requests import Batch, Job
from sw.sampling import Sampling
from sw.serve.engine import PASSES, PIECE_PASSES
from sw.serve.order import Order, Part
from sw.text import CheckpointText
from tests.sw.chat.chat_model import write_chat_model
from tests.sw.serve.house import Guest, House, image_of

MEDIUM = PRESETS["medium"]
PIECE = PIECE_PASSES * MEDIUM.columns


def first_token(guest: Guest) -> int:
    """During which run it came."""
    return next(run for run, event in guest.events if isinstance(event, Part))


@pytest.mark.long
def test_four_users(tmp_path: Path) -> None:
    """Each comes when the one before has its first token; the second one hangs up. Answers are those of the orders
    alone; the first token comes within PASSES passes and the feeding of the own prompt, which is one or two pieces; and
    no stream pauses for more than one piece."""
    folder = write_chat_model(tmp_path)
    image = image_of(folder, tmp_path, MEDIUM, 4)
    link = SimulatedLink(image)
    house = House(link, CheckpointText.open(folder, image.plan.shape.vocab))
    orders = [
        Order(prompt=(7, 8, 9), max_new_tokens=40), Order(prompt=tuple(range(5, 75)), max_new_tokens=40),
        Order(prompt=tuple(range(100, 170)), max_new_tokens=12, sampling=Sampling(temperature=0.8, seed=3)),
        Order(prompt=(20, 21), max_new_tokens=20),
    ]
    arrived = {0: 0}

    def plan(house: House) -> None:
        newest, run = house.guests[-1], house.runs[-1]
        if len(house.guests) < len(orders) and newest.events and run.tokens in (1, 5):
            arrived[len(house.guests)] = run.tokens
            house.come(orders[len(house.guests)])
        if len(house.guests[1:2]) and len(house.guests[1].events) == 15:
            house.hang_up(house.guests[1])

    house.plan_of = plan
    house.come(orders[0])
    try:
        house.serve()
    finally:
        link.close()
    runs = house.runs
    a_pass = max(run.clocks / run.request.passes(run.tokens) for run in runs
                 if isinstance(run.request, Batch) and run.clocks)
    a_piece = max(run.clocks for run in runs if isinstance(run.request, Job))
    for number, guest in enumerate(house.guests):
        tokens = guest.sequence._ids[len(guest.order.prompt) :] if guest.sequence else []
        expected = house.alone(image, guest.order)
        assert tokens == (expected[: len(tokens)] if number == 1 else expected)
        first = first_token(guest)
        began = runs[guest.came - 1] if number else None
        waited = sum(run.clocks for run in runs[guest.came : first])
        if began is not None and began.stopped:  # an aborted run has no clocks: what it did after the arrival
            assert began.tokens - arrived[number] < began.request.columns
            waited += a_pass
        elif began is not None:
            waited += began.clocks
        own = sum(run.clocks for run in runs[guest.came : first]
                  if isinstance(run.request, Job) and run.request.slot == guest.sequence.slot) if guest.sequence else 0
        print(f"user {number}: {len(guest.order.prompt)} tokens, first token after {waited:.0f} clocks, "
              f"{own} of its own prompt; a pass takes {a_pass:.0f}")
        assert waited <= PASSES * a_pass + own
        for before, after in pairwise(run for run, _ in guest.events):
            pause = [run for run in runs[before : after - 1] if not run.stopped]
            assert len(pause) <= 1
            assert all(isinstance(run.request, Job) and run.clocks <= a_piece for run in pause)
    assert max(len(run.request.prompt) for run in runs if isinstance(run.request, Job)) == PIECE
    assert any(run.stopped for run in runs)
