"""Prompts on the command line, and `generate --batch`: JSON lines in, JSON lines out, in the same order."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from hw.contract.config import PRESETS
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.cli.prompts import MAX_BATCH_BYTES, one_prompt, read_batch
from sw.errors import JobError
from sw.pack import pack
from sw.special_tokens import SpecialTokens
from sw.text import CheckpointText
from sw.tokenizer import CheckpointTokenizer

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
NO_TEXT = CheckpointText(SpecialTokens(()), None)
LINES = (
    {"prompt": "ROMEO:", "max_new_tokens": 5},
    {"prompt_ids": [17]},
    {"prompt_ids": [300, 21, 9], "max_new_tokens": 0},
    {"prompt": "JULIET:", "max_new_tokens": 1},
)


def lines_of(objects: Any) -> str:
    return "".join(json.dumps(line) + "\n" for line in objects)


def generate(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["generate", str(DEMO), *arguments]) == 0
    captured = capsys.readouterr()
    assert not captured.err
    return [json.loads(line) for line in captured.out.splitlines()]


@pytest.mark.parametrize("backend", ["golden", "sim"])
def test_each_line_has_its_result(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In order, whichever ends first; empty lines are skipped."""
    file, stats = tmp_path / "batch.jsonl", tmp_path / "stats.json"
    file.write_text("\n" + lines_of(LINES[:2]) + " \r\n" + lines_of(LINES[2:]))
    options = ["--backend", backend, *(["--stats", str(stats), "--memory-seed", "3"] if backend == "sim" else [])]
    results = generate(capsys, "--batch", str(file), "--max-new-tokens", "3", *options)
    tokenizer = CheckpointTokenizer(DEMO / "tokenizer.json")
    assert [len(result["tokens"]) for result in results] == [5, 3, 0, 1]
    for line, result in zip(LINES, results, strict=True):
        assert list(result) == ["prompt_ids", "tokens", "text", "stopped"]
        assert result["prompt_ids"] == (line.get("prompt_ids") or tokenizer.encode(line["prompt"]))
        assert result["text"] == tokenizer.decode(result["tokens"])
        assert result["stopped"] == f"{len(result['tokens'])} tokens reached"
        alone = generate(capsys, "--batch", str(one_line(tmp_path, line)), "--max-new-tokens", "3")
        assert alone == [result]
    if backend == "sim":
        measured = json.loads(stats.read_text())
        assert measured["sequences"] == 4
        assert measured["new_tokens"] == 9
        assert measured["positions_fed"] == sum(map(len, (r["prompt_ids"] for r in results))) + 4 + 2
        assert measured["runs"] > 4
        assert measured["read_bytes"]["total"] == sum(
            size for name, size in measured["read_bytes"].items() if name != "total")
        assert measured["cycles"] > measured["busy_cycles"]["stream"] > 0


def one_line(folder: Path, line: dict[str, Any]) -> Path:
    path = folder / "one.jsonl"
    path.write_text(json.dumps(line))  # without an end of line
    return path


def test_an_image_limits_what_runs_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One slot for three prompts: the same results."""
    image, file = tmp_path / "model.img", tmp_path / "batch.jsonl"
    assert main(["pack", str(DEMO), "-o", str(image)]) == 0
    file.write_text(lines_of(LINES[:3]))
    capsys.readouterr()
    results = generate(capsys, "--batch", str(file), "--max-new-tokens", "2")
    assert generate(capsys, "--batch", str(file), "--max-new-tokens", "2", "--image", str(image)) == results


def test_without_a_tokenizer_there_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1,
                                         vocab=33, positions=16, seed=1)
    file = tmp_path / "batch.jsonl"
    file.write_text(lines_of([{"prompt_ids": [1, 2]}, {"prompt": "text"}]))
    assert main(["generate", str(checkpoint), "--batch", str(file)]) == 2
    assert capsys.readouterr().err == (
        f"error: {file}, line 2: the checkpoint has no tokenizer.json: add it, or give token ids with prompt_ids\n")
    file.write_text(lines_of([{"prompt_ids": [1, 2]}]))
    assert main(["generate", str(checkpoint), "--batch", str(file), "--max-new-tokens", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] is None


def test_marks_of_byte_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An editor of Windows writes one in front of UTF-8; its shell redirects into UTF-16."""
    file = tmp_path / "batch.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + lines_of([{"prompt_ids": [17], "max_new_tokens": 1}]).encode())
    assert generate(capsys, "--batch", str(file))[0]["prompt_ids"] == [17]
    for encoding in ("utf-16", "utf-16-be"):
        text = "\ufeff" * (encoding != "utf-16") + lines_of([{"prompt_ids": [17]}])
        file.write_bytes(text.encode(encoding))
        assert main(["generate", str(DEMO), "--batch", str(file)]) == 2
        assert capsys.readouterr().err == f"error: {file} is encoded as UTF-16: save it as UTF-8\n"


IDS = {"5": (5,), "1,2": (1, 2), " 1 , 2 ": (1, 2), "007": (7,), "-1": (-1,)}


@pytest.mark.parametrize("text", IDS)
def test_ids(text: str) -> None:
    assert one_prompt(None, text, NO_TEXT) == IDS[text]


@pytest.mark.parametrize(
    "text", ["", "1_0", "1,2_0", "\u0661", "\uff11", "1,", ",1", "1 2", "+1", "1.0", "0x1", "a", "9" * 19])
def test_what_are_no_ids(text: str) -> None:
    """`int` takes underscores, and the digits of every script."""
    with pytest.raises(JobError, match="--prompt-ids must be numbers separated by commas, such as 1,2,3, not "):
        one_prompt(None, text, NO_TEXT)


BAD = {
    "no JSON": ("{prompt: 1}", "the line is not valid JSON: '{prompt: 1}'"),
    "no UTF-8": (b'{"prompt": "\xff"}', "the line is not valid JSON: '{"),
    "no object": ("[1, 2]", "the line is not a JSON object such as {\"prompt\": TEXT}: '[1, 2]'"),
    "nested too deeply": ("[" * 100_000, "the line is not valid JSON: '[[["),
    "a number of too many digits": ('{"prompt_ids": [' + "9" * 5000 + "]}", "the line is not valid JSON: '{"),
    "unknown field": ('{"prompt": "a", "temperature": 1}', "the field 'temperature' is unknown; use prompt, "),
    "a field that is there twice": ('{"prompt": "a", "prompt": "b"}', "the field 'prompt' appears twice: remove one"),
    "no prompt": ("{}", "give either prompt or prompt_ids"),
    "two prompts": ('{"prompt": "a", "prompt_ids": [1]}', "give either prompt or prompt_ids"),
    "prompt of numbers": ('{"prompt": [1]}', "prompt must be a string, not [1]"),
    "half a character": ('{"prompt": "\\ud800"}', "prompt is not valid UTF-8"),
    "ids that are text": ('{"prompt_ids": "1,2"}', "prompt_ids must be a list of integers, not '1,2'"),
    "ids with a point": ('{"prompt_ids": [1.0]}', "prompt_ids must be a list of integers, not [1.0]"),
    "ids that are true": ('{"prompt_ids": [true]}', "prompt_ids must be a list of integers, not [True]"),
    "count that is text": ('{"prompt_ids": [1], "max_new_tokens": "9"}',
                           "max_new_tokens must be an integer, not '9'"),
    "no count": ('{"prompt_ids": [1], "max_new_tokens": null}', "max_new_tokens must be an integer, not None"),
    # what the model cannot run
    "empty prompt": ('{"prompt_ids": []}', "the prompt is empty"),
    "beyond the vocabulary": ('{"prompt_ids": [512]}', "token id 512 is outside the vocabulary of 512"),
    "beyond the context": (json.dumps({"prompt_ids": [1] * 257}),
                           "the prompt has 257 tokens, but the context holds 256"),
    "negative count": ('{"prompt_ids": [1], "max_new_tokens": -1}', "max-new-tokens must not be negative"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, exit code 2, and nothing was generated for the good line before it."""
    line, sentence = BAD[name]
    file = tmp_path / "batch.jsonl"
    file.write_bytes(b'{"prompt": "good"}\n\n' + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    assert main(["generate", str(DEMO), "--batch", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {file}, line 3: {sentence}")
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_prompts(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "batch.jsonl"
    file.write_text(content)
    assert main(["generate", str(DEMO), "--batch", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file} contains no prompts: write one JSON object per line\n"


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(DEMO), "--batch", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {tmp_path / name}: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("option", [["--prompt", "a"], ["--prompt-ids", "1"], ["--logits", "l.npz"]])
def test_a_batch_has_its_own_prompts(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "batch.jsonl"
    file.write_text(lines_of(LINES))
    assert main(["generate", str(DEMO), "--batch", str(file), *option]) == 2
    assert "leave out --prompt, --prompt-ids and --logits" in capsys.readouterr().err


def test_the_batch_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "batch.jsonl"
    file.write_text(lines_of(LINES))
    assert main(["generate", str(DEMO), "--batch", str(file), "--backend", "sim", "--stats", str(file)]) == 2
    assert "which is read" in capsys.readouterr().err
    assert file.read_text() == lines_of(LINES)


def test_standard_input_is_a_file_too(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, lines_of([{"prompt_ids": [1, 2]}] * 2).encode())
    os.close(writer)
    prompts = read_batch(Path(f"/dev/fd/{reader}"), NO_TEXT, 7, 2)
    os.close(reader)
    assert [(prompt.job.prompt, prompt.job.max_new_tokens) for prompt in prompts] == [((1, 2), 7)] * 2


@pytest.mark.parametrize("content", [b"", b"{" * 100, b"\n"], ids=["endless zeros", "one line", "empty lines"])
def test_a_file_without_end(content: bytes, tmp_path: Path) -> None:
    """Refused after a bounded number of bytes, whatever its size is said to be."""
    path = Path("/dev/zero")
    if content:
        path = tmp_path / "batch"
        path.write_bytes(content * (MAX_BATCH_BYTES // len(content) + 1))
    tracemalloc.start()
    try:
        with pytest.raises(JobError, match=f"is larger than {MAX_BATCH_BYTES} bytes"):
            read_batch(path, NO_TEXT, 1, 1)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BATCH_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("number", ["1e400", "1" + "0" * 5000, "NaN", "true", "-1", '"1"', "[1]", "1.0"])
@pytest.mark.parametrize("line", ['{"prompt_ids": [%s]}', '{"prompt_ids": [1], "max_new_tokens": %s}'])
def test_numbers_that_are_none(
    line: str, number: str, demo_image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with file and line."""
    batch = tmp_path / "batch"
    batch.write_text(line % number)
    assert main(["generate", str(DEMO), "--image", str(demo_image), "--batch", str(batch)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {batch}, line 1: ")
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def demo_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "image"
    pack(Checkpoint.open(DEMO), path, PRESETS["tiny"])
    return path
