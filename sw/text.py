"""Conversion of prompts to token ids, and of generated tokens to text, as a whole or piece by piece.

A tokenizer alone is not sufficient, because other files define the BOS token and the end tokens.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from sw.errors import CheckpointError
from sw.special_tokens import SpecialTokens, read_special_tokens
from sw.tokenizer import CheckpointTokenizer

__all__ = ["CheckpointText", "TextStream"]

LEAST_PART = 0.75
"""Least share of a vocabulary that its tokenizer must have. Vocabularies are padded by a few hundred rows."""

REPLACEMENT = "\ufffd"
"""Decoders return it for bytes that are not a complete character."""


class CheckpointText:
    """The text side of a checkpoint.

    Attributes:
        tokens: the tokens that begin and end a text.
        tokenizer: None if the checkpoint has no tokenizer.json; then prompts and results are token ids.
    """

    def __init__(self, tokens: SpecialTokens, tokenizer: CheckpointTokenizer | None) -> None:
        self.tokens, self.tokenizer = tokens, tokenizer
        self._checked = False

    @classmethod
    def open(cls, folder: Path, vocab: int) -> CheckpointText:
        """Open the checkpoint in a folder. `vocab` is the size of the model's vocabulary.

        Raises CheckpointError. Warns of files that contradict each other or the model.
        """
        path = folder / "tokenizer.json"
        if not os.path.lexists(path):
            return cls(read_special_tokens(folder, vocab), None)
        tokenizer = CheckpointTokenizer(path)
        if tokenizer.size > vocab:
            warnings.warn(f"tokenizer.json has ids up to {tokenizer.size - 1}, but the model's vocabulary has {vocab}: "
                          "a text may give ids that cannot be fed; it is probably that of another model", stacklevel=2)
        elif tokenizer.size < LEAST_PART * vocab:
            warnings.warn(f"tokenizer.json has {tokenizer.size} tokens, far fewer than the model's vocabulary of "
                          f"{vocab}: it is probably that of another model", stacklevel=2)
        return cls(read_special_tokens(folder, vocab, tokenizer.token_id, tokenizer.prefix), tokenizer)

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with a BOS token before it if the checkpoint specifies one.

        The BOS token is the one that `tokenizer.json` adds, or else that of `tokenizer_config.json`. It is not added to
        a prompt that already begins with it. Raises CheckpointError; warns of deviations from `tokenizer.json`.
        """
        if self.tokenizer is None:
            raise CheckpointError("the checkpoint has no tokenizer.json")
        bare, prefix = self.tokenizer.encode(text, special=False), self.tokenizer.prefix
        if not prefix and self.tokens.add_bos and self.tokens.bos is not None:
            prefix = [self.tokens.bos]
        if prefix and bare[:1] == prefix[:1]:
            warnings.warn(f"the prompt already begins with {self._shown(prefix[0])}: no second one is put in front",
                          stacklevel=2)
            bare = bare[1:]
        return [*prefix, *bare, *self.tokenizer.suffix]

    def check_prompts(self) -> None:
        """Warn once if the files disagree on the tokens before and after a prompt. Call it if prompts are texts."""
        if self.tokenizer is None or self._checked:
            return
        self._checked = True
        bos, add_bos, prefix = self.tokens.bos, self.tokens.add_bos, self.tokenizer.prefix
        if bos is None:
            if add_bos and not prefix:
                warnings.warn("tokenizer_config.json says add_bos_token, but no file names a BOS token: prompts begin "
                              "without one", stacklevel=2)
        elif prefix[:1] == [bos]:
            if add_bos is False:
                warnings.warn(f"tokenizer_config.json says add_bos_token false, but tokenizer.json puts "
                              f"{self._shown(bos)} in front of prompts: tokenizer.json is followed", stacklevel=2)
        elif add_bos:
            warnings.warn(f"tokenizer_config.json asks for a BOS token, which tokenizer.json does not add: "
                          f"{self._shown(bos)} is put in front of prompts", stacklevel=2)
        elif prefix and not self.tokens.differ:
            warnings.warn(f"tokenizer.json puts {self._shown(prefix[0])} in front of prompts, but "
                          f"{self.tokens.named_by} names {self._shown(bos)}: tokenizer.json is followed", stacklevel=2)
        elif not prefix and add_bos is None and bos not in self.tokens.end_ids:  # else it only separates texts
            warnings.warn(f"{self.tokens.named_by} names the BOS token {self._shown(bos)}, but tokenizer.json does not "
                          "add it: prompts begin without it; write it in front of a prompt if the model needs it",
                          stacklevel=2)
        ends = [token for token in self.tokenizer.suffix if token in self.tokens.end_ids]
        if ends:
            warnings.warn(f"tokenizer.json puts {self._shown(ends[0])} behind prompts, which ends a text", stacklevel=2)

    def _shown(self, token: int) -> str:
        text = self.tokenizer and self.tokenizer.token_text(token)
        return f"{text!r} (id {token})" if text else f"id {token}"

    def decode(self, tokens: Sequence[int]) -> str | None:
        """The whole text of generated tokens, without end tokens; None without a tokenizer."""
        if self.tokenizer is None:
            return None
        return self.tokenizer.decode([token for token in tokens if token not in self.tokens.end_ids])

    def stream(self) -> TextStream:
        """A decoder for text that is shown while it is generated."""
        return TextStream(self)


class TextStream:
    """Incremental decoder. The parts together equal `CheckpointText.decode` of all tokens.

    So text is returned only when no later token can change it. Three things are held back: the last U+FFFD, which may
    be an incomplete character; spaces at the end, which some decoders remove before a full stop; and a run of byte
    tokens, such as `<0xE4>`, which the decoder converts to text only if the whole run is valid UTF-8. If a decoder
    changes text that was already returned, the rest is returned at the end. Without a tokenizer, the parts are the ids.
    """

    def __init__(self, text: CheckpointText) -> None:
        self._text = text
        self._tokens: list[int] = []
        self._shown = ""
        self._in_bytes = False

    def add(self, token: int) -> str:
        """Text that a token adds; empty if it is held back."""
        if self._text.tokenizer is None:
            return f"{token} "
        if token in self._text.tokens.end_ids:
            return ""
        self._tokens.append(token)
        # A token that decodes to nothing, a special one or one that the tokenizer does not have, ends no run.
        self._in_bytes = self._text.tokenizer.is_byte(token) or (
            self._in_bytes and not self._text.tokenizer.decode([token]))
        return "" if self._in_bytes else self._part(self._decoded().removesuffix(REPLACEMENT).rstrip(" "))

    def end(self) -> str:
        """Text that was held back. Call it after the last token."""
        if self._text.tokenizer is None:
            return ""
        text = self._decoded()
        same = next((n for n, pair in enumerate(zip(text, self._shown, strict=False)) if pair[0] != pair[1]),
                    min(len(text), len(self._shown)))
        return text[same:]

    def _decoded(self) -> str:
        return self._text.decode(self._tokens) or ""

    def _part(self, text: str) -> str:
        """The part of a text that was not returned yet; empty if the text does not continue what was returned."""
        if not text.startswith(self._shown):
            return ""
        part = text[len(self._shown) :]
        self._shown = text
        return part
