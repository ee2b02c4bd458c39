"""Where a chat template is found, and what becomes of one that is no use."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from sw.chat.messages import Message
from sw.chat.template import ChatTemplate
from sw.errors import CheckpointError, JobError

ONE = (Message("user", "hi"),)


def config(folder: Path, **content: Any) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    return folder


def test_where_it_is_found(tmp_path: Path) -> None:
    """A file that is given, the file beside the tokenizer, then the settings: a text, or the one named default."""
    config(tmp_path, chat_template=[{"name": "a", "template": "A"}, {"name": "default", "template": "D"}])
    assert ChatTemplate.open(tmp_path).render(ONE) == ["D"]
    config(tmp_path, chat_template="S{{ bos_token }}{{ eos_token }}{{ pad_token }}", bos_token={"content": "<b>"},
           eos_token="<e>", pad_token=None)
    assert ChatTemplate.open(tmp_path).render(ONE, ONE) == ["S<b><e>"] * 2
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<m>"}))
    assert ChatTemplate.open(tmp_path).render(ONE) == ["S<m><e>"]
    config(tmp_path, chat_template="{{ bos_token }}", bos_token="<b>", added_tokens_decoder={})
    assert ChatTemplate.open(tmp_path).render(ONE) == ["<b>"]
    (tmp_path / "chat_template.jinja").write_bytes(b"\xef\xbb\xbf<s>{# #}\r\n  {% if true %}\r\nB\r\n{% endif %}")
    assert ChatTemplate.open(tmp_path).render(ONE) == ["<s>B\n"]
    own = tmp_path / "own"
    own.write_text("{{ messages[0].content }}{{ bos_token }}")
    assert ChatTemplate.open(tmp_path, own).render(ONE) == ["hi<b>"]
    assert ChatTemplate.open(None, own).render(ONE) == ["hi"]


def test_developer_is_system_where_the_template_does_not_know_it() -> None:
    chat = (Message("developer", "x"), Message("user", "y"))
    roles = "{% for m in messages %}{{ m.role }} {% endfor %}"
    assert ChatTemplate(roles, "t", {}).render(chat) == ["system user "]
    assert ChatTemplate(roles + "{# developer #}", "t", {}).render(chat) == ["developer user "]


@pytest.mark.parametrize(("content", "sentence"), [
    ({}, "has no chat template: give one with --chat-template FILE"),
    ({"chat_template": 3}, "chat_template must be a text, or a list"),
    ({"chat_template": []}, "none named default"),
    ({"chat_template": [3]}, "chat_template must be a text, or a list"),
    ({"chat_template": [{"name": "default"}]}, "chat_template must be a text, or a list"),
    ({"chat_template": [{"name": "rag", "template": ""}]}, "has 'rag', but none named default"),
])
def test_settings_without_one(content: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(sentence)):
        ChatTemplate.open(config(tmp_path, **content))


@pytest.mark.parametrize(("content", "sentence"), [
    (b"\xff\xfe\x00", "is not a UTF-8 text"), (b" " * 1_000_001, "is larger than 1000000 bytes"),
    (None, "does not exist or is not a file"),
])
def test_files_that_are_none(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence):
        ChatTemplate.open(tmp_path, path)


BAD = {
    "{% if %}": "is not usable: line 1: Expected an expression",
    "\n{% for x in y %}": "is not usable: line 2: Unexpected end",
    "{{ messages.x.y }}": "is not usable: 'list object' has no attribute 'x'",
    "{{ 1 / 0 }}": "is not usable: ZeroDivisionError",
    "{{ ''.__class__.__mro__ }}": "is not usable: access to attribute '__class__' of 'str' object is unsafe",
    "{{ namespace(_x=1) }}": "the name '_x' of a namespace begins with an underscore",
    "{{ messages.append(1) }}": "is not usable: access to attribute 'append' of 'list' object is unsafe",
    "{% include '/etc/passwd' %}": "is not usable: TypeError: no loader for this environment specified",
    "{{ ''.join(['x' * 9999] * 999) }}": "it writes more than 4000000 characters",
    "{{ 'x' * 10 ** 11 }}": "is not usable: MemoryError",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "is not usable: RecursionError",
    "(" * 9 + "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}": "is not usable: ",
}


@pytest.mark.parametrize("source", BAD)
def test_templates_that_fail(source: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"the chat template of t {BAD[source]}"
                                                       if BAD[source].startswith("is") else BAD[source])) as caught:
        ChatTemplate(source, "t", {}).render(ONE)
    assert "\n" not in str(caught.value)


def test_a_template_that_refuses() -> None:
    with pytest.raises(JobError, match=r"^the chat template of t refuses the messages: only 1\? turns$"):
        ChatTemplate("{{ raise_exception('only\n1\x1b turns') }}", "t", {}).render(ONE)


@pytest.mark.parametrize("source", [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ (9 ** (9 ** 9)) % 7 }}",
])
def test_a_template_that_does_not_end(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is ended, in whatever it is."""
    monkeypatch.setattr("sw.chat.rendering.TIME_S", 1)
    start = time.monotonic()
    with pytest.raises(CheckpointError, match="did not end within 1 s: use another one with --chat-template"):
        ChatTemplate(source, "t", {}).render(ONE)
    assert time.monotonic() - start < 10
