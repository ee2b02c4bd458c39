"""Settings of `bitnet-fpga chat` that `/set` changes: sampling, and the length of an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sw.cli.sampling_options import choose_sampling
from sw.errors import JobError
from sw.sampling import Sampling

__all__ = ["ChatSettings"]

NUMBERS = {"temperature": float, "top-k": int, "top-p": float, "seed": int, "max-new-tokens": int}


@dataclass
class ChatSettings:
    """What the command line or `/set` says; None where the checkpoint's generation_config.json decides."""

    folder: Path
    max_new_tokens: int
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    @property
    def has_file(self) -> bool:
        """Whether the checkpoint has a generation_config.json."""
        return (self.folder / "generation_config.json").exists()

    def sampling(self) -> Sampling | None:
        """Settings of the first turn; None for greedy decoding. Raises JobError and CheckpointError."""
        return choose_sampling(self.folder, self.has_file, self.temperature, self.top_k, self.top_p, self.seed)

    def check(self) -> None:
        """Raises JobError for a value that is out of range, and CheckpointError for a bad generation_config.json."""
        if self.max_new_tokens < 1:
            raise JobError(f"max-new-tokens must be at least 1, not {self.max_new_tokens}")
        self.sampling()

    def set(self, name: str, value: str) -> None:
        """Change one by its name and a number in text. Raises JobError; then nothing is changed."""
        if name not in NUMBERS:
            raise JobError(f"there is no setting {name[:40]!r}: use {', '.join(NUMBERS)}")
        try:
            number = NUMBERS[name](value)
        except ValueError:
            raise JobError(f"{name} must be a number, not {value[:40]!r}") from None
        field = name.replace("-", "_")
        replace(self, **{field: number}).check()
        vars(self)[field] = number

    def told(self) -> str:
        """One line that names the settings and where they come from."""
        sampling = self.sampling()
        given = any(value is not None for value in (self.temperature, self.top_k, self.top_p))
        origin = "of generation_config.json" if self.has_file else "the checkpoint has no generation_config.json"
        origin = f"options; the rest {origin}" if given and self.has_file else origin
        if sampling is None:
            return f"greedy ({origin}); answers of up to {self.max_new_tokens} tokens"
        top_k = "" if sampling.top_k is None else f", top-k {sampling.top_k}"
        top_p = "" if sampling.top_p == 1 else f", top-p {sampling.top_p:g}"
        return (f"temperature {sampling.temperature:g}{top_k}{top_p}, seed {sampling.seed} ({origin}); answers of up "
                f"to {self.max_new_tokens} tokens")
