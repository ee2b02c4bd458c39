"""Answers in the two forms of the API, chat and completion, as a whole or as a stream of events."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sw.http_api.errors import ApiError, api_error
from sw.http_api.fields import ChatFields, CompletionFields
from sw.http_api.service import Answer, Service, gone
from sw.serve.order import End, Failure, Likelihood, Part
from sw.text import CheckpointText

__all__ = ["respond"]

DONE = "data: [DONE]\n\n"


class Form:
    """The objects of one answer."""

    def __init__(self, service: Service, fields: ChatFields | CompletionFields, text: CheckpointText) -> None:
        self._chat, self._text = isinstance(fields, ChatFields), text
        kind = "chat.completion" if self._chat else "text_completion"
        self._same = {"id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}", "created": int(time.time()),
                      "model": service.model}
        self._whole, self._chunk = kind, "chat.completion.chunk" if self._chat else kind

    def _choice(self, content: dict[str, Any], likelihoods: list[Likelihood], reason: str | None) -> dict[str, Any]:
        shown = None
        if likelihoods:
            shown = self._chat_likelihoods(likelihoods) if self._chat else self._likelihoods(likelihoods)
        return {"index": 0, **content, "logprobs": shown, "finish_reason": reason}

    def _token(self, token: int) -> str:
        return self._text.decode([token]) or ""

    def _chat_likelihoods(self, likelihoods: list[Likelihood]) -> dict[str, Any]:
        def entry(token: int, log_probability: float) -> dict[str, Any]:
            text = self._token(token)
            return {"token": text, "logprob": log_probability,
                    "bytes": None if "\ufffd" in text else list(text.encode())}

        return {"content": [{**entry(one.token, one.log_probability),
                             "top_logprobs": [entry(*other) for other in one.likeliest]} for one in likelihoods]}

    def _likelihoods(self, likelihoods: list[Likelihood]) -> dict[str, Any]:
        return {"tokens": [self._token(one.token) for one in likelihoods],
                "token_logprobs": [one.log_probability for one in likelihoods],
                "top_logprobs": [{self._token(token): value for token, value in reversed(one.likeliest)}
                                 for one in likelihoods]}

    def whole(self, text: str, likelihoods: list[Likelihood], end: End) -> dict[str, Any]:
        """The answer in one object."""
        content = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return {**self._same, "object": self._whole, "choices": [self._choice(content, likelihoods, end.reason)],
                "usage": whole_usage(end)}

    def chunk(
        self, text: str = "", likelihoods: tuple[Likelihood, ...] = (), reason: str | None = None, role: bool = False
    ) -> dict[str, Any]:
        """A part of a stream; with `role` the first one, with a reason the last one."""
        delta = {"role": "assistant", "content": ""} if role else {"content": text} if reason is None else {}
        content = {"delta": delta} if self._chat else {"text": text}
        return {**self._same, "object": self._chunk, "choices": [self._choice(content, list(likelihoods), reason)]}

    def usage_chunk(self, end: End) -> dict[str, Any]:
        """The numbers of tokens, at the end of a stream."""
        return {**self._same, "object": self._chunk, "choices": [], "usage": whole_usage(end)}

    @property
    def chat(self) -> bool:
        """Whether it is a chat."""
        return self._chat


def usage(prompt_tokens: int, new_tokens: int) -> dict[str, Any]:
    """Numbers of tokens."""
    return {"prompt_tokens": prompt_tokens, "completion_tokens": new_tokens,
            "total_tokens": prompt_tokens + new_tokens}


def whole_usage(end: End) -> dict[str, Any]:
    """Those of a whole answer."""
    return {**usage(end.prompt_tokens, end.new_tokens), "prompt_tokens_details": {"cached_tokens": end.reused}}


class _Stream(StreamingResponse):
    """A stream of events that ends its answer, however it ends itself."""

    def __init__(self, answer: Answer, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.close()


async def respond(service: Service, request: Request, fields: ChatFields | CompletionFields) -> Response:
    """The response to a request. Raises ApiError."""
    answer = await service.answer(fields)
    form = Form(service, fields, service.ready().text)
    if fields.stream:
        return _Stream(answer, _events(service, answer, form, fields))
    try:
        collecting, leaving = asyncio.create_task(_collect(answer, form)), asyncio.create_task(gone(request))
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if collecting.done():
            return JSONResponse(collecting.result())
        collecting.cancel()
        return Response()  # nobody reads it
    finally:
        answer.close()


async def _collect(answer: Answer, form: Form) -> dict[str, Any]:
    text, likelihoods = "", list[Likelihood]()
    while True:
        event = await answer.next(60)
        if isinstance(event, Part):
            text += event.text
            likelihoods += event.likelihoods
        elif isinstance(event, End):
            return form.whole(text, likelihoods, event)
        elif isinstance(event, Failure):
            raise api_error(event.error)


def _line(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


async def _events(
    service: Service, answer: Answer, form: Form, fields: ChatFields | CompletionFields
) -> AsyncIterator[str]:
    """The events of a stream. A comment keeps the connection alive while there is nothing to say."""
    try:
        began = False
        while True:
            event = await answer.next(service.comment_s)
            if event is None:
                yield ": waiting\n\n"
                continue
            if isinstance(event, Failure):
                raise api_error(event.error)
            if not began and form.chat:
                yield _line(form.chunk(role=True))
            began = True
            if isinstance(event, Part):
                sums = {"usage": usage(answer.prompt_tokens, event.new_tokens)} if fields.continuous_usage else {}
                yield _line(form.chunk(event.text, event.likelihoods) | sums)
                continue
            yield _line(form.chunk(reason=event.reason))
            if fields.include_usage:
                yield _line(form.usage_chunk(event))
            break
    except ApiError as error:
        service.metrics.errors.labels(error.status).inc()
        yield _line(error.body)
    yield DONE
