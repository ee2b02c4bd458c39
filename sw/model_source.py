"""Where a model comes from: a checkpoint, which is packed, or an image that was packed before, with its text side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hw.contract.config import AccelConfig
from sw.checkpoint import Checkpoint
from sw.doubts import Doubts
from sw.errors import ImageError
from sw.image import ModelImage
from sw.pack import model_shape, pack
from sw.special_tokens import SpecialTokens
from sw.text import CheckpointText

__all__ = ["ModelSource", "Packing", "pack_and_warn"]

Packing = Callable[[str, int], None]
"""Called with the name of a region of the image and bytes that were added to it."""


def pack_and_warn(
    checkpoint: Checkpoint, path: Path, config: AccelConfig, context: int | None, sequences: int, packing: Packing
) -> None:
    """Writes the image of a checkpoint, and warns of what its tensors hold that cannot be meant."""
    doubts = Doubts()
    pack(checkpoint, path, config, context=context, sequences=sequences, progress=packing, doubts=doubts)
    doubts.warn()


@dataclass(frozen=True)
class ModelSource:
    """A model that can be brought into a machine.

    Attributes:
        path: what was opened.
        checkpoint: None where there is an image alone.
        image: packed image; None where the checkpoint is to be packed.
        text: how its texts become tokens; of an image alone, no way is known.
    """

    path: Path
    checkpoint: Checkpoint | None
    image: Path | None
    text: CheckpointText

    @classmethod
    def open(cls, path: Path, image: Path | None = None) -> ModelSource:
        """The folder of a checkpoint, maybe with its packed image; or an image alone.

        Raises CheckpointError; warns of files of a checkpoint that contradict each other.
        """
        if path.is_file():
            return cls(path, None, image or path, CheckpointText(SpecialTokens(end_ids=()), None))
        return cls.of(Checkpoint.open(path), image)

    @classmethod
    def of(cls, checkpoint: Checkpoint, image: Path | None = None) -> ModelSource:
        """An opened checkpoint. Raises CheckpointError; warns of files that contradict each other."""
        text = CheckpointText.open(checkpoint.path, checkpoint.config.vocab_size)
        return cls(checkpoint.path, checkpoint, image, text)

    def packed(
        self, config: AccelConfig, folder: Path, context: int | None, sequences: int, packing: Packing
    ) -> ModelImage:
        """The image, which is written to the folder where there is none yet, and verified.

        Raises ImageError for one that is damaged, of another build, or of another model than the checkpoint.
        """
        if self.image is None:
            assert self.checkpoint is not None
            path = folder / "model.img"
            pack_and_warn(self.checkpoint, path, config, context, sequences, packing)
            image = ModelImage.open(path, config)
        else:
            image = ModelImage.open(self.image, config)
            shape = image.plan.shape
            if self.checkpoint and shape != model_shape(self.checkpoint, shape.context, shape.sequences):
                raise ImageError(f"{self.image} was not packed from {self.path}: the shapes of the models differ")
        image.verify()
        return image
