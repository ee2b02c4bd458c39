"""A server in this process, and what its tests ask."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from bitnet_fpga import Session
from sw.http_api.service import Service

__all__ = ["CHAT", "COMPLETION", "GREEDY", "MESSAGES", "QUEUE", "Served", "events"]

MESSAGES = [{"role": "user", "content": "Who?"}]
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
GREEDY = {"messages": MESSAGES, "temperature": 0, "max_tokens": 12}
QUEUE = 2


class Served:
    """A server and a client."""

    def __init__(self, service: Service, session: Session, client: httpx.Client) -> None:
        self.service, self.session, self.client = service, session, client

    def post(self, path: str, **fields: Any) -> httpx.Response:
        return self.client.post(path, json=fields)

    def text(self, **fields: Any) -> str:
        answer = self.post(CHAT, **GREEDY | fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]

    def idle(self) -> None:
        """Waits until no request has a place."""
        assert self.service.loaded is not None
        until = time.monotonic() + 30
        while self.service.loaded.engine.load != (0, 0):
            assert time.monotonic() < until
            time.sleep(0.01)


def events(answer: httpx.Response) -> list[Any]:
    """Events of a stream, comments as text."""
    parts = [part for part in answer.text.split("\n\n") if part]
    assert parts[-1] == "data: [DONE]"
    return [json.loads(part[6:]) if part.startswith("data: ") else part for part in parts[:-1]]
