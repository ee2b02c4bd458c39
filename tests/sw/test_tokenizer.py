"""tokenizer.json files that are damaged, hostile or huge: one sentence, nothing of the library's own on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sw.checkpoint import CheckpointError
from sw.tokenizer import MAX_BYTES, CheckpointTokenizer

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"
TEXT = "ROMEO: hi there"


def changed(folder: Path, **parts: Any) -> Path:
    """The demo model's tokenizer with some of its parts replaced."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads((DEMO / "tokenizer.json").read_text()) | parts))
    return path


def test_text_survives() -> None:
    tokenizer = CheckpointTokenizer(DEMO / "tokenizer.json")
    ids = tokenizer.encode(TEXT)
    assert ids == [50, 47, 45, 37, 47, 26, 286, 73, 503]
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.decode([*ids, 5000]) == TEXT


def test_no_truncation_and_no_padding(tmp_path: Path) -> None:
    """What Hugging Face does unless it is asked."""
    path = changed(
        tmp_path,
        truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        padding={"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                 "pad_type_id": 0, "pad_token": "x"},
    )
    assert CheckpointTokenizer(path).decode(CheckpointTokenizer(path).encode(TEXT)) == TEXT


CONTENTS = {
    "no object": b"[]", "null": b"null", "no parts": b"{}", "no model": b'{"model": {}}',
    "bytes": b"\xff", "nested": b"[" * 100_000, "text": b"tokens",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_no_tokenizer(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not usable"):
        CheckpointTokenizer(tmp_path / "tokenizer.json")


PARTS: dict[str, dict[str, Any]] = {
    "regex": {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}},
    "merge (panics)": {"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": ["a b"]}},
    "template (panics)": {
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "z", "type_id": 0}}],
                           "pair": [], "special_tokens": {}},
    },
    "no unknown token": {"model": {"type": "WordLevel", "unk_token": "u", "vocab": {"a": 4294967295}}},
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_a_tokenizer_that_fails(parts: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, **parts)
    with pytest.raises(CheckpointError, match="is not usable"):
        CheckpointTokenizer(path).encode(TEXT)
    assert capfd.readouterr().err == ""


def test_several_threads_leave_stderr_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = CheckpointTokenizer(DEMO / "tokenizer.json")
    with ThreadPoolExecutor(8) as threads:
        assert len(set(map(tuple, threads.map(tokenizer.encode, [TEXT * 50] * 1000)))) == 1
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_huge(tmp_path: Path) -> None:
    """Refused by its size, not read."""
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=f"larger than {MAX_BYTES} bytes"):
        CheckpointTokenizer(path)


def run(folder: Path, *arguments: str | bytes) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", "sw", "generate", str(folder), *arguments], cwd=ROOT, capture_output=True, check=False,
        timeout=60,
    )
    return result.returncode, result.stderr.decode()


def test_command_with_a_panicking_tokenizer(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(DEMO / name)
    changed(tmp_path, **PARTS["template (panics)"])
    code, error = run(tmp_path, "--prompt", TEXT)
    assert code == 2
    assert error == f"error: {tmp_path}/tokenizer.json is not usable: no entry found for key\n"


def test_prompt_that_is_no_text() -> None:
    assert run(DEMO, "--prompt", b"\xff") == (
        2, "error: --prompt is not valid UTF-8: set a UTF-8 locale, or give token ids with --prompt-ids\n")


def test_prompt_ids_of_thousands_of_digits() -> None:
    code, error = run(DEMO, "--prompt-ids", "9" * 6000)
    assert code == 2
    assert len(error) < 200


def test_a_tokenizer_of_a_larger_model(tmp_path: Path) -> None:
    """Its ids are outside of this model's vocabulary."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(DEMO / name)
    changed(tmp_path, model={"type": "WordLevel", "unk_token": "u", "vocab": {"u": 4_000_000_000}})
    code, error = run(tmp_path, "--prompt", "a")
    warning, sentence = error.splitlines()
    assert code == 2
    assert warning.startswith("warning: tokenizer.json has ids up to 4000000000, but the model's vocabulary has 512")
    assert sentence == "error: token id 4000000000 is outside the vocabulary of 512"
