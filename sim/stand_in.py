"""Stand-ins for published checkpoints: the same layout, with random weights and a made-up tokenizer."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.layouts import Layout
from sim.random_checkpoint import Progress, RandomModel, write_model
from sim.random_tokenizer import special_tokens, write_tokenizer
from sw.errors import CheckpointError
from sw.model_config import ModelConfig
from sw.whole_folder import whole_folder

__all__ = ["StandIn"]

OURS = re.compile(r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|chat_template\.jinja"
                  r"|model.*\.safetensors|model\.safetensors\.index\.json")
"""Files that a stand-in consists of."""

TEXT_BYTES_PER_TOKEN = 40
"""More than a token takes in tokenizer.json, with its merge."""


@dataclass(frozen=True)
class StandIn:
    """A checkpoint like a published one. Raises CheckpointError if its sizes do not fit together."""

    like: Layout
    model: RandomModel

    @classmethod
    def of(cls, like: Layout, sizes: Mapping[str, int], seed: int) -> StandIn:
        """The layout with some sizes replaced. `head_dim` follows from `hidden` and `heads` if one of them is given."""
        fields = {**like.fields, **sizes}
        if "head_dim" not in sizes and ("hidden" in sizes or "heads" in sizes):
            fields["head_dim"] = max(1, fields["hidden"] // max(1, fields["heads"]))
        ids = special_tokens(like, fields["vocab"])
        model = RandomModel(**fields, seed=seed, bos_token_id=ids[like.bos],
                            eos_token_id=[ids[name] for name in like.ends])
        ModelConfig.parse(model.config()).tensor_shapes()
        return cls(like, model)

    @property
    def bytes(self) -> int:
        """Bytes that its files take, at most."""
        return self.model.tensor_bytes + TEXT_BYTES_PER_TOKEN * self.model.vocab + 1_000_000

    def write(self, path: Path, force: bool, progress: Progress) -> None:
        """Write the checkpoint into a new folder; with `force` also in place of another stand-in.

        Raises:
            OutputError: the folder exists and may not be replaced, or cannot be written.
            CheckpointError: the disk has too little space.
        """
        with whole_folder(path, force, lambda name: bool(OURS.fullmatch(name))) as folder:
            free = shutil.disk_usage(folder).free
            if free < self.bytes:
                raise CheckpointError(f"{path} needs {self.bytes:,} bytes, but its disk has only {free:,} left: free "
                                      "some space, or choose another folder or fewer layers")
            write_tokenizer(folder, self.like, self.model.vocab)
            self._generation_config(folder)
            write_model(folder, self.model, progress)

    def _generation_config(self, folder: Path) -> None:
        config = self.model.config()
        content: dict[str, Any] = {name: config[name] for name in ("bos_token_id", "eos_token_id")}
        content |= {"pad_token_id": config["eos_token_id"][0], **self.like.generation}
        if "max_length" in content:
            content["max_length"] = min(content["max_length"], self.model.positions)
        (folder / "generation_config.json").write_text(json.dumps(content, indent=2) + "\n")
