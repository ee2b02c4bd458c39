"""What a session gives: values that stay as they are, and texts as they grow."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sw.machine_thread import Work
from sw.text import CheckpointText

__all__ = ["Completion", "Piece", "Score", "Stream"]


@dataclass(frozen=True)
class Completion:
    """What was generated from a prompt.

    Attributes:
        prompt_ids: tokens of the prompt, with the one that begins a text where the model wants it.
        tokens: new tokens, with the one that ended the text, if one did.
        text: of the new tokens, without the one that ended it; None without a tokenizer.
        stopped: why it ends here, in a few words.
        logits: [positions, vocabulary], a row per position fed, prompt first, if all were asked for; else None. Natural
            logarithms of unnormalised probabilities, the values that the machine computes. Not compared by `==`.
    """

    prompt_ids: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str | None
    stopped: str
    logits: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Piece:
    """What comes next of a text that is streamed.

    Attributes:
        token: the token that came; None for what was held back until the end.
        text: what it adds to the text, maybe nothing yet: a character can take several tokens. Without a tokenizer,
            the id and a space.
    """

    token: int | None
    text: str


@dataclass(frozen=True, eq=False)
class Score:
    """How likely a model finds a text.

    Attributes:
        token_ids: tokens of the text, with the one that begins a text where the model wants it.
        logits: [tokens, vocabulary], row n what the model expects behind token n.
        log_probabilities: [tokens - 1], natural logarithms of the probabilities of token 1 and later, each given all
            tokens before it, computed in float64.
    """

    token_ids: tuple[int, ...]
    logits: NDArray[np.float32]
    log_probabilities: NDArray[np.float64]

    @property
    def perplexity(self) -> float:
        """exp of the mean of the negative log probabilities: between how many equally likely tokens the model would
        have to choose, on the average."""
        return float(np.exp(-self.log_probabilities.mean()))

    @classmethod
    def of(cls, token_ids: tuple[int, ...], logits: NDArray[np.float32]) -> Score:
        """Of two tokens at least, and the rows behind all of them."""
        following = np.array(token_ids[1:])
        chosen = np.empty(len(following))
        for number, token in enumerate(following):  # row by row, so that a large vocabulary takes no second array
            row = logits[number].astype(np.float64)
            top = row.max()
            chosen[number] = row[token] - top - np.log(np.exp(row - top).sum())
        chosen.flags.writeable = False
        return cls(token_ids, logits, chosen)


class Stream:
    """Pieces of a text as it grows, and in the end its `result`. One that is closed, or forgotten, ends its run."""

    def __init__(self, work: Work[int, Completion], text: CheckpointText) -> None:
        self._work, self._text = work, text.stream()
        self._at_end = False
        weakref.finalize(self, work.ask).atexit = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        """Waits for the next token. Raises what `Session.generate` does."""
        if self._at_end:
            raise StopIteration
        for token in self._work:
            return Piece(token, self._text.add(token))
        self._at_end = True
        return Piece(None, self._text.end())

    @property
    def result(self) -> Completion:
        """All of it; waits for the end. Raises SessionClosedError for a stream that was closed before."""
        return self._work.result()

    def close(self) -> None:
        """Ends the run, if it still goes on, and waits for that. For any thread."""
        self._work.stop()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
