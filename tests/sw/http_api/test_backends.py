"""The server on the backends that run here: users at a time get what the golden model gives each alone."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from bitnet_fpga import Session
from hw.contract.config import PRESETS
from sw.http_api.app import make_app
from sw.http_api.server import HttpServer
from sw.http_api.service import Loaded, Service
from sw.links.mmap import MmapBus
from tests.sw.chat.chat_model import write_chat_model
from tests.sw.http_api.served import CHAT
from tests.sw.links.mmap_device import chip_in_folder

TINY = PRESETS["tiny"]
ASKED: list[dict[str, Any]] = [
    {"temperature": 0, "max_tokens": 12, "messages": [{"role": "user", "content": "Who?"}]},
    {"temperature": 1, "seed": 3, "max_tokens": 8, "messages": [{"role": "user", "content": "What, ho!"}]},
    {"temperature": 0, "max_tokens": 5, "logprobs": True, "top_logprobs": 2,
     "messages": [{"role": "user", "content": "Speak."}]},
]


def answers(session: Session, together: bool) -> tuple[list[Any], str]:
    """What is answered to each, and the numbers of the server."""
    engine, work = session.engine(8)
    service = Service("model")
    service.loaded = Loaded(engine, session.text, session.chat_ids, chat=True)
    http, found = HttpServer(make_app(service), "127.0.0.1", 0), dict[int, Any]()

    def ask(number: int) -> None:
        answer = httpx.post(http.url + CHAT, json=ASKED[number], timeout=100).json()["choices"][0]
        found[number] = answer["message"]["content"], answer["logprobs"], answer["finish_reason"]

    try:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(ASKED))]
        for thread in threads:
            thread.start()
            if not together:
                thread.join()
        for thread in threads:
            thread.join()
        return [found[number] for number in range(len(ASKED))], httpx.get(http.url + "/metrics").text
    finally:
        engine.close()
        http.close()
        work.result()


@pytest.mark.parametrize("backend", [pytest.param("sim", marks=pytest.mark.long), "mmap"])
def test_answers_are_those_of_golden(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmap: a golden model behind registers and memory, for the driver of a board."""
    model = write_chat_model(tmp_path)
    with Session(model) as golden:
        expected, metrics = answers(golden, together=False)
    assert "bitnet_fpga_clocks_total" not in metrics
    with ExitStack() as stack:
        if backend == "mmap":
            chip = stack.enter_context(chip_in_folder(tmp_path / "root", TINY, 16 << 20, monkeypatch))
            monkeypatch.setattr("sw.links.mmap.MmapBus", partial(MmapBus, root=chip.root))
        found, metrics = answers(stack.enter_context(Session(model, backend=backend, sequences=2)), together=True)
    assert found == expected
    assert "bitnet_fpga_clocks_total" in metrics
