"""Prompts from the command line: a text, token ids, or a file of many prompts."""

from __future__ import annotations

import codecs
import json
import re
import reprlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sw.errors import JobError
from sw.requests import Job
from sw.sampling import Sampling
from sw.session import Session
from sw.text import CheckpointText

__all__ = ["Prompt", "one_prompt", "read_batch"]

MAX_BATCH_BYTES = 16_000_000
"""Largest file of prompts. Its Python objects take up to 30 times as much memory."""

FIELDS = ("prompt", "prompt_ids", "max_new_tokens", "seed")


_IDS = re.compile(r" *-?[0-9]{1,18} *(, *-?[0-9]{1,18} *)*")
"""Decimal numbers separated by commas. `int` alone would also accept `1_0` and digits of other scripts."""


def one_prompt(text: str | None, ids: str | None, codec: CheckpointText) -> tuple[int, ...]:
    """Token ids from the options --prompt and --prompt-ids. Raises JobError."""
    if (text is None) == (ids is None):
        raise JobError("give either --prompt or --prompt-ids")
    if ids is None:
        return _encode(text or "", "--prompt", "--prompt-ids", codec)
    if not _IDS.fullmatch(ids):
        raise JobError(f"--prompt-ids must be numbers separated by commas, such as 1,2,3, not {ids[:80]!r}")
    return tuple(int(part) for part in ids.split(","))


@dataclass(frozen=True)
class Prompt:
    """A job and its origin. `place` is the file and line number with which error messages begin, or empty."""

    job: Job
    place: str = ""

    def check(self, session: Session) -> None:
        """Raises JobError for a job that cannot run."""
        try:
            session.check(self.job)
        except JobError as error:
            raise JobError(f"{self.place}{error}") from error


def read_batch(
    path: Path, codec: CheckpointText, max_new_tokens: int, chunk: int, sampling: Sampling | None = None
) -> list[Prompt]:
    """Read prompts from a file of JSON lines.

    A line is {"prompt": TEXT} or {"prompt_ids": [NUMBERS]}, with "max_new_tokens" if it differs from the option. Empty
    lines and a byte-order mark are skipped. A sequence ends at the end ids of the checkpoint. If tokens are drawn,
    prompt n (counted from 0) has the seed `sampling.seed` + n unless its line has a "seed".

    Raises:
        JobError: the file is not valid; the message names file and line.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BATCH_BYTES + 1)
    if len(content) > MAX_BATCH_BYTES:
        raise JobError(f"{path} is larger than {MAX_BATCH_BYTES} bytes: split it into several files")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise JobError(f"{path} is encoded as UTF-16: save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    prompts: list[Prompt] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            place = f"{path}, line {number}: "
            try:
                own = sampling and replace(sampling, seed=sampling.seed + len(prompts))
                prompts.append(Prompt(_job(line, codec, max_new_tokens, chunk, own), place))
            except JobError as error:
                raise JobError(f"{place}{error}") from error
    if not prompts:
        raise JobError(f"{path} contains no prompts: write one JSON object per line")
    return prompts


def _job(
    line: bytes, codec: CheckpointText, max_new_tokens: int, chunk: int, sampling: Sampling | None
) -> Job:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = next((name for name, count in Counter(name for name, _ in pairs).items() if count > 1), None)
        if twice is not None:
            raise JobError(f"the field {twice[:80]!r} appears twice: remove one")
        return dict(pairs)

    try:
        fields: Any = json.loads(line.decode(), object_pairs_hook=unique)
    except JobError:
        raise
    except (ValueError, RecursionError):
        raise JobError(f"the line is not valid JSON: {_shown(line)}") from None
    if not isinstance(fields, dict):
        raise JobError(f"the line is not a JSON object such as {{\"prompt\": TEXT}}: {_shown(line)}")
    unknown = next((name for name in fields if name not in FIELDS), None)
    if unknown is not None:
        raise JobError(f"the field {unknown[:80]!r} is unknown; use {', '.join(FIELDS)}")
    if ("prompt" in fields) == ("prompt_ids" in fields):
        raise JobError("give either prompt or prompt_ids")
    most, seed = fields.get("max_new_tokens", max_new_tokens), fields.get("seed", 0)
    for name, value in (("max_new_tokens", most), ("seed", seed)):
        if type(value) is not int:
            raise JobError(f"{name} must be an integer, not {reprlib.repr(value)}")
    if sampling and "seed" in fields:
        sampling = replace(sampling, seed=seed)
    if "prompt" in fields:
        if not isinstance(fields["prompt"], str):
            raise JobError(f"prompt must be a string, not {reprlib.repr(fields['prompt'])}")
        prompt = _encode(fields["prompt"], "prompt", "prompt_ids", codec)
    else:
        prompt = fields["prompt_ids"]
        if not isinstance(prompt, list) or any(type(token) is not int for token in prompt):
            raise JobError(f"prompt_ids must be a list of integers, not {reprlib.repr(prompt)}")
    return Job(prompt=tuple(prompt), max_new_tokens=most, chunk=chunk, end_ids=codec.tokens.end_ids, sampling=sampling)


def _shown(line: bytes) -> str:
    """The beginning of a line, for a message."""
    return repr(line[:40].decode(errors="replace"))


def _encode(text: str, name: str, other: str, codec: CheckpointText) -> tuple[int, ...]:
    """Token ids of a text. `name` is the option or field of the text, `other` the one that takes token ids."""
    if codec.tokenizer is None:
        raise JobError(f"the checkpoint has no tokenizer.json: add it, or give token ids with {other}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise JobError(f"{name} is not valid UTF-8: set a UTF-8 locale, or give token ids with {other}") from None
    codec.check_prompts()
    return tuple(codec.encode(text))
