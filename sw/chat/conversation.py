"""A conversation with a model: messages so far, and answers that are streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sw.chat.messages import Message
from sw.errors import JobError
from sw.results import Completion, Piece, Stream
from sw.sampling import Sampling

__all__ = ["MAX_NEW_TOKENS", "Conversation", "Reply"]

MAX_NEW_TOKENS = 512
"""Most tokens of an answer, unless it is given."""

Ids = Callable[[Sequence[Message]], tuple[int, ...]]
Start = Callable[[tuple[int, ...], int, Sampling | None], Stream]


class Reply:
    """Iterator over the pieces of an answer. Its conversation keeps what was read, when it ends or is closed.

    Attributes:
        prompt_ids: tokens of the conversation before the answer.
        tokens: tokens of the answer that were read so far.
    """

    def __init__(self, stream: Stream, prompt_ids: tuple[int, ...], keep: Callable[[str], None]) -> None:
        self.prompt_ids = prompt_ids
        self.tokens: list[int] = []
        self._stream, self._keep = stream, keep
        self._text = ""
        self._open = True

    def __iter__(self) -> Reply:
        return self

    def __next__(self) -> Piece:
        """Wait for the next token. Raises the errors of `Session.generate`; the turn is then not kept."""
        if not self._open:
            raise StopIteration
        try:
            piece = next(self._stream)
        except StopIteration:
            self._open = False
            self._keep(self._text)
            raise
        except Exception:
            self._open = False
            raise
        self._text += piece.text
        self.tokens += [] if piece.token is None else [piece.token]
        return piece

    @property
    def text(self) -> str:
        """Text of the answer that was read so far."""
        return self._text

    @property
    def result(self) -> Completion:
        """Read to the end and return the whole. Raises SessionClosedError if the reply was closed before its end."""
        for _ in self:
            pass
        return self._stream.result

    def close(self) -> None:
        """End the answer, if it has not ended, and wait for that. A turn without any text is not kept."""
        self._stream.close()
        if self._open and self._text:
            self._keep(self._text)
        self._open = False

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Conversation:
    """Messages of a conversation; `Session.conversation` makes one. Not for several threads at a time.

    Every turn feeds only the tokens that the KV cache of its slot does not hold: usually the end of the last answer,
    the new message, and what the template writes around it. If another use of the session has overwritten the cache, or
    the tokenizer splits an answer in another way than the model wrote it, more is fed; the results are the same.
    """

    def __init__(self, ids: Ids, start: Start, context: int, messages: Sequence[Message]) -> None:
        """`ids` converts messages to token ids, `start` begins an answer; `context` is the number of positions."""
        self._ids, self._start = ids, start
        self._context = context
        self._first = tuple(messages)
        self._messages = [*self._first]
        self._reply: Reply | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages so far."""
        return tuple(self._messages)

    @property
    def context(self) -> int:
        """Positions that the KV cache has for this conversation."""
        return self._context

    def ask(self, text: str, *, max_new_tokens: int = MAX_NEW_TOKENS, sampling: Sampling | None = None) -> Reply:
        """Say something as the user, and begin the answer. An earlier reply that has not ended is closed.

        Raises:
            JobError: the text cannot be fed, for example because the context is full; nothing was fed or kept.
            CheckpointError: the chat template or the tokenizer is not usable.
        """
        if self._reply is not None:
            self._reply.close()
        asked = Message("user", text)
        ids = self._ids((*self._messages, asked))
        if len(ids) > self._context:
            raise JobError(f"the conversation has {len(ids)} tokens with this message, but the context holds "
                           f"{self._context}: begin again (/reset in `bitnet-fpga chat`), or use a larger context "
                           "(--context)")

        def keep(answer: str) -> None:
            self._messages += [asked, Message("assistant", answer)]

        self._reply = Reply(self._start(ids, max_new_tokens, sampling), ids, keep)
        return self._reply

    def reset(self, messages: Sequence[Message] | None = None) -> None:
        """Begin again: with the first messages, the system prompt, or with other ones."""
        if self._reply is not None:
            self._reply.close()
        self._messages = [*(self._first if messages is None else messages)]
