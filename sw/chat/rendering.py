"""Rendering of a chat template in a process of its own.

A template is a program that comes with a checkpoint. Jinja2's sandbox keeps it from files and Python's internals, but
not from looping for ever or filling the memory. So a process renders it, which is ended after `TIME_S` and gets no more
than `MEMORY_BYTES`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sw.chat.messages import Message
from sw.errors import CheckpointError, JobError

__all__ = ["render"]

TIME_S = 20
"""Seconds of a rendering, start of Python included; it takes a fraction of one."""

MEMORY_BYTES = 1 << 30
MOST_CHARACTERS = 4_000_000
PROGRAM = Path(__file__).with_name("render_program.py")


def render(
    source: str, origin: str, chats: Sequence[Sequence[Message]], variables: Mapping[str, str | bool]
) -> list[str]:
    """The texts that a template makes of each chat. `origin` is where the template comes from, for messages.

    Raises:
        CheckpointError: the template is not valid, fails, or exceeds a limit.
        JobError: the template refuses the messages.
    """
    request = {"source": source, "chats": [[asdict(message) for message in chat] for chat in chats],
               "variables": dict(variables)}
    try:
        done = subprocess.run([sys.executable, "-P", str(PROGRAM), str(MEMORY_BYTES), str(MOST_CHARACTERS)],
                              input=json.dumps(request).encode(), capture_output=True, check=False, timeout=TIME_S,
                              start_new_session=True)
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"the chat template of {origin} did not end within {TIME_S} s: use another one with "
                              "--chat-template") from None
    answer = _answer(done, origin)
    if "texts" in answer:
        return answer["texts"]
    message = "".join(one if one.isprintable() else "?" for one in " ".join(str(answer["error"]).split())[:200])
    if answer["refused"]:
        raise JobError(f"the chat template of {origin} refuses the messages: {message}")
    raise CheckpointError(f"the chat template of {origin} is not usable: {message}")


def _answer(done: subprocess.CompletedProcess[bytes], origin: str) -> dict[str, Any]:
    """The object that the program wrote. Raises CheckpointError if it died."""
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1][:200]
        raise CheckpointError(
            f"the chat template of {origin} ended the program that renders it, with exit code {done.returncode} and "
            f"{last!r}: it may need more than {MEMORY_BYTES >> 20} MiB; use another one with --chat-template") from None
