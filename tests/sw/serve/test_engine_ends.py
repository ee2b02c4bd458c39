"""How answers of an engine end, what is told of their tokens, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sw.errors import JobError, SessionClosedError
from sw.requests import Request
from sw.serve.order import Failure, Likelihood, Part, QueueFullError
from sw.text import CheckpointText
from tests.sw.chat.chat_model import CONTEXT
from tests.sw.serve.house import House
from tests.sw.serve.orders import assert_alone, house_of, image, order, tokens


def test_likelihoods(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text)
    guest = house.come(order(3, 5, 1, alternatives=2))
    house.serve()
    assert_alone(house, model, guest)
    parts = [event for _, event in guest.events if isinstance(event, Part)]
    likelihoods = [one for part in parts for one in part.likelihoods]
    assert [one.token for one in likelihoods] == tokens(house, guest)
    for one in likelihoods:
        assert one.likeliest[0] == (one.token, one.log_probability)
        assert len(one.likeliest) == 2
        assert one.likeliest[1][1] <= one.log_probability < 0


@pytest.mark.parametrize("count", [0, 1, 3, 20, 50])
def test_the_likeliest(count: int) -> None:
    """Of equal ones, those with lower ids."""
    row = np.array([1, 5, 2, 5, 5, 0, -3, 2] * 6, np.float32)
    found = Likelihood.of(6, row, count)
    assert [token for token, _ in found.likeliest] == sorted(range(len(row)), key=lambda one: (-row[one], one))[:count]
    assert np.isclose(found.log_probability, -3 - np.log(np.exp(row.astype(np.float64)).sum()))
    assert all(np.isclose(value - found.log_probability, row[token] + 3) for token, value in found.likeliest)


def test_likelihoods_are_those_of_what_is_shown(model: Path, text: CheckpointText) -> None:
    """Not those of a stop text, nor of what may become one; all tokens of a text that was held back for nothing."""
    alone = house_of(model, text).alone(image(model), order(3, 40, 1))
    texts = [text.decode([token]) or "" for token in alone]
    assert all(len(one) > 0 for one in texts[:8])
    whole = "".join(texts)
    before = len("".join(texts[:4]))
    assert len(texts[4]) > 1
    for start, told in ((before, 4), (before + 1, 5)):
        stop = whole[start : start + 4]
        assert whole.index(stop) == start
        house = house_of(model, text)
        guest = house.come(order(3, 40, 1, alternatives=0, stops=(stop,)))
        house.serve()
        found = [one.token for _, event in guest.events if isinstance(event, Part) for one in event.likelihoods]
        assert found == alone[:told]
    house = house_of(model, text)
    guest = house.come(order(3, 40, 1, alternatives=0, stops=(whole[-3:] + "?",)))
    house.serve()
    assert [one.token for _, event in guest.events if isinstance(event, Part) for one in event.likelihoods] == alone


def test_the_queue_is_bounded(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text, slots=2, queue=1)
    for seed in range(3):
        house.come(order(2, 2, seed))
    with pytest.raises(QueueFullError, match="1 requests wait already"):
        house.come(order(2, 2, 3))
    house.left -= 1
    house.serve()
    with pytest.raises(SessionClosedError, match="the server is ending"):
        house.engine.submit(order(2, 2), lambda event: None)


def test_what_does_not_fit_is_refused(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text)
    with pytest.raises(JobError, match=f"the prompt has {CONTEXT + 1} tokens"):
        house.engine.submit(order(CONTEXT + 1, 1), lambda event: None)


def test_closing_fails_what_is_left(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text, slots=2)
    guests = [house.come(order(3, 50, seed)) for seed in range(3)]

    def plan(house: House) -> None:
        if house.runs[-1].tokens == 4:
            house.engine.close()

    house.plan_of = plan
    house.serve()
    for guest in guests:
        assert isinstance(guest.end, Failure)
        assert isinstance(guest.end.error, SessionClosedError)


def test_an_error_of_the_program_ends_all(model: Path, text: CheckpointText) -> None:
    house = house_of(model, text)
    guest = house.come(order(3, 50))

    def fails(request: Request) -> bool:
        raise KeyError("a bug")

    house.broken = fails
    with pytest.raises(KeyError):
        house.serve()
    assert isinstance(guest.end, Failure)
