"""Messages of a conversation."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sw.errors import JobError

__all__ = ["ROLES", "Message", "checked_messages"]

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class Message:
    """What one role says. Raises JobError for an unknown role, and for a text that is not valid Unicode.

    Attributes:
        role: one of ROLES.
        content: the text.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise JobError(f"the role of a message must be one of {', '.join(ROLES)}, not {reprlib.repr(self.role)}")
        if not isinstance(self.content, str):
            raise JobError(f"the content of a message must be a text, not {reprlib.repr(self.content)}")
        try:
            self.content.encode()
        except UnicodeEncodeError:
            raise JobError("a message is not valid Unicode: set a UTF-8 locale, or repair the text") from None


def checked_messages(given: Sequence[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages, or mappings with the keys `role` and `content`. Raises JobError, which has the message's number."""
    messages: list[Message] = []
    for number, one in enumerate(given, 1):
        if not isinstance(one, Message):
            if not isinstance(one, Mapping) or set(one) != {"role", "content"}:
                raise JobError(f"message {number} must have the keys role and content alone, but is "
                               f"{reprlib.repr(one)}")
            try:
                one = Message(one["role"], one["content"])  # noqa: PLW2901
            except JobError as error:
                raise JobError(f"message {number}: {error}") from error
        messages.append(one)
    return tuple(messages)
