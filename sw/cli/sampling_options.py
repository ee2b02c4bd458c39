"""Sampling settings from the command line and from the checkpoint's generation_config.json."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from sw.errors import JobError
from sw.model_config import CheckpointError, read_json
from sw.sampling import Sampling

__all__ = ["OPTIONS", "choose_sampling"]

OPTIONS = ("temperature", "top_k", "top_p", "seed")
"""Settings that the command line has. Those that it does not have keep their defaults, at which they have no effect."""

DEFAULTS: dict[str, Any] = {"temperature": 1.0, "top_k": 50, "top_p": 1.0}
"""Defaults of Hugging Face transformers for values that generation_config.json does not set."""

NOT_APPLIED: dict[str, Any] = {
    "repetition_penalty": 1.0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    "no_repeat_ngram_size": 0, "num_beams": 1,
}
"""Settings of generation_config.json that are not implemented, with the values at which they have no effect."""


def choose_sampling(
    checkpoint: Path, generation_config: bool, temperature: float | None, top_k: int | None, top_p: float | None,
    seed: int | None,
) -> Sampling | None:
    """The sampling settings; None for greedy decoding, which is temperature 0. Options override the file.

    Raises:
        JobError: an option is invalid.
        CheckpointError: generation_config.json is invalid.
    """
    options = dict(zip(OPTIONS, (temperature, top_k, top_p, seed), strict=True))
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    found = _read(checkpoint / "generation_config.json") if generation_config else {"temperature": 0.0}
    if given and not generation_config and temperature is None:
        raise JobError("--top-k, --top-p and --seed have no effect without sampling: also give a --temperature above 0")
    values = found | given
    drawn = values["temperature"] != 0
    checked: dict[str, Any] = values | ({} if drawn else {"temperature": 1.0})  # the other values are checked as well
    sampling = Sampling(**checked)
    return sampling if drawn else None


def _read(path: Path) -> dict[str, Any]:
    """Temperature, top_k and top_p of a file. The temperature is 0 if do_sample is false."""
    content = read_json(path)
    values = DEFAULTS | {name: content[name] for name in DEFAULTS if content.get(name) is not None}
    do_sample = content.get("do_sample") or False
    for name, value, kinds in (("do_sample", do_sample, (bool,)), ("temperature", values["temperature"], (int, float)),
                               ("top_k", values["top_k"], (int,)), ("top_p", values["top_p"], (int, float))):
        if type(value) not in kinds:
            raise CheckpointError(f"{path}: {name} must be {'true or false' if bool in kinds else 'a number'}, "
                                  f"not {str(value)[:40]!r}")
    values["top_k"] = values["top_k"] or None  # 0 keeps all
    ignored = [name for name, neutral in NOT_APPLIED.items() if content.get(name, neutral) not in (neutral, None)]
    if ignored:
        warnings.warn(f"{path} sets {', '.join(ignored)}, which this program does not apply", stacklevel=2)
    if not do_sample:
        values["temperature"] = 0.0
    elif values["temperature"]:
        try:
            Sampling(**values)
        except JobError as error:
            raise CheckpointError(f"{path}: {error}") from error
    return values
