"""Fields of requests. Unknown ones are ignored; those that would change the answer but do not exist are refused."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sw.chat.messages import Message
from sw.errors import JobError
from sw.http_api.errors import ApiError
from sw.sampling import Sampling

__all__ = ["MOST_MESSAGES", "ChatFields", "CompletionFields", "DetokenizeFields", "Fields", "TokenizeFields"]

MOST_MESSAGES = 2000
MOST_STOP_CHARACTERS = 10_000
COMPLETION_TOKENS = 16
"""Most tokens of a completion that does not say how many."""

Whole = Annotated[int, Field(ge=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class _Object(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class StreamOptions(_Object):
    """Options of a stream."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Fields(_Object):
    """What chats and completions have in common. null is the same as nothing."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Whole | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    n: Whole | None = None
    best_of: Whole | None = None
    echo: bool | None = None
    suffix: str | None = None
    logit_bias: dict[str, Any] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None

    def refuse(self) -> None:
        """Raises ApiError for what does not exist."""
        refused = {
            "n": (self.n or 1) > 1, "best_of": (self.best_of or 1) > 1, "echo": self.echo, "suffix": self.suffix,
            "logit_bias": self.logit_bias, "tools": self.tools, "functions": self.functions,
            "response_format": (self.response_format or {"type": "text"}).get("type") != "text",
        }
        for name, given in refused.items():
            if given:
                raise ApiError(400, f"{name} is not supported: leave it out", param=name, code="unsupported")

    def sampling(self) -> Sampling | None:
        """How tokens are drawn; None: always the likeliest. Without a seed, it is a random one."""
        presence, frequency = self.presence_penalty or 0.0, self.frequency_penalty or 0.0
        temperature = 1.0 if self.temperature is None else self.temperature
        greedy = temperature == 0 or self.top_p == 0
        if greedy and not (presence or frequency):
            return None
        top_k = 1 if greedy else self.top_k if (self.top_k or 0) > 0 else None
        seed = secrets.randbits(64) if self.seed is None else self.seed % (1 << 64)
        return Sampling(temperature=temperature or 1.0, top_k=top_k, top_p=self.top_p or 1.0, min_p=self.min_p or 0.0,
                        presence_penalty=presence, frequency_penalty=frequency, seed=seed)

    def stops(self) -> tuple[str, ...]:
        """Texts before which the answer ends. Raises ApiError."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if sum(map(len, stops)) > MOST_STOP_CHARACTERS:
            raise ApiError(400, f"the stop texts have more than {MOST_STOP_CHARACTERS} characters", param="stop")
        return stops

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the numbers of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether every part of the stream has them, too."""
        return self.include_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)


class ContentPart(_Object):
    """A part of a message."""

    type: str
    text: str | None = None


class MessageField(_Object):
    """A message of a chat."""

    role: str
    content: str | list[ContentPart]

    def message(self) -> Message:
        """With the texts of all parts. Raises JobError."""
        if isinstance(self.content, str):
            return Message(self.role, self.content)
        for part in self.content:
            if part.type != "text" or part.text is None:
                raise JobError(f"a message has a part of type {part.type[:40]!r}, but the model reads only text")
        return Message(self.role, "".join(part.text or "" for part in self.content))


class ChatFields(Fields):
    """A chat."""

    messages: Annotated[list[MessageField], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Whole | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def most(self) -> int | None:
        """Most tokens of the answer; None: up to the end of the context."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """Likeliest tokens beside each one; None: no likelihoods."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionFields(Fields):
    """A text to continue, or its token ids."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def most(self) -> int | None:
        """Most tokens of the answer."""
        return self.max_tokens or COMPLETION_TOKENS

    @property
    def alternatives(self) -> int | None:
        """Likeliest tokens beside each one; None: no likelihoods."""
        return self.logprobs


class TokenizeFields(_Object):
    """A text, under one of two names, or a chat."""

    content: str | None = None
    prompt: str | None = None
    messages: Annotated[list[MessageField], Field(min_length=1, max_length=MOST_MESSAGES)] | None = None


class DetokenizeFields(_Object):
    """Token ids."""

    tokens: list[Annotated[int, Field(ge=0, lt=1 << 31)]]
