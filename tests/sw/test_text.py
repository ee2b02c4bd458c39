"""A text that grows and a text in one piece are the same, whatever the tokenizer does with its tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models

from sw.special_tokens import SpecialTokens
from sw.text import CheckpointText
from sw.tokenizer import CheckpointTokenizer
from tests.sw.test_special_tokens import byte_level

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
BYTES = [f"<0x{n:02X}>" for n in range(256)]
PIECES = ["▁", "▁a", "b", ".", "▁.", "'s", "▁'s", "\ufffd", "é", "中", "▁n't", "</w>", "##ing", "##.", "x</w>", "<0x"]


def word_level(decoder: decoders.Decoder | None, texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(vocab={text: n for n, text in enumerate(texts)}, unk_token="b"))
    if decoder:
        tokenizer.decoder = decoder
    return tokenizer


def added() -> Tokenizer:
    """Added tokens, special and not, between bytes."""
    tokenizer = byte_level()
    tokenizer.add_tokens(["<tool>", "é中", " . ", "\ufffd"])
    tokenizer.add_special_tokens([AddedToken("<pad>", special=True)])
    return tokenizer


def llama2() -> Tokenizer:
    """Byte fallback, as SentencePiece models are converted."""
    return word_level(
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                           decoders.Strip(content=" ", left=1, right=0)]), [*PIECES, *BYTES])


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "demo": lambda: Tokenizer.from_file(str(DEMO / "tokenizer.json")),
    "byte-level BPE": byte_level,
    "added tokens": added,
    "byte fallback": llama2,
    "byte fallback alone": lambda: word_level(decoders.ByteFallback(), [*PIECES, *BYTES]),
    "metaspace": lambda: word_level(decoders.Metaspace(), PIECES),
    "metaspace, byte fallback": lambda: word_level(
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), [*PIECES, *BYTES]),
    "clean-up of spaces": lambda: word_level(decoders.WordPiece(cleanup=True), [*PIECES, "n't", "do", "'", ",", "?"]),
    "word pieces": lambda: word_level(decoders.WordPiece(cleanup=False), PIECES),
    "ends of words": lambda: word_level(decoders.BPEDecoder(), PIECES),
    "spaces that go away": lambda: word_level(
        decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Replace(" .", ".")]), PIECES),
    "no decoder": lambda: word_level(None, PIECES),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def text(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CheckpointText:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZERS[request.param]().save(str(path))
    return CheckpointText(SpecialTokens((1,)), CheckpointTokenizer(path))


def streamed(text: CheckpointText, tokens: list[int]) -> str:
    stream = text.stream()
    return "".join([*(stream.add(token) for token in tokens), stream.end()])


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_streamed_and_whole_are_the_same(text: CheckpointText, data: st.DataObject) -> None:
    """Any tokens, the end of a text, and ids that the tokenizer does not have among them."""
    assert text.tokenizer
    tokens = data.draw(st.lists(st.integers(0, text.tokenizer.size + 1), max_size=24))
    assert streamed(text, tokens) == text.decode(tokens)


@settings(max_examples=60, deadline=None)
@given(content=st.text(max_size=12), cut=st.integers(0, 40))
def test_a_text_that_breaks_off(text: CheckpointText, content: str, cut: int) -> None:
    """In the middle of a character too, where the tokenizer has bytes."""
    assert text.tokenizer
    tokens = text.tokenizer.encode(content)[:cut]
    assert streamed(text, tokens) == text.decode(tokens)


def id_of_byte(byte: int) -> int:
    """By the letter that stands for a byte in byte-level tokenizers (GPT-2's table)."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [n for n in range(256) if n not in printed]
    return byte_level().token_to_id(chr(byte if byte in printed else 256 + others.index(byte)))


@pytest.fixture
def plain(tmp_path: Path) -> CheckpointText:
    byte_level().save(str(tmp_path / "tokenizer.json"))
    return CheckpointText(SpecialTokens((1,)), CheckpointTokenizer(tmp_path / "tokenizer.json"))


PARTS = {
    "a character in four tokens": ("a😀".encode(), ["a", "", "", "", "😀", ""]),
    "one that never comes": (b"a" + "😀".encode()[:3], ["a", "", "", "", "\ufffd"]),
    "a real replacement character": ("\ufffda".encode(), ["", "", "", "\ufffda", ""]),
    "one at the end": ("a\ufffd".encode(), ["a", "", "", "", "\ufffd"]),
    "several": (("\ufffd" * 3).encode(), ["", "", "", "\ufffd", "", "", "\ufffd", "", "", "\ufffd"]),
    "bytes of no character": (b"\xff\xffa", ["", "\ufffd", "\ufffda", ""]),
}


@pytest.mark.parametrize(("content", "parts"), PARTS.values(), ids=PARTS)
def test_what_is_held_back(content: bytes, parts: list[str], plain: CheckpointText) -> None:
    """One character at most, and not longer than until the next one or the end."""
    stream = plain.stream()
    assert [*(stream.add(id_of_byte(byte)) for byte in content), stream.end()] == parts


def test_a_run_of_bytes_is_shown_when_it_ends(tmp_path: Path) -> None:
    """A byte that comes later would turn all of the run into U+FFFD."""
    llama2().save(str(tmp_path / "tokenizer.json"))
    text = CheckpointText(SpecialTokens(()), CheckpointTokenizer(tmp_path / "tokenizer.json"))
    first = len(PIECES)
    good, after = [first + byte for byte in "中".encode()], PIECES.index("b")
    stream = text.stream()
    assert [*(stream.add(token) for token in [*good, after]), stream.end()] == ["", "", "", "中b", ""]
    assert streamed(text, [*good, good[0]]) == text.decode([*good, good[0]]) == "\ufffd" * 4


def test_without_a_tokenizer_ids_are_shown() -> None:
    assert streamed(CheckpointText(SpecialTokens((7,)), None), [5, 6, 7]) == "5 6 7 "
