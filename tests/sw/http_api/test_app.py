"""What is around the answers: the page, the description, the numbers, and requests that no client should send."""

from __future__ import annotations

import json
import math
import re
import socket
import time
from typing import Any

import httpx
import pytest

from sw.http_api.app import make_app
from sw.http_api.server import HttpServer
from sw.http_api.service import Service
from tests.sw.http_api.served import CHAT, COMPLETION, GREEDY, MESSAGES, Served, events

JSON = {"Content-Type": "application/json"}


def test_the_page_loads_nothing_else(served: Served) -> None:
    answer = served.client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert len(re.findall("'sha256-", policy)) == 2
    assert "unsafe" not in policy
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|@import|url\(""", answer.text)
    assert "SPDX-License-Identifier: Apache-2.0" in answer.text


def test_the_model_says_what_runs_it(served: Served) -> None:
    model = served.client.get("/v1/models").json()["data"][0]
    assert (model["machine"], model["chat"]) == ({"preset": "tiny"}, True)


def test_the_description_has_all_fields(served: Served) -> None:
    """It is off by default, as is the page that shows it."""
    found = served.client.get("/openapi.json").json()
    assert set(found["paths"][CHAT]["post"]["responses"]) == {"200", "4XX", "5XX"}
    assert {"messages", "top_logprobs", "min_p"} <= set(found["components"]["schemas"]["ChatFields"]["properties"])
    assert served.client.get("/docs").status_code == 200
    http = HttpServer(make_app(Service("model")), "127.0.0.1", 0)
    try:
        assert [httpx.get(http.url + path).status_code for path in ("/docs", "/openapi.json", "/redoc")] == [404] * 3
    finally:
        http.close()


def numbers(served: Served) -> dict[str, float]:
    lines = [line for line in served.client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_metrics(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.idle()
    before = numbers(served)
    whole = served.post(CHAT, **GREEDY).json()["usage"]
    served.post(CHAT, **GREEDY, n=2)
    monkeypatch.setattr(served.service, "limit_s", 0.01)
    assert served.post(CHAT, **GREEDY | {"max_tokens": 10_000}).status_code == 503
    events(served.post(CHAT, **GREEDY | {"max_tokens": 10_000}, stream=True))
    served.idle()
    after = numbers(served)
    added = {name: after[name] - before.get(name, 0) for name in after}
    assert added['bitnet_fpga_errors_total{status="400"}'] == 1
    assert added['bitnet_fpga_errors_total{status="503"}'] == 2
    assert added["bitnet_fpga_answer_seconds_count"] == 1
    assert added["bitnet_fpga_first_token_seconds_count"] >= 1
    assert added["bitnet_fpga_new_tokens_total"] >= whole["completion_tokens"]
    assert added["bitnet_fpga_runs_total"] >= 1
    assert (after["bitnet_fpga_requests_active"], after["bitnet_fpga_requests_waiting"]) == (0, 0)


def test_the_time_limit(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.service, "limit_s", 0.01)
    answer = served.post(CHAT, **GREEDY | {"max_tokens": 10_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "timeout")
    served.idle()


def body(**fields: Any) -> str:
    return json.dumps(GREEDY | fields)


BROKEN = {
    "empty": "", "a word": "nonsense", "cut": body()[:-1], "an array": "[]", "null": "null", "twice": body() * 2,
    "deep": '{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}", "deep and unknown": '{"a": ' + '{"a":' * 100_000,
    "not a number": body(temperature=math.nan), "infinite": body(top_p=math.inf), "huge": body(temperature=1e300),
    "huge digits": body(max_tokens=0).replace('"max_tokens": 0', '"max_tokens": ' + "9" * 10_000),
    "negative": body(max_tokens=-1), "a fraction": body(max_tokens=1.5), "true": body(max_tokens=True),
    "half a surrogate": body().replace("Who?", "\\ud800"), "not UTF-8": body().encode().replace(b"Who?", b"\xff\xfe"),
    "no content": body(messages=[{"role": "user"}]), "a null message": body(messages=[None]),
    "a text for messages": body(messages="Who?"), "a null byte key": '{"\\u0000": 1}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_broken_bodies(content: str | bytes, served: Served) -> None:
    """Each is the client's error, and says so."""
    answer = served.client.post(CHAT, content=content, headers=JSON)
    assert (answer.status_code, bool(answer.json()["error"]["message"])) == (400, True)
    assert len(answer.content) < 1000


def test_large_and_strange_but_valid(served: Served) -> None:
    for fields in ({"seed": 10**30}, {"seed": -(10**30)}, {"max_tokens": 10**18, "stop": ""}, {"top_k": -1},
                   {"stop": [""] * 1000}, {"messages": [*MESSAGES, {"role": "assistant", "content": ""}, *MESSAGES]},
                   {"messages": [{"role": "user", "content": "\x00\u202e\U0010ffff"}]}):
        answer = served.post(CHAT, **GREEDY | fields)
        assert answer.status_code == 200, answer.text
    for token in (-1, 1 << 40, 1 << 70):
        assert served.post(COMPLETION, prompt=[token]).status_code == 400
    assert served.post("/detokenize", tokens=[1 << 30]).status_code in {200, 400}


HOSTS = ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8080", "localhost@evil",
         "[::1].evil.example", "evil.example#localhost", "0x7f000001.evil"]


@pytest.mark.parametrize("host", HOSTS)
def test_other_hosts(host: str, served: Served) -> None:
    for path in ("/", "/v1/models", "/metrics"):
        assert served.client.get(path, headers={"Host": host}).status_code == 400


def raw(served: Served, request: bytes) -> bytes:
    host, port = served.client.base_url.host, served.client.base_url.port
    with socket.create_connection((host, port), timeout=20) as line:
        line.sendall(request)
        answer = b""
        while part := line.recv(65536):
            answer += part
    return answer


def test_two_hosts_and_none(served: Served) -> None:
    for hosts in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
        assert b" 400 " in raw(served, b"GET /v1/models HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")[:20]


def test_a_body_that_does_not_arrive(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not keep anybody from being served meanwhile."""
    monkeypatch.setattr("sw.http_api.body.ARRIVAL_S", 0.5)
    host, port = served.client.base_url.host, served.client.base_url.port
    with socket.create_connection((host, port), timeout=20) as line:
        line.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: 1000\r\n\r\n{".encode())
        assert served.text()
        began = time.monotonic()
        answer = b""
        while b"}}" not in answer and (part := line.recv(65536)):  # its head and its body may come one by one
            answer += part
        assert b'"code":"timeout"' in answer
        assert time.monotonic() - began < 10


def test_ten_megabytes(served: Served) -> None:
    answer = served.client.post(CHAT, content=b"[" * 10_000_000, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
