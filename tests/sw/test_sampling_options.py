"""Sampling on the command line: options, generation_config.json, seeds of a batch, and --json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.cli.sampling_options import choose_sampling
from sw.errors import JobError
from sw.model_config import CheckpointError
from sw.sampling import Sampling

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
DRAWN = ("--temperature", "0.9", "--top-k", "40", "--top-p", "0.95")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1, vocab=33,
                                   positions=32, seed=1)


def choose(folder: Path, generation_config: bool, **options: Any) -> Sampling | None:
    names = ("temperature", "top_k", "top_p", "seed")
    return choose_sampling(folder, generation_config, *(options.get(name) for name in names))


def generate(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    assert main(["generate", str(DEMO), *arguments]) == 0
    captured = capsys.readouterr()
    assert not captured.err
    return [json.loads(line) for line in captured.out.splitlines()]


def test_options(tmp_path: Path) -> None:
    assert choose(tmp_path, False) is None
    assert choose(tmp_path, False, temperature=0.0, top_k=5, seed=3) is None
    assert choose(tmp_path, False, temperature=0.5) == Sampling(temperature=0.5)
    assert choose(tmp_path, False, temperature=0.5, top_k=5, top_p=0.5, seed=3) == Sampling(
        temperature=0.5, top_k=5, top_p=0.5, seed=3)


CONFIGS: list[tuple[dict[str, Any], dict[str, Any], Sampling | None]] = [
    ({}, {}, None),
    ({"do_sample": False, "temperature": 0.7}, {}, None),
    ({"do_sample": True}, {}, Sampling(temperature=1.0, top_k=50)),
    ({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 1}, {},
     Sampling(temperature=0.6, top_k=50, top_p=0.9)),
    ({"do_sample": True, "temperature": 1, "top_k": 0, "top_p": 1}, {}, Sampling(temperature=1)),
    ({"do_sample": True, "temperature": None, "top_k": None}, {}, Sampling(temperature=1.0, top_k=50)),
    ({"do_sample": True, "temperature": 0.6}, {"temperature": 0.8, "top_k": 3, "seed": 4},
     Sampling(temperature=0.8, top_k=3, seed=4)),
    ({"do_sample": True}, {"temperature": 0.0}, None),
    ({"top_p": 0.5}, {"temperature": 0.8}, Sampling(temperature=0.8, top_k=50, top_p=0.5)),
]


@pytest.mark.parametrize(("content", "options", "expected"), CONFIGS)
def test_generation_config(
    content: dict[str, Any], options: dict[str, Any], expected: Sampling | None, tmp_path: Path
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    assert choose(tmp_path, True, **options) == expected


def test_generation_config_is_read_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("no JSON")
    assert choose(tmp_path, False) is None
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        choose(tmp_path, True)


@pytest.mark.parametrize(("content", "sentence"), [
    ({"do_sample": "yes"}, "do_sample must be true or false, not 'yes'"),
    ({"do_sample": True, "temperature": "hot"}, "temperature must be a number, not 'hot'"),
    ({"do_sample": True, "temperature": True}, "temperature must be a number, not 'True'"),
    ({"do_sample": True, "top_k": 1.5}, "top_k must be a number, not '1.5'"),
    ({"do_sample": True, "temperature": -1}, "temperature must be a number above 0"),
    ({"do_sample": True, "top_p": 0}, "top-p must be above 0"),
    ({"do_sample": True, "top_k": -1}, "top-k must be at least 1"),
])
def test_a_generation_config_that_makes_no_sense(content: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"generation_config.json: {sentence}"):
        choose(tmp_path, True)


def test_what_is_not_applied_is_told(tmp_path: Path) -> None:
    content = {"do_sample": True, "repetition_penalty": 1.1, "num_beams": 1, "min_p": None, "typical_p": 0.5}
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="sets repetition_penalty, typical_p, which this program does not apply"):
        choose(tmp_path, True)


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--top-k", "5"],
     "--top-k, --top-p and --seed have no effect without sampling: also give a --temperature above 0"),
    (["--seed", "5"], "--top-k, --top-p and --seed have no effect without sampling"),
    (["--temperature", "nan"], "temperature must be a number above 0, or 0 for greedy, not nan"),
    (["--temperature", "-0.5"], "temperature must be a number above 0, or 0 for greedy, not -0.5"),
    (["--temperature", "0", "--top-p", "2"], "top-p must be above 0 and at most 1, not 2.0"),
    (["--temperature", "1", "--top-p", "0"], "top-p must be above 0 and at most 1, not 0.0"),
    (["--temperature", "1", "--top-k", "0"], "top-k must be at least 1, not 0"),
    (["--temperature", "1", "--seed", "-1"], "seed must be 0 to"),
    (["--generation-config"], f"{DEMO / 'generation_config.json'} does not exist or is not a file"),
])
def test_refused_in_a_sentence(arguments: list[str], sentence: str, capsys: Capture) -> None:
    assert main(["generate", str(DEMO), "--prompt", "a", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {sentence}")
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize("backend", ["golden", "sim"])
def test_json_of_one_prompt(backend: str, tmp_path: Path, capsys: Capture) -> None:
    """One object, the same as in a batch; the text is what is printed without it."""
    options = ("--prompt", "ROMEO:", "--max-new-tokens", "6", *DRAWN, "--seed", "11")
    (result,) = generate(capsys, *options, "--json", "--backend", backend)
    assert list(result) == ["prompt_ids", "tokens", "text", "stopped", "temperature", "top_k", "top_p", "seed"]
    assert [result[name] for name in list(result)[3:]] == ["6 tokens reached", 0.9, 40, 0.95, 11]
    assert main(["generate", str(DEMO), *options]) == 0
    captured = capsys.readouterr()
    assert captured.out == result["text"] + "\n"
    assert captured.err == "stopped: 6 tokens reached\n"
    batch = tmp_path / "batch.jsonl"
    batch.write_text('{"prompt": "ROMEO:"}')
    assert generate(capsys, "--batch", str(batch), *options[2:]) == [result]
    (greedy,) = generate(capsys, *options[:4], "--json")
    assert list(greedy) == ["prompt_ids", "tokens", "text", "stopped"]


def test_seeds_of_a_batch(tmp_path: Path, capsys: Capture) -> None:
    """Line n, empty ones not counted, has the seed of the option plus n, unless it says another."""
    batch = tmp_path / "batch.jsonl"
    batch.write_text('\n{"prompt": "a"}\n\n{"prompt": "a"}\n{"prompt": "a", "seed": 7}\n{"prompt": "a", "seed": 0}\n')
    results = generate(capsys, "--batch", str(batch), "--max-new-tokens", "8", *DRAWN, "--seed", "6")
    assert [result["seed"] for result in results] == [6, 7, 7, 0]
    assert results[1] == results[2]
    assert results[0]["tokens"] != results[1]["tokens"] != results[3]["tokens"]
    first = generate(capsys, "--batch", str(batch), "--max-new-tokens", "8", *DRAWN)[0]
    assert first == results[3]
    greedy = generate(capsys, "--batch", str(batch), "--max-new-tokens", "8")
    assert "seed" not in greedy[2]


@pytest.mark.parametrize(("value", "sentence"), [
    ('"1"', "seed must be an integer, not '1'"), ("1.0", "seed must be an integer, not 1.0"),
    ("-1", "seed must be 0 to"),
])
def test_a_bad_seed_of_a_line(value: str, sentence: str, tmp_path: Path, capsys: Capture) -> None:
    batch = tmp_path / "batch.jsonl"
    batch.write_text(f'{{"prompt": "a", "seed": {value}}}')
    assert main(["generate", str(DEMO), "--batch", str(batch), *DRAWN]) == 2
    assert capsys.readouterr().err.startswith(f"error: {batch}, line 1: {sentence}")


def test_generation_config_on_the_command_line(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 0.6, "top_p": 0.9}))
    options = ["generate", str(folder), "--prompt", "a", "--max-new-tokens", "3", "--json"]
    assert main([*options, "--generation-config"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [result[name] for name in ("temperature", "top_k", "top_p", "seed")] == [0.6, 50, 0.9, 0]
    assert main(options) == 0
    assert "seed" not in json.loads(capsys.readouterr().out)
    assert main([*options, "--generation-config", "--logits", str(folder / "generation_config.json")]) == 2
    assert "which is read" in capsys.readouterr().err


def test_without_temperature_nothing_is_drawn(checkpoint: Path) -> None:
    with pytest.raises(JobError, match="also give a --temperature above 0"):
        choose(checkpoint, False, top_p=0.5)
