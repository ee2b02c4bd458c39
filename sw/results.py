"""Results of a session: immutable values, and streams of text."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sw.machine_thread import Work
from sw.text import CheckpointText

__all__ = ["Completion", "Piece", "Score", "Stream"]


@dataclass(frozen=True)
class Completion:
    """Text generated from a prompt.

    Attributes:
        prompt_ids: tokens of the prompt, including the BOS token if the model uses one.
        tokens: new tokens, including the end token, if there was one.
        text: text of the new tokens, without the end token; None without a tokenizer.
        stopped: the reason for the end, in a few words.
        logits: [positions, vocabulary], a row per position fed, prompt first, if all were requested; else None. Natural
            logarithms of unnormalised probabilities, as the accelerator computes them. Not compared by `==`.
        reused: first tokens of the prompt that were not fed, because the KV cache held them from an earlier turn of a
            conversation. Not compared by `==`.
    """

    prompt_ids: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str | None
    stopped: str
    logits: NDArray[np.float32] | None = field(default=None, compare=False)
    reused: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Piece:
    """The next part of a streamed text.

    Attributes:
        token: the new token; None for text that was held back until the end.
        text: text that it adds. It may be empty, because a character can take several tokens. Without a tokenizer, it
            is the id and a space.
    """

    token: int | None
    text: str


@dataclass(frozen=True, eq=False)
class Score:
    """Likelihood of a text according to a model.

    Attributes:
        token_ids: tokens of the text, including the BOS token if the model uses one.
        logits: [tokens, vocabulary]; row n predicts the token after token n.
        log_probabilities: [tokens - 1], natural logarithms of the probabilities of token 1 and later, each given all
            tokens before it, computed in float64.
    """

    token_ids: tuple[int, ...]
    logits: NDArray[np.float32]
    log_probabilities: NDArray[np.float64]

    @property
    def perplexity(self) -> float:
        """exp of the mean of the negative log probabilities."""
        return float(np.exp(-self.log_probabilities.mean()))

    @classmethod
    def of(cls, token_ids: tuple[int, ...], logits: NDArray[np.float32]) -> Score:
        """The score of at least two tokens, from the row of logits after each of them."""
        following = np.array(token_ids[1:])
        chosen = np.empty(len(following))
        for number, token in enumerate(following):  # row by row, so that no second array of this size is needed
            row = logits[number].astype(np.float64)
            top = row.max()
            chosen[number] = row[token] - top - np.log(np.exp(row - top).sum())
        chosen.flags.writeable = False
        return cls(token_ids, logits, chosen)


class Stream:
    """Iterator over the pieces of a text; `result` is the whole. Closing or deleting the stream ends its run.

    It is an asynchronous iterator and context manager, too: with `async for`, a thread of the event loop's default
    executor waits for the next piece, and the loop continues. Cancelling the task that waits ends the run.
    """

    def __init__(self, work: Work[int, Completion], text: CheckpointText) -> None:
        self._work, self._text = work, text.stream()
        self._at_end = False
        weakref.finalize(self, work.ask).atexit = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        """Wait for the next token. Raises the errors of `Session.generate`."""
        if self._at_end:
            raise StopIteration
        for token in self._work:
            return Piece(token, self._text.add(token))
        self._at_end = True
        return Piece(None, self._text.end())

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Piece:
        """As `__next__`."""
        try:
            piece = await asyncio.to_thread(next, self, None)
        except asyncio.CancelledError:
            self._work.ask()
            raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    @property
    def result(self) -> Completion:
        """Wait for the end and return the whole. Raises SessionClosedError if the stream was closed before its end."""
        return self._work.result()

    def close(self) -> None:
        """End the run, if it has not ended, and wait for that. May be called from any thread."""
        self._work.stop()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)
