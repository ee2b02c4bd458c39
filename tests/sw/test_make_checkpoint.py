"""`make-checkpoint`: stand-ins that run, same bytes for the same options, and folders that are left alone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jinja2
import pytest
from tokenizers import Tokenizer

from sim.layouts import LAYOUTS, OTHERS, layout
from sim.stand_in import StandIn
from sw.__main__ import main
from sw.errors import CheckpointError
from sw.model_config import ModelConfig, read_json

SMALL = ("--layers", "1", "--hidden", "64", "--intermediate", "96", "--heads", "2", "--kv-heads", "1", "--vocab", "300",
         "--positions", "64")
TEXTS = ("ROMEO: What's in a name?", "def f(x):\n\treturn  x\r\n", "naïve 日本語 🙂 \x00", " ", "<|eot_id", "ế" * 50)

Made = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Made:
    """Function that makes a checkpoint of a name, with options, and returns its folder."""

    def make(name: str, *options: str) -> Path:
        assert main(["make-checkpoint", "-o", str(tmp_path / name), *options]) == 0, capsys.readouterr().err
        return tmp_path / name

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("like", sorted(LAYOUTS))
def test_a_small_one_runs_without_a_warning(like: str, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(made("m", "--like", like, *SMALL))
    assert main(["inspect", folder, "--check"]) == 0
    assert "0 refused, 0 warnings" in capsys.readouterr().out
    assert main(["generate", folder, "--prompt", "To be", "--max-new-tokens", "3", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (len(result["tokens"]), captured.err) == (3, "")
    assert result["prompt_ids"][0] == read_json(Path(folder, "config.json"))["bos_token_id"]


def test_one_layer_of_full_width_generates(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made("m", "--like", "2b-4t", "--layers", "1", "--vocab", "512")
    config = ModelConfig.parse(read_json(folder / "config.json"))
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.vocab_size) == (
        2560, 6912, 1, 512)
    assert main(["generate", str(folder), "--preset", "medium", "--prompt-ids", "1", "--max-new-tokens", "1"]) == 0
    assert capsys.readouterr().err == "stopped: 1 tokens reached\n"


def test_same_options_same_bytes(made: Made) -> None:
    first, again, other = made("a", *SMALL), made("b", *SMALL), made("c", *SMALL, "--seed", "2")
    assert contents(first) == contents(again)
    assert {name for name, content in contents(other).items() if content != contents(first)[name]} == {
        "model.safetensors"}


@pytest.mark.parametrize("vocab", ["266", "512", "20000"])
def test_the_tokenizer_has_the_whole_vocabulary_and_keeps_texts(vocab: str, made: Made) -> None:
    folder = made("m", *SMALL, "--vocab", vocab)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert sorted(tokenizer.get_vocab(with_added_tokens=True).values()) == list(range(int(vocab)))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    for name in LAYOUTS["2b-4t"].special:
        assert tokenizer.encode(name, add_special_tokens=False).ids == [tokenizer.token_to_id(name)]


def test_a_large_vocabulary_shortens_texts(made: Made) -> None:
    text = "the other side of the sea"
    lengths = [len(Tokenizer.from_file(str(made(vocab, *SMALL, "--vocab", vocab) / "tokenizer.json")).encode(text).ids)
               for vocab in ("266", "20000")]
    assert lengths[0] == 1 + len(text) > 2 * lengths[1]


def test_special_tokens_of_the_published_vocabulary(made: Made) -> None:
    folder = made("m", *SMALL, "--vocab", "128256")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [tokenizer.token_to_id(name) for name in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")] == [
        128000, 128001, 128009]
    assert tokenizer.id_to_token(128010) == "<|reserved_special_token_5|>"
    assert tokenizer.id_to_token(128255) == "<|reserved_special_token_250|>"
    assert read_json(folder / "generation_config.json")["eos_token_id"] == [128001, 128009]


def test_the_chat_template(made: Made) -> None:
    template = jinja2.Template((made("m", *SMALL) / "chat_template.jinja").read_text())
    messages = [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "hello"}]
    assert template.render(messages=messages, bos_token="B", add_generation_prompt=True) == (
        "BUser: hi<|eot_id|>Assistant: hello<|eot_id|>Assistant: ")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make-checkpoint", "-o", str(tmp_path / "m"), *SMALL, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["bytes"] == sum(map(len, contents(tmp_path / "m").values()))
    assert (summary["like"], summary["head_dim"], summary["vocab"]) == ("microsoft/bitnet-b1.58-2B-4T", 32, 300)


@pytest.mark.parametrize("options, told", [
    (("--like", "falcon-e-1b"), "falcon-e-1b is a Llama with BitNet layers"),
    (("--like", "nothing"), "there is no layout 'nothing': use 2b-4t or 2b-4t-bf16"),
    (("--vocab", "265"), "the vocabulary must be 266 to"),
    (("--layers", "0"), "num_hidden_layers must be 1 to 2048, not 0"),
    (("--heads", "3"), "heads are not a multiple of"),
    (("--hidden", "100"), "head_dim must be even, not 5"),
    (("--head-dim", "64"), "20 heads of 64 do not make up a hidden size of 2560"),
    (("--intermediate", "97"), "97 output rows, which do not pack four to a byte"),
])
def test_sizes_that_cannot_be(
    options: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make-checkpoint", "-o", str(tmp_path / "m"), *options]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_layouts_that_do_not_run_are_refused_by_what_they_are() -> None:
    assert not OTHERS.keys() & LAYOUTS.keys()
    for name in OTHERS:
        with pytest.raises(CheckpointError, match="does not run"):
            layout(name)


def test_a_checkpoint_is_replaced_only_if_asked(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made("m", *SMALL)
    before = contents(folder)
    assert main(["make-checkpoint", "-o", str(folder), *SMALL, "--seed", "2"]) == 2
    assert "the folder exists; name another one, or replace it with --force" in capsys.readouterr().err
    assert contents(folder) == before
    made("m", *SMALL, "--seed", "2", "--force")
    assert contents(folder) != before
    (folder / "notes.txt").write_text("mine")
    assert main(["make-checkpoint", "-o", str(folder), *SMALL, "--force"]) == 2
    assert "it holds 'notes.txt'" in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [folder]


def test_too_little_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("sim.stand_in.shutil.disk_usage", lambda path: Usage(1_000_000))
    assert main(["make-checkpoint", "-o", str(tmp_path / "m"), *SMALL]) == 2
    assert "bytes, but its disk has only 1,000,000 left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_announced_space_is_enough() -> None:
    """The estimate is above what is written, and not far above the published size of the weights."""
    stand_in = StandIn.of(LAYOUTS["2b-4t"], {}, seed=1)
    layer = 2560 * (2560 * 2 + 640 * 2 + 6912 * 3) // 4
    assert 0 < stand_in.bytes - (30 * layer + 128256 * 2560 * 2) < 10_000_000


def test_memory_does_not_grow_with_a_matrix(tmp_path: Path) -> None:
    """Its largest matrices have 100 million weights, 25 MB packed."""
    stand_in = StandIn.of(LAYOUTS["2b-4t"], {"layers": 1, "hidden": 2048, "heads": 16, "kv_heads": 4, "vocab": 266,
                                             "intermediate": 48_000}, seed=1)
    tracemalloc.start()
    stand_in.write(tmp_path / "m", force=False, progress=lambda done, total: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6 < 3 * 25e6 < (tmp_path / "m" / "model.safetensors").stat().st_size


def test_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    stand_in = StandIn.of(LAYOUTS["2b-4t"], {"layers": 1, "vocab": 266}, seed=1)
    stand_in.write(tmp_path / "m", force=False, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (stand_in.model.tensor_bytes, stand_in.model.tensor_bytes)
    assert len(told) > 20
