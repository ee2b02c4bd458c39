"""Presets from TOML files: what they inherit, and what is refused with which sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hw.contract.config import PRESETS, AccelConfig, ConfigError
from hw.contract.preset_file import find_preset

ROOT = Path(__file__).parents[3]


def written(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, newline="")
    return path


def test_a_file_without_a_base_starts_from_the_defaults(tmp_path: Path) -> None:
    assert find_preset(written(tmp_path, "columns = 4\r\nkv_bits = 16\r\n")) == AccelConfig(
        name="mine", columns=4, kv_bits=16)
    assert find_preset(str(written(tmp_path, '\ufeffname = "other"'))) == AccelConfig(name="other")


def test_the_examples_are_documented() -> None:
    """Each opens, differs from its base in more than the name, and is linked to."""
    files = sorted((ROOT / "examples" / "presets").glob("*.toml"))
    assert files
    hashes = {config.design_hash for config in PRESETS.values()} | {find_preset(file).design_hash for file in files}
    assert len(hashes) == len(PRESETS) + len(files)
    text = (ROOT / "docs" / "presets.md").read_text()
    assert [file.name for file in files if f"[{file.stem}](../examples/presets/{file.name})" not in text] == []


def test_a_file_inherits_from_a_preset_or_another_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    written(tmp_path / "below", 'base = "medium"\nname = "not inherited"\ncolumns = 2\nmax_vocab = 512', "first")
    config = find_preset(written(tmp_path, 'base = "below/first.toml"\ncolumns = 8'))
    assert config == PRESETS["medium"].replace(name="mine", columns=8, max_vocab=512)


def test_names_are_no_identity(tmp_path: Path) -> None:
    """The same values are the same machine under every name; a preset's name does not stand for other values."""
    assert find_preset(written(tmp_path, 'base = "kv260"')).design_hash == PRESETS["kv260"].design_hash
    assert find_preset(written(tmp_path, "shortlist = 64", "tiny")) == PRESETS["tiny"]
    with pytest.raises(ConfigError, match="name 'tiny' is that of a preset with other values: set name"):
        find_preset(written(tmp_path, "columns = 1", "tiny"))


@pytest.mark.parametrize(("text", "sentence"), [
    ("colums = 4", "there is no field 'colums': the nearest is columns"),
    ("[rows]\na = 1", "rows must be an integer, not {'a': 1}"),
    ("rows = '4'", "rows must be an integer, not '4'"),
    ("rows = true", "rows must be an integer, not True"),
    ("name = 3", "name must be a text of up to 40"),
    ("name = '*/'", "name must be a text of up to 40 letters, digits, spaces, dots, underscores and hyphens, not '*/'"),
    ("columns = 65", "columns must be 1 to 64, not 65"),
    ("port_bits = 96", "port_bits must be 64, 128, 256 or 512, not 96"),
    ("rows = 3", "not 3 * 20 = 60: set rows * inputs to 2 * 20 or 4 * 10 or 8 * 5 or 10 * 4 or 20 * 2, or"),
    ("rows = 5\ninputs = 8", "5 % 2 is not 0: set rows * inputs to 2 * 20 or 4 * 10 or"),
    ("burst_beats = 256\nstream_fifo_beats = 300",
     "set stream_fifo_beats to 512 or more, or burst_beats to 150 or less"),
    ("base = 'large'", "base: no preset named 'large'; there are: tiny"),
    ("base = 4", "base must be the name of a preset or a file in quotes, not 4"),
    ("base = 'mine.toml'", "mine.toml is its own base: set base to a preset"),
    ("base = 'none.toml'", "none.toml: No such file or directory"),
    ("rows =", "mine.toml is not valid TOML: "),
    ("# " + "x" * (1 << 16), "mine.toml has more than 65,536 bytes"),
])
def test_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(sentence)) as error:
        find_preset(path)
    assert str(path) in str(error.value) or "none.toml" in sentence


def test_every_geometry_that_is_offered_can_be_built(tmp_path: Path) -> None:
    for base in ("ulx3s", "medium", "kv260"):
        with pytest.raises(ConfigError) as error:
            find_preset(written(tmp_path, f'base = "{base}"\nrows = 7'))
        offers = re.findall(r"(\d+) \* (\d+)(?! =)", str(error.value).partition("to ")[2])
        assert len(offers) >= 4
        for rows, inputs in offers:
            assert find_preset(written(tmp_path, f'base = "{base}"\nrows = {rows}\ninputs = {inputs}'))


def test_a_name_is_no_file() -> None:
    with pytest.raises(ConfigError, match=r"no preset named 'large'.*\.toml"):
        find_preset("large")


@pytest.mark.parametrize(("base", "candidates"), [("tiny", 256), ("kv260", 8192)])
def test_the_examples_with_a_split_head(base: str, candidates: int) -> None:
    config = find_preset(Path(__file__).parents[3] / "examples" / "presets" / f"{base}-split.toml")
    assert config == PRESETS[base].replace(name=f"{base}-split", candidates=candidates)
    assert config.build_id != PRESETS[base].build_id
