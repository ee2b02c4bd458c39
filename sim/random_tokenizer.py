"""A byte-level BPE tokenizer of any size for random checkpoints. It encodes every text, and decodes it unchanged.

Its tokens are the 256 bytes, then words of two, three, ... letters in a fixed order, then the special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from sim.layouts import Layout
from sw.errors import CheckpointError

__all__ = ["special_tokens", "write_tokenizer"]

LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
"""Frequent ones first, so that small vocabularies have the frequent words."""

SPACE = "Ġ"
"""How ByteLevel writes a space."""

BYTES = 256
MOST_TOKENS = 1 << 20
"""More would give a tokenizer.json that is larger than `sw.tokenizer` reads."""


def special_tokens(like: Layout, vocab: int) -> dict[str, int]:
    """The special tokens of a vocabulary, with their ids: all named ones, and reserved ones up to an eighth of it.

    Raises CheckpointError if the vocabulary is too small or too large for the tokenizer.
    """
    least = BYTES + len(like.special)
    if not least <= vocab <= MOST_TOKENS:
        raise CheckpointError(f"the vocabulary must be {least} to {MOST_TOKENS}, for {BYTES} bytes and "
                              f"{len(like.special)} special tokens, not {vocab}")
    spare = min(like.reserved_tokens, vocab - least, max(0, vocab // 8 - len(like.special)))
    used = sum(like.reserved.format(number) in like.special for number in range(len(like.special)))
    names = [*like.special, *(like.reserved.format(used + number) for number in range(spare))]
    return {name: vocab - len(names) + place for place, name in enumerate(names)}


def _merges() -> Iterator[tuple[str, str]]:
    """Words of two letters, of three, ..., each made of a shorter word and a letter; words may begin with a space."""
    words = [SPACE, *LETTERS]
    while True:
        longer = []
        for word in words:
            for letter in LETTERS:
                yield word, letter
                longer.append(word + letter)
        words = longer


def write_tokenizer(folder: Path, like: Layout, vocab: int) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`. Raises CheckpointError."""
    special = special_tokens(like, vocab)
    merges = list(islice(_merges(), vocab - BYTES - len(special)))
    words = [*sorted(ByteLevel.alphabet()), *(first + second for first, second in merges)]
    tokenizer = Tokenizer(BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{like.bos} $A", pair=f"{like.bos} $A {like.bos} $B", special_tokens=[(like.bos, special[like.bos])])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": like.bos, "eos_token": like.ends[0],
              "eot_token": like.ends[1], "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(like.chat_template)
