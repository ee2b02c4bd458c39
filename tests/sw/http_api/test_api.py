"""The HTTP interface of a server in this process, as clients see it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import pytest

from bitnet_fpga import HardwareError
from sw.http_api.app import make_app
from sw.http_api.body import MOST_BYTES
from sw.http_api.fields import MOST_MESSAGES
from sw.http_api.server import HttpServer
from sw.http_api.service import Service
from sw.serve.sequence import Sequence
from tests.sw.chat.chat_model import CONTEXT
from tests.sw.http_api.served import CHAT, COMPLETION, GREEDY, MESSAGES, QUEUE, Served, events


def test_chat(served: Served) -> None:
    answer = served.post(CHAT, **GREEDY, unknown_field=1, n=1, tools=[], response_format={"type": "text"}).json()
    choice = answer["choices"][0]
    assert (answer["object"], answer["model"], choice["finish_reason"]) == ("chat.completion", "model", "length")
    ids = served.session.chat_ids(MESSAGES)
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["usage"]["completion_tokens"] == 12
    assert served.text(messages=[{"role": "user", "content": [{"type": "text", "text": "Who?"}]}]) == \
        choice["message"]["content"]


def test_stream(served: Served) -> None:
    whole = served.text()
    found = [one for one in events(served.post(CHAT, **GREEDY, stream=True, stream_options={"include_usage": True}))
             if isinstance(one, dict)]
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in found[:-1]) == whole
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    assert (found[-1]["choices"], found[-1]["usage"]["completion_tokens"]) == ([], 12)
    assert [one for one in found[:-1] if "usage" in one] == []
    options = {"include_usage": True, "continuous_usage_stats": True}
    running = [one["usage"] for one in events(served.post(CHAT, **GREEDY, stream=True, stream_options=options))
               if isinstance(one, dict) and one["choices"] and one["choices"][0]["delta"].get("content")]
    assert [one["completion_tokens"] for one in running] == sorted({one["completion_tokens"] for one in running})
    assert running[-1] == {name: value for name, value in found[-1]["usage"].items() if "details" not in name}


def test_completion(served: Served) -> None:
    ids = served.post("/tokenize", prompt="ROMEO: hi").json()["tokens"]
    assert served.post("/detokenize", tokens=ids).json()["content"] == "ROMEO: hi"
    answers = [served.post(COMPLETION, prompt=prompt, temperature=0, max_tokens=5, logprobs=2).json()["choices"][0]
               for prompt in ("ROMEO: hi", ["ROMEO: hi"], ids)]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]["logprobs"]["tokens"]) == 5
    whole = served.post(COMPLETION, prompt="ROMEO: hi", temperature=0, max_tokens=5, stream=True)
    assert "".join(one["choices"][0]["text"] for one in events(whole) if isinstance(one, dict)) == answers[0]["text"]


def test_settings(served: Served) -> None:
    """A seed repeats an answer; without one they differ; stop texts, penalties and likelihoods do what they say."""
    drawn = {"temperature": 1.5, "max_tokens": 20}
    assert served.text(**drawn, seed=-7) == served.text(**drawn, seed=-7)
    assert served.text(**drawn) != served.text(**drawn)
    whole = served.text()
    assert served.text(temperature=1, top_k=1) == served.text(temperature=1, min_p=1) == whole
    assert served.text(stop=["\x00", whole[2:5]]) == whole[: whole.index(whole[2:5])]
    assert served.text(max_completion_tokens=3, max_tokens=9) == served.text(max_tokens=3)
    entries = served.post(CHAT, **GREEDY, logprobs=True, top_logprobs=3).json()["choices"][0]["logprobs"]["content"]
    assert len(entries) == 12
    assert all(one["top_logprobs"][0]["logprob"] == one["logprob"] for one in entries)


WRONG: list[tuple[dict[str, Any], str | None]] = [
    ({"n": 2}, "n"), ({"tools": [{}]}, "tools"), ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"logit_bias": {"1": 2}}, "logit_bias"), ({"suffix": "x"}, "suffix"), ({"echo": True}, "echo"),
    ({"best_of": 2}, "best_of"), ({"temperature": -1}, "temperature"), ({"temperature": "1"}, "temperature"),
    ({"top_p": 2}, "top_p"), ({"presence_penalty": 3}, "presence_penalty"), ({"max_tokens": 0}, "max_tokens"),
    ({"messages": []}, "messages"), ({"stop": 3}, "stop"), ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": MESSAGES * (MOST_MESSAGES + 1)}, "messages"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, "messages"), ({"stop": ["x" * 10_001]}, "stop"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": "x " * CONTEXT}]}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[next(iter(fields)) + str(n) for n, (fields, _) in
                                                          enumerate(WRONG)])
def test_refused(fields: dict[str, Any], param: str, served: Served) -> None:
    answer = served.post(CHAT, **GREEDY | fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], set(error)) == (400, param, {"message", "type", "param", "code"})
    assert error["message"]


def test_statuses(served: Served) -> None:
    assert served.client.get("/v1/models").json()["data"][0]["id"] == "model"
    assert served.client.get("/v1/models/model").json()["max_model_len"] == CONTEXT
    assert "bitnet_fpga_columns 2.0" in served.client.get("/metrics").text
    for answer, status in (
        (served.client.get("/v1/models/other"), 404), (served.post(CHAT, **GREEDY, model="other"), 404),
        (served.client.get("/v2"), 404),
        (served.client.post(CHAT, content=b"{", headers={"Content-Type": "application/json"}), 400),
        (served.client.post(CHAT, content=json.dumps(GREEDY), headers={"Content-Type": "text/plain"}), 400),
        (served.client.post(CHAT, content=b" " * (MOST_BYTES + 1), headers={"Content-Type": "application/json"}), 413),
        (served.client.get("/health", headers={"Host": "evil.example"}), 400),
        (served.client.get("/health", headers={"Host": "box:8080"}), 200),
        (served.client.get("/health", headers={"Host": "[::1]:8080"}), 200),
    ):
        assert answer.status_code == status, answer.text
        assert status == 200 or answer.json()["error"]["message"]


def test_a_wrong_method_names_the_right_one(served: Served) -> None:
    answer = served.client.get(CHAT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_origins(served: Served) -> None:
    for origin, allowed in (("http://page", "http://page"), ("http://other", None)):
        assert served.client.get("/health", headers={"Origin": origin}).headers.get("access-control-allow-origin") == \
            allowed


def test_the_queue_is_full_and_clients_hang_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that nobody reads any more make room; those that wait get comments."""
    held, take = threading.Event(), Sequence.take

    def take_later(self: Sequence, *given: Any) -> bool:
        assert held.wait(30)
        return take(self, *given)

    monkeypatch.setattr(Sequence, "take", take_later)
    streams = [served.client.stream("POST", CHAT, json=GREEDY | {"stream": True}) for _ in range(2 + QUEUE)]
    with streams[0] as first, streams[1], streams[2], streams[3] as last:
        assert first.status_code == 200
        texts = last.iter_text()
        assert next(texts) == ": waiting\n\n"
        refused = served.post(CHAT, **GREEDY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) > 0
    assert served.service.loaded is not None
    until = time.monotonic() + 20
    while served.service.loaded.engine.full:
        assert time.monotonic() < until
        time.sleep(0.01)
    held.set()
    served.idle()
    assert served.text() == served.text()


def test_a_client_that_does_not_wait_for_the_whole(served: Served) -> None:
    with pytest.raises(httpx.ReadTimeout):
        served.client.post(CHAT, json=GREEDY | {"max_tokens": 10_000}, timeout=0.2)
    served.idle()


def test_faults_and_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in place of an answer, or in the middle of a stream; the next request works."""
    def fails(self: object, *given: object) -> None:
        raise HardwareError("the memory is broken")

    with monkeypatch.context() as changed:
        changed.setattr("sw.serve.sequence.Sequence.take", fails)
        answer = served.post(CHAT, **GREEDY)
        assert (answer.status_code, answer.json()["error"]["message"]) == (503, "the memory is broken")
        assert events(served.post(CHAT, **GREEDY, stream=True))[-1]["error"]["code"] == "hardware_error"
    with monkeypatch.context() as changed:
        changed.setattr(served.service, "limit_s", 0.1)
        found = events(served.post(CHAT, **GREEDY | {"max_tokens": 10_000}, stream=True))
        assert found[-1]["error"]["code"] == "timeout"
    served.idle()
    assert served.text()


def test_answers_do_not_depend_on_others(served: Served) -> None:
    settings = [{"temperature": 1.2, "seed": 5, "max_tokens": 30}, {"max_tokens": 30},
                {"temperature": 0.7, "top_p": 0.9, "seed": 6, "max_tokens": 30}]
    alone = [served.text(**one) for one in settings]
    together: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n, one=one: together.update({n: served.text(**one)}))
               for n, one in enumerate(settings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [together[n] for n in range(3)] == alone


def test_keys() -> None:
    http = HttpServer(make_app(Service("model"), key="secret"), "127.0.0.1", 0)
    try:
        with httpx.Client(base_url=http.url) as client:
            assert client.get("/health").json()["error"]["code"] == "loading"
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
                assert client.get("/v1/models", headers=given).status_code == 401
            assert client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 503
    finally:
        http.close()
