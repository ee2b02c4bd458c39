"""Writes chat.json: token ids that `apply_chat_template` of transformers gives, by style and conversation.

transformers is no dependency: run `python -m tests.references.make_chat_references` from the root of the clone, in an
environment with transformers, jinja2 and tokenizers. `tests/sw/chat/test_tokens.py` reads the file.
"""

from __future__ import annotations

import json
import tempfile
from importlib import metadata
from pathlib import Path

from transformers import PreTrainedTokenizerFast  # pyright: ignore[reportMissingImports]

from tests.sw.chat.styles import CONVERSATIONS, STYLES, write_style


def main() -> None:
    """Write the file."""
    found: dict[str, dict[str, list[int]]] = {}
    for name, style in STYLES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_style(Path(folder), style)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            found[name] = {
                title: tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
                for title, messages in CONVERSATIONS.items()
            }
    rows = ",\n".join(f'  {json.dumps(f"{name}: {title}")}: {json.dumps(ids)}'
                      for name, each in found.items() for title, ids in each.items())
    versions = {package: metadata.version(package) for package in ("transformers", "jinja2", "tokenizers")}
    content = f'{{\n "made with": {json.dumps(versions)},\n "ids": {{\n{rows}\n }}\n}}\n'
    Path(__file__).with_name("chat.json").write_text(content)


if __name__ == "__main__":
    main()
