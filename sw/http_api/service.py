"""What the routes need of the model and the engine, and answers as they await them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from sw.chat.messages import Message
from sw.errors import JobError
from sw.http_api.errors import ApiError, api_error
from sw.http_api.fields import ChatFields, CompletionFields
from sw.http_api.metrics import Metrics
from sw.serve.engine import Engine
from sw.serve.order import End, Event, Failure, Order, QueueFullError
from sw.text import CheckpointText

__all__ = ["Answer", "Loaded", "Service"]


@dataclass(frozen=True)
class Loaded:
    """A model that is ready.

    Attributes:
        chat_ids: converts messages to token ids.
        chat: whether it can: there is a chat template.
    """

    engine: Engine
    text: CheckpointText
    chat_ids: Callable[[Sequence[Message]], tuple[int, ...]]
    chat: bool


class Answer:
    """Events of an answer, awaited in the event loop. Closing it ends the answer."""

    def __init__(self, engine: Engine, order: Order, limit_s: float, metrics: Metrics, started: float) -> None:
        """`started` is when its request arrived, by time.monotonic. Raises the errors of `Engine.submit`."""
        self._started, self._limit_s, self._engine, self._metrics = started, limit_s, engine, metrics
        self._began = False
        self.prompt_tokens = len(order.prompt)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._sequence = engine.submit(order, tell)

    async def next(self, patience_s: float) -> Event | None:
        """The next event; None if there is none in time. Raises ApiError at the time limit."""
        left = self._started + self._limit_s - time.monotonic()
        if left <= 0:
            raise ApiError(503, f"the answer took more than {self._limit_s:g} s", code="timeout")
        try:
            event = await asyncio.wait_for(self._events.get(), min(patience_s, left))
        except TimeoutError:
            return None
        taken = time.monotonic() - self._started
        if not self._began and not isinstance(event, Failure):
            self._metrics.first_token.observe(taken)
        if isinstance(event, End):
            self._metrics.answer.observe(taken)
        self._began = True
        return event

    def close(self) -> None:
        """Nobody wants the rest. May be called again."""
        self._engine.leave(self._sequence)


class Service:
    """The state of a server.

    Attributes:
        model: name of the model.
        created: when the server began, in seconds since 1970.
        machine: what the model runs on, for users.
        loaded: None while the model is loaded.
        metrics: numbers for Prometheus.
        limit_s: most seconds of an answer.
        comment_s: seconds after which a stream without events gets a comment.
    """

    def __init__(
        self, model: str, limit_s: float = 3600, comment_s: float = 10, machine: Mapping[str, Any] | None = None
    ) -> None:
        self.model, self.limit_s, self.comment_s, self.machine = model, limit_s, comment_s, machine or {}
        self.created = int(time.time())
        self.loaded: Loaded | None = None
        self.metrics = Metrics(lambda: self.loaded and self.loaded.engine)

    def ready(self, model: str | None = None) -> Loaded:
        """The loaded model. Raises ApiError: it is not loaded yet, or a request names another one."""
        if self.loaded is None:
            raise ApiError(503, "the model is being loaded: try again later", code="loading")
        if model is not None and model != self.model:
            raise ApiError(404, f"there is no model {model[:80]!r}: this server has {self.model}", param="model",
                           code="model_not_found")
        return self.loaded

    async def answer(self, fields: ChatFields | CompletionFields) -> Answer:
        """Begin the answer of a request. Raises ApiError."""
        started, loaded = time.monotonic(), self.ready(fields.model)
        fields.refuse()
        param = "messages" if isinstance(fields, ChatFields) else "prompt"
        try:
            if loaded.engine.full:
                raise QueueFullError("too many requests wait already: try again later")
            prompt = await asyncio.to_thread(self.prompt, loaded, fields)
            order = Order(prompt=prompt, max_new_tokens=min(fields.most or loaded.engine.context,
                                                            loaded.engine.context),
                          sampling=fields.sampling(), stops=fields.stops(), alternatives=fields.alternatives)
            return Answer(loaded.engine, order, self.limit_s, self.metrics, started)
        except Exception as error:
            known = api_error(error, param)
            if known.status == 500:
                raise
            raise known from error

    @staticmethod
    def prompt(loaded: Loaded, fields: ChatFields | CompletionFields) -> tuple[int, ...]:
        """Token ids of what is asked. Raises JobError, CheckpointError."""
        if isinstance(fields, ChatFields):
            return loaded.chat_ids([one.message() for one in fields.messages])
        prompt = fields.prompt
        if isinstance(prompt, list) and not (prompt and isinstance(prompt[0], int)):
            if len(prompt) != 1:
                raise JobError(f"prompt must be one text or a list of token ids, not a list of {len(prompt)} prompts")
            prompt = prompt[0]
        if isinstance(prompt, list):
            return tuple(one for one in prompt if isinstance(one, int))
        return encode(loaded.text, str(prompt))


def encode(text: CheckpointText, content: str) -> tuple[int, ...]:
    """Token ids of a text. Raises JobError."""
    if text.tokenizer is None:
        raise JobError("the model has no tokenizer.json: give token ids as the prompt")
    return tuple(text.encode(content))


async def gone(request: Request) -> None:
    """Waits until the client hangs up. The body of the request must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
