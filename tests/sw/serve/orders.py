"""Orders for an engine on a small model, and what is expected of their answers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hw.contract.config import PRESETS
from sim.links.golden import GoldenLink
from sw.image import ModelImage
from sw.serve.engine import PIECE_PASSES
from sw.serve.order import End, Order
from sw.text import CheckpointText
from tests.sw.serve.house import Guest, House, image_of

__all__ = ["FOUR", "PIECE", "assert_alone", "house_of", "image", "order", "tokens"]

FOUR = PRESETS["tiny"].replace(columns=4)
PIECE = 4 * PIECE_PASSES


def image(model: Path, slots: int = 4) -> ModelImage:
    return image_of(model, model, FOUR, slots)


def house_of(model: Path, text: CheckpointText, slots: int = 4, queue: int = 8) -> House:
    return House(GoldenLink(image(model, slots)), text, queue)


def order(length: int, most: int, seed: int = 0, **more: Any) -> Order:
    choose = random.Random(seed)
    return Order(prompt=tuple(choose.randrange(5, 500) for _ in range(length)), max_new_tokens=most, **more)


def tokens(house: House, guest: Guest) -> list[int]:
    assert guest.sequence is not None
    return guest.sequence._ids[len(guest.order.prompt) :]


def assert_alone(house: House, model: Path, guest: Guest) -> None:
    expected = house.alone(image(model), guest.order)
    assert tokens(house, guest) == expected
    end = guest.end
    assert isinstance(end, End)
    assert (end.prompt_tokens, end.new_tokens) == (len(guest.order.prompt), len(expected))
    assert guest.text == house.engine._text.decode(expected)
