"""The model of the tests of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from sw.text import CheckpointText
from tests.sw.chat.chat_model import write_chat_model
from tests.sw.serve.orders import image


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def text(model: Path) -> CheckpointText:
    return CheckpointText.open(model, image(model).plan.shape.vocab)
