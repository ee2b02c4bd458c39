"""Token ids of a conversation. A text of a message never becomes a special token, whatever it contains.

The ids are those that transformers gives, `apply_chat_template`, as long as no message contains the text of a special
token. To find out what comes from a message, the template renders the conversation twice: as it is, and with a mark
between the characters of every message. In the marked text only special tokens of the template itself are left. Where
another one is found in the text itself, a message wrote it, and the text is cut inside of it before it is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from sw.chat.messages import Message
from sw.chat.template import ChatTemplate
from sw.errors import JobError
from sw.text import CheckpointText
from sw.tokenizer import CheckpointTokenizer

__all__ = ["encode_chat"]

MARKS = [chr(code) for start, end in ((0x1D300, 0x1D357), (0x1F030, 0x1F094)) for code in range(start, end)]
"""Symbols that no normalisation of a tokenizer removes or changes, and that are hardly ever written."""

UNKNOWN = "\U0010fffd"
"""A character that tokenizers do not have; it gives their token for unknown ones, which is not to be kept from a
message."""

Span = tuple[int, int]


def encode_chat(template: ChatTemplate, text: CheckpointText, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of a conversation, up to where the model's answer begins.

    Raises:
        CheckpointError: the template or the tokenizer is not usable.
        JobError: the template refuses the messages, or writes special tokens because of what a message contains.
    """
    if text.tokenizer is None:
        raise JobError("the model has no tokenizer.json: messages cannot be converted to token ids")
    if not messages:
        raise JobError("the conversation has no messages: give at least one")
    mark = _mark(template.source, messages)
    real, marked = template.render(messages, [_marked(message, mark) for message in messages])
    special = _special_ids(template, text, text.tokenizer)
    own = [one for one in text.tokenizer.spans(marked) if one[0] in special]
    if marked.replace(mark, "") == real:
        before = [_length(marked[:start], mark) for _, start, _ in own]
        spans = {(at, at + _length(marked[start:end], mark)) for at, (_, start, end) in zip(before, own, strict=True)}
        ids = _encode(text.tokenizer, real, special, spans)
    else:  # the template reads the messages: nothing in them may be a special token that it writes
        ids = [token for token, _, _ in text.tokenizer.spans(real)]
        written = {text.tokenizer.token_text(token) or "" for token in ids if token in special}
        if any(one in message.content for one in written for message in messages):
            raise _unclear(template)
    if [token for token in ids if token in special] != [token for token, _, _ in own]:
        raise _unclear(template)
    if not ids:
        raise JobError(f"the chat template of {template.origin} makes no text of the messages: use another one")
    return tuple(ids)


def _unclear(template: ChatTemplate) -> JobError:
    return JobError(f"the chat template of {template.origin} changes the messages, so that special tokens in them "
                    "cannot be told from its own: leave out texts such as <|...|> from the messages")


def _mark(source: str, messages: Iterable[Message]) -> str:
    texts = [source, *(message.content for message in messages)]
    for mark in MARKS:
        if not any(mark in text for text in texts):
            return mark
    raise JobError(f"the messages contain all of the symbols {MARKS[0]} to {MARKS[-1]}: leave out one of them")


def _marked(message: Message, mark: str) -> Message:
    """With a mark around every character, but outside of it the blanks that a template may remove."""
    inner = message.content.strip()
    if not inner:
        return message
    start = message.content.index(inner)
    marked = mark + "".join(character + mark for character in inner)
    return replace(message, content=message.content[:start] + marked + message.content[start + len(inner) :])


def _length(marked: str, mark: str) -> int:
    return len(marked) - marked.count(mark)


def _special_ids(template: ChatTemplate, text: CheckpointText, tokenizer: CheckpointTokenizer) -> set[int]:
    """Ids that only the template may write: special tokens, those that begin or end a text, and added tokens that the
    template contains. Blanks are text."""
    found = {token for token, (content, special) in tokenizer.added.items()
             if not content.isspace() and (special or content in template.source)}
    named = {*text.tokens.end_ids, *([] if text.tokens.bos is None else [text.tokens.bos])}
    return (found | named) - {token for token, _, _ in tokenizer.spans(UNKNOWN)}


def _encode(tokenizer: CheckpointTokenizer, text: str, special: set[int], own: set[Span]) -> list[int]:
    """Ids of a text whose special tokens are those at `own`. It is cut inside of all others until none is left."""
    ids: list[int] = []
    parts = [(0, text)]
    while parts:
        start, part = parts.pop()
        spans = tokenizer.spans(part)
        foreign = [(first, last) for token, first, last in spans
                   if token in special and (start + first, start + last) not in own]
        if not foreign:
            ids += [token for token, _, _ in spans]
            continue
        cuts = [0, *(first + 1 for first, _ in foreign), len(part)]
        if any(last - first < 2 for first, last in foreign):
            raise JobError(f"a message contains {part[foreign[0][0] : foreign[0][1]]!r}, for which the tokenizer has "
                           "only a special token: leave it out")
        parts += reversed([(start + a, part[a:b]) for a, b in pairwise(cuts)])
    return ids
