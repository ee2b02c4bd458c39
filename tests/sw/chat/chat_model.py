"""A small random model with the tokenizer and chat template of a style."""

from __future__ import annotations

import json
from pathlib import Path

from sim.random_checkpoint import write_random_checkpoint
from sw.tokenizer import CheckpointTokenizer
from tests.sw.chat.styles import STYLES, write_style

__all__ = ["CONTEXT", "write_chat_model"]

CONTEXT = 160


def write_chat_model(folder: Path, style: str = "bitnet-2b-4t") -> Path:
    """Write a checkpoint whose files agree on the begin and end tokens. Returns the folder."""
    vocab = write_style(folder, STYLES[style])
    write_random_checkpoint(folder, hidden=32, intermediate=48, layers=2, heads=2, kv_heads=1, vocab=vocab,
                            positions=CONTEXT, seed=5)
    tokenizer = CheckpointTokenizer(folder / "tokenizer.json")
    config = json.loads((folder / "config.json").read_text())
    for name, text in STYLES[style].tokens.items():
        config[f"{name}_id"] = tokenizer.token_id(text)
    (folder / "config.json").write_text(json.dumps(config))
    return folder
