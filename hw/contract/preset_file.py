"""Presets from files: TOML whose keys are the fields of `AccelConfig`.

A command line and a session take the path of such a file wherever they take the name of a preset (docs/presets.md).
"""

from __future__ import annotations

import dataclasses
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hw.contract.config import PRESETS, AccelConfig, ConfigError, preset

__all__ = ["find_preset", "is_preset_file"]

FIELDS = tuple(field.name for field in dataclasses.fields(AccelConfig))

MAX_BYTES = 1 << 16
"""Largest file that is read."""


def is_preset_file(text: str) -> bool:
    """Whether it is the path of a file, which ends in .toml or has a folder, and not the name of a preset."""
    path = Path(text)
    return path.suffix == ".toml" or len(path.parts) > 1


def find_preset(text: str | Path) -> AccelConfig:
    """The configuration of a preset's name, or of a TOML file.

    The name of a file's configuration is its `name`, or else the file's name without .toml. It must not be that of a
    preset with other values, so that messages and reports are unambiguous; what is stored and compared is the design
    hash.

    Raises:
        ConfigError: there is no such preset or file, or the file is invalid. The sentence names the field to change.
    """
    if not is_preset_file(str(text)):
        if str(text) in PRESETS:
            return preset(str(text))
        raise ConfigError(f"no preset named {str(text)!r}; there are: {', '.join(PRESETS)}; a file needs a name that "
                          "ends in .toml")
    path = Path(text)
    values = {"name": path.stem, **_values(path, ())}
    try:
        config = AccelConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    same_name = PRESETS.get(config.name)
    if same_name and same_name.design_hash != config.design_hash:
        raise ConfigError(f"{path}: name {config.name!r} is that of a preset with other values: set name to another "
                          "one")
    return config


def _values(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Fields of a file, with those of its base below them. `above` are the files whose base it is."""
    if path.resolve() in above:
        raise ConfigError(f"{path} is its own base: set base to a preset, {', '.join(PRESETS)}")
    values = _read(path)
    for key in values:
        if key not in (*FIELDS, "base"):
            nearest = get_close_matches(key, FIELDS, 1, 0)[0]
            raise ConfigError(f"{path}: there is no field {key[:40]!r}: the nearest is {nearest}")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base must be the name of a preset or a file in quotes, not {base!r}")
    if is_preset_file(base):
        inherited = _values(path.parent / base, (*above, path.resolve()))
        inherited.pop("name", None)
    else:
        try:
            inherited = dataclasses.asdict(preset(base))
        except ConfigError as error:
            raise ConfigError(f"{path}: base: {error}") from None
        del inherited["name"]
    return inherited | values


def _read(path: Path) -> dict[str, Any]:
    """The content of a TOML file of bounded size, with or without a byte-order mark."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the preset file {path}: {error.strerror}; the presets are: "
                          f"{', '.join(PRESETS)}") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} has more than {MAX_BYTES:,} bytes, so it is no preset file: give a TOML file of "
                          "AccelConfig's fields")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
