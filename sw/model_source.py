"""Source of a model: a checkpoint, which is packed, or an image that was packed before; with its tokenizer."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hw.contract.config import AccelConfig
from sw.checkpoint import Checkpoint
from sw.doubts import Doubts
from sw.errors import ImageError
from sw.hub import HubName
from sw.image import ModelImage
from sw.pack import model_shape, pack
from sw.special_tokens import SpecialTokens
from sw.tensor_file import SINGLE_FILE
from sw.text import CheckpointText

__all__ = ["ModelSource", "Packing", "located", "pack_and_warn"]

Packing = Callable[[str, int], None]
"""Called with the name of a region of the image and bytes that were added to it."""


def located(model: str | Path) -> Path:
    """Where a model lies that a user names.

    A file or folder of that name comes first; the folder is meant where the file is `model.safetensors`. Else
    `org/name` or `org/name@revision` is a checkpoint on the Hugging Face hub, which is downloaded into the cache.
    Another name is returned as it is, and opening it says what is wrong.

    Raises CheckpointError: the hub does not have it or does not answer.
    """
    path = Path(model)
    if path.name == SINGLE_FILE and path.is_file():
        return path.parent
    name = None if os.path.lexists(path) else HubName.parse(str(model))
    return path if name is None else name.fetch()


def pack_and_warn(
    checkpoint: Checkpoint, path: Path, config: AccelConfig, context: int | None, sequences: int, packing: Packing,
    split: bool = False,
) -> None:
    """Write the image of a checkpoint, and warn of implausible values in its tensors."""
    doubts = Doubts()
    pack(checkpoint, path, config, context=context, sequences=sequences, split=split, progress=packing, doubts=doubts)
    doubts.warn()


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded into an accelerator.

    Attributes:
        path: path that was opened.
        checkpoint: None if only an image was given.
        image: packed image; None if the checkpoint is to be packed.
        text: tokenizer and special tokens; without a tokenizer if only an image was given.
    """

    path: Path
    checkpoint: Checkpoint | None
    image: Path | None
    text: CheckpointText

    @classmethod
    def open(cls, model: str | Path, image: Path | None = None) -> ModelSource:
        """Open a checkpoint that `located` finds, optionally with its packed image; or an image alone.

        Raises CheckpointError; warns of files of a checkpoint that contradict each other.
        """
        path = located(model)
        if path.is_file():
            return cls(path, None, image or path, CheckpointText(SpecialTokens(end_ids=()), None))
        return cls.of(Checkpoint.open(path), image)

    @classmethod
    def of(cls, checkpoint: Checkpoint, image: Path | None = None) -> ModelSource:
        """An opened checkpoint. Raises CheckpointError; warns of files that contradict each other."""
        text = CheckpointText.open(checkpoint.path, checkpoint.config.vocab_size)
        return cls(checkpoint.path, checkpoint, image, text)

    def packed(
        self, config: AccelConfig, folder: Path, context: int | None, sequences: int, packing: Packing,
        split: bool = False,
    ) -> ModelImage:
        """The verified image. If there is none, the checkpoint is packed into the given folder first, with `split` for
        a split head.

        Raises:
            ImageError: the image is damaged, or was packed for another build or from another model.
        """
        if self.image is None:
            assert self.checkpoint is not None
            path = folder / "model.img"
            pack_and_warn(self.checkpoint, path, config, context, sequences, packing, split)
            image = ModelImage.open(path, config)
        else:
            image = ModelImage.open(self.image, config)
            shape = image.plan.shape
            if self.checkpoint and shape != model_shape(self.checkpoint, shape.context, shape.sequences):
                raise ImageError(f"{self.image} was not packed from {self.path}, because the shapes of the models "
                                 "differ: pack it again")
        image.verify()
        return image
