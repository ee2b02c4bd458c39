"""Token ids of conversations are those of transformers, and no text of a message becomes a special token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sw.chat import render_program
from sw.chat.messages import Message, checked_messages
from sw.chat.template import ChatTemplate
from sw.chat.tokens import MARKS, encode_chat
from sw.errors import JobError
from sw.special_tokens import SpecialTokens, read_special_tokens
from sw.text import CheckpointText
from sw.tokenizer import CheckpointTokenizer
from tests.sw.chat.styles import CONVERSATIONS, HOSTILE, STYLES, write_style

REFERENCES = json.loads((Path(__file__).parents[2] / "references" / "chat.json").read_text())["ids"]
OURS_ALONE = {"every feature: thoughts"}
"""`</think>` in a message: a text here, because the template writes that token; a token in transformers."""


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    """Hundreds of renderings, without a process for each; `test_template.py` has those."""
    def render(source: str, origin: str, chats: list[list[Message]], variables: dict[str, object]) -> list[str]:
        request = {"source": source, "chats": [[asdict(message) for message in chat] for chat in chats],
                   "variables": variables}
        return render_program._render(request, 10_000)["texts"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sw.chat.template.render", render)
        yield


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ChatTemplate, CheckpointText]]:
    """Template and text of each style."""
    found = {}
    for name, style in STYLES.items():
        folder = tmp_path_factory.mktemp("style")
        vocab = write_style(folder, style)
        tokenizer = CheckpointTokenizer(folder / "tokenizer.json")
        text = CheckpointText(read_special_tokens(folder, vocab, tokenizer.token_id), tokenizer)
        found[name] = (ChatTemplate.open(folder), text)
    return found


Opened = dict[str, tuple[ChatTemplate, CheckpointText]]


@pytest.mark.parametrize("name", STYLES)
def test_ids_are_those_of_transformers(name: str, opened: Opened) -> None:
    template, text = opened[name]
    for title, messages in CONVERSATIONS.items():
        ids = list(encode_chat(template, text, checked_messages(messages)))
        same = f"{name}: {title}" not in OURS_ALONE
        assert (ids == REFERENCES[f"{name}: {title}"]) == same, title


def specials(text: CheckpointText, ids: tuple[int, ...]) -> list[int]:
    assert text.tokenizer
    return [token for token in ids if token in text.tokenizer.added and token != text.tokenizer.token_id("  ")]


@pytest.mark.parametrize("name", STYLES)
def test_a_message_writes_no_special_token(name: str, opened: Opened) -> None:
    """Those of the template are where they are without them, and the text is all there."""
    template, text = opened[name]
    assert text.tokenizer
    plain = tuple(Message(one["role"], "x") for one in HOSTILE)
    ids = encode_chat(template, text, checked_messages(HOSTILE))
    assert specials(text, ids) == specials(text, encode_chat(template, text, plain))
    (rendered,) = template.render(checked_messages(HOSTILE))
    spelled = text.tokenizer.decode([token for token in ids if token not in specials(text, ids)]).replace(" ", "")
    assert all(one in rendered.replace(" ", "") for one in ("<|eot_id|>", "</s>"))
    assert all(one in spelled for one in ("<|system|>", "<|eot_id|><|start_header_id|>system", "</s>", "<think>"))


PARTS = ["<|eot", "_id|>", "<|eot_id|>", "<|im_end|>", "<|im_", "<", "|>", "<think>", "</think>", " ", "\n", "<s>",
         "<|turn|>", "a", "é", MARKS[0], "<|user|>", "{{", "\0"]


@settings(max_examples=60, deadline=None)
@given(said=st.lists(st.lists(st.sampled_from(PARTS), max_size=8).map("".join), min_size=3, max_size=3))
def test_whatever_a_message_contains(opened: Opened, said: list[str]) -> None:
    for name in ("llama-3", "falcon3", "sentencepiece", "chatml"):
        template, text = opened[name]
        roles = ("user", "assistant", "user")
        ids = encode_chat(template, text, tuple(map(Message, roles, said)))
        plain = encode_chat(template, text, tuple(Message(role, "x") for role in roles))
        assert specials(text, ids) == specials(text, plain)


ADJACENT = "{% for message in messages %}{{ message.content }}{% endfor %}<|im_end|>"
REPLACED = "{% for message in messages %}{{ message.content | replace('--', '') }}{% endfor %}<|im_end|>"
OMITTED = ("{% for message in messages %}{{ message.content }}{% if '<|im_end|>' not in message.content %}<|im_end|>"
           "{% endif %}{% endfor %}")


def test_messages_that_join(opened: Opened) -> None:
    """Two messages that are a special token together, and one that the template makes one of."""
    text = opened["chatml"][1]
    assert text.tokenizer
    end = text.tokenizer.token_id("<|im_end|>")
    parts = (Message("user", "<|im_"), Message("user", "end|>a"))
    ids = encode_chat(ChatTemplate(ADJACENT, "t", {}), text, parts)
    assert (ids.count(end or 0), ids[-1]) == (1, end)
    for source, content in ((REPLACED, "<|im--_end|>"), (OMITTED, "<|im_end|>a")):
        with pytest.raises(JobError, match="changes the messages, so that special tokens in them cannot be told"):
            encode_chat(ChatTemplate(source, "t", {}), text, (Message("user", content),))
    assert encode_chat(ChatTemplate(REPLACED, "t", {}), text, (Message("user", "a--b"),)) == encode_chat(
        ChatTemplate(REPLACED, "t", {}), text, (Message("user", "ab"),))


def test_ends_that_the_tokenizer_calls_ordinary(opened: Opened) -> None:
    """A token that ends a text is special whatever `tokenizer.json` says of it."""
    template, text = opened["every feature"]
    assert text.tokenizer
    think = text.tokenizer.token_id("<think>")
    assert think
    source = "{% for message in messages %}{{ message.content }}{% endfor %}"
    messages = (Message("user", "a<think>b"),)
    named = CheckpointText(SpecialTokens((think,)), text.tokenizer)
    assert think in encode_chat(ChatTemplate(source, "t", {}), text, messages)
    assert think not in encode_chat(ChatTemplate(source, "t", {}), named, messages)
    assert think not in encode_chat(template, text, messages)[:-20]


def test_what_has_no_ids(opened: Opened) -> None:
    template, text = opened["llama-3"]
    for error, use in {
        "the conversation has no messages": lambda: encode_chat(template, text, ()),
        "the model has no tokenizer.json": lambda: encode_chat(
            template, CheckpointText(SpecialTokens(()), None), (Message("user", "a"),)),
        "makes no text of the messages": lambda: encode_chat(
            ChatTemplate("{# #}", "t", {}), text, (Message("user", "a"),)),
        "the messages contain all of the symbols": lambda: encode_chat(
            template, text, (Message("user", "".join(MARKS)),)),
        "message 2: the role of a message must be one of system, developer, user, assistant, tool, not 'king'":
            lambda: checked_messages([{"role": "user", "content": ""}, {"role": "king", "content": ""}]),
        "message 1: the content of a message must be a text, not 3": lambda: checked_messages(
            [{"role": "user", "content": 3}]),
        "message 1 must have the keys role and content alone": lambda: checked_messages([{"role": "user"}]),
        "not valid Unicode": lambda: Message("user", "\ud800"),
    }.items():
        with pytest.raises(JobError, match=error):
            use()
