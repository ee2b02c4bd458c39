"""How tokens are chosen, as a user says it: options, and the checkpoint's generation_config.json."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from sw.errors import JobError
from sw.model_config import CheckpointError, read_json
from sw.sampling import Sampling

__all__ = ["choose_sampling"]

DEFAULTS: dict[str, Any] = {"temperature": 1.0, "top_k": 50, "top_p": 1.0}
"""What Hugging Face samples with where generation_config.json says nothing else."""

NOT_APPLIED: dict[str, Any] = {
    "repetition_penalty": 1.0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    "no_repeat_ngram_size": 0, "num_beams": 1,
}
"""What else would change the choice, and where it changes nothing."""


def choose_sampling(
    checkpoint: Path, generation_config: bool, temperature: float | None, top_k: int | None, top_p: float | None,
    seed: int | None,
) -> Sampling | None:
    """How tokens are drawn; None: greedy, which temperature 0 means. An option that is given beats the file.

    Raises JobError for options, CheckpointError for a file that does not make sense.
    """
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    found = _read(checkpoint / "generation_config.json") if generation_config else {"temperature": 0.0}
    if given and not generation_config and temperature is None:
        raise JobError("--top-k, --top-p and --seed are for tokens that are drawn: give a --temperature above 0 too")
    values = found | given
    drawn = values["temperature"] != 0
    checked: dict[str, Any] = values | ({} if drawn else {"temperature": 1.0})  # the other values are checked as well
    sampling = Sampling(**checked)
    return sampling if drawn else None


def _read(path: Path) -> dict[str, Any]:
    """Temperature, top_k and top_p of a file, the temperature 0 where it does not sample."""
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
        warnings.warn(f"{path} sets {', '.join(ignored)}, which is not applied", stacklevel=2)
    if not do_sample:
        values["temperature"] = 0.0
    elif values["temperature"]:
        try:
            Sampling(**values)
        except JobError as error:
            raise CheckpointError(f"{path}: {error}") from error
    return values
