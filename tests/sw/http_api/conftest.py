"""A server with a small model."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from bitnet_fpga import Session
from hw.contract.config import PRESETS
from sw.http_api.app import make_app
from sw.http_api.server import HttpServer
from sw.http_api.service import Loaded, Service
from tests.sw.chat.chat_model import write_chat_model
from tests.sw.http_api.served import CHAT, GREEDY, QUEUE, Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = write_chat_model(tmp_path_factory.mktemp("model"))
    service = Service("model", comment_s=0.05, machine={"preset": "tiny"})
    http = HttpServer(make_app(service, hosts=["box"], origins=["http://page"], docs=True), "127.0.0.1", 0)
    with Session(folder, preset=PRESETS["tiny"], sequences=3) as session, httpx.Client(base_url=http.url) as client:
        assert client.get("/health").status_code == 503
        assert client.post(CHAT, json=GREEDY).json()["error"]["code"] == "loading"
        engine, work = session.engine(QUEUE)
        service.loaded = Loaded(engine, session.text, session.chat_ids, chat=True)
        yield Served(service, session, client)
        engine.close()
        http.close()
        work.result()
