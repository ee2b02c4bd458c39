"""Checkpoints that are well-formed and cannot be meant: `pack`, `generate` and `inspect --check` name them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.config import PRESETS
from sim.random_checkpoint import write_random_checkpoint
from sim.tensor_writer import to_bf16, write_safetensors
from sw.__main__ import main
from sw.check import check
from sw.checkpoint import Checkpoint
from sw.doubts import Doubts
from sw.pack import pack
from sw.ternary import TritCounts, count_codes, count_trits
from sw.ternary import pack as pack_trits

pytestmark = pytest.mark.filterwarnings("default")  # they are what is tested

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"
UP = "model.layers.0.mlp.up_proj.weight"
NORM, EMBEDDING, LM_HEAD = "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"


def write(folder: Path, changes: dict[str, Callable[[NDArray[Any]], NDArray[Any]]], **options: Any) -> Checkpoint:
    """A random checkpoint with some of its tensors changed."""
    sizes = {"hidden": 64, "intermediate": 96, "layers": 2, "heads": 2, "kv_heads": 1, "vocab": 64, "positions": 32}
    write_random_checkpoint(folder, **(sizes | {"seed": 1} | options))
    opened = Checkpoint.open(folder)
    tensors = {name: np.array(opened.raw(name)) for name in opened.tensors}
    for name, change in changes.items():
        tensors[name] = change(tensors[name])
    write_safetensors(folder / "model.safetensors", tensors)
    return Checkpoint.open(folder)


def trits(zeros: float, plus: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Packed weights with those shares."""
    def change(packed: NDArray[Any]) -> NDArray[Any]:
        draws = np.random.default_rng(3).random((4 * packed.shape[0], packed.shape[1]))
        return pack_trits(np.where(draws < zeros, 0, np.where(draws < zeros + plus, 1, -1)).astype(np.int8))

    return change


def filled(value: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda values: np.full_like(values, value)


def filled_half(value: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Rows of that value and of its negative."""
    return lambda values: np.where(np.arange(values.size).reshape(values.shape) % 2, value, value | 0x8000).astype("u2")


def half_zeros(values: NDArray[Any]) -> NDArray[Any]:
    values[values.shape[0] * 2 // 5 :] = 0
    return values


BIG = {"hidden": 1024, "intermediate": 2048, "heads": 8, "layers": 1}
"""A matrix of more than one block of rows."""

FOUND: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "weights of -1": ({UP: filled(0x00)}, {}, f"tensor {UP} holds one value only, -1"),
    "weights of 0": ({UP: filled(0x55)}, {}, f"tensor {UP} holds one value only, 0"),
    "weights of +1": ({UP: filled(0xAA)}, {}, f"tensor {UP} holds one value only, +1"),
    "codes 3": ({UP: filled(0xFF)}, {}, f"tensor {UP} (6144 of 6144) holds codes 0b11"),
    "few zeros": ({UP: trits(0.02, 0.49)}, {}, "has a share of zeros that no trained ternary model has"),
    "many zeros": ({UP: trits(0.95, 0.025)}, {}, "has a share of zeros that no trained ternary model has"),
    "one sign": ({UP: trits(0.3, 0.6)}, {}, "has far more weights of one sign"),
    "master weights of 0": ({UP: filled(0)}, {"master_weights": True}, f"tensor {UP} holds one value only, 0"),
    "master weights of one value": ({UP: filled(0x3F80)}, {"master_weights": True}, "holds one value only, +1"),
    "norm of zeros": ({NORM: filled(0)}, {}, f"tensor {NORM} holds only zeros"),
    "huge norm": ({NORM: filled(to_bf16([1e9])[0])}, {},
                  f"tensor {NORM} (9.98e+08) has a largest magnitude outside of 1e-06 to 10000"),
    "embedding of zeros": ({EMBEDDING: filled(0)}, {}, f"tensor {EMBEDDING} holds one value only, 0"),
    "embedding of ones": ({EMBEDDING: filled(0x3F80)}, {}, f"tensor {EMBEDDING} holds one value only, 1"),
    "embedding cut short": ({EMBEDDING: half_zeros}, {}, "(39 of 64) has many rows of zeros"),
    "huge embedding": ({EMBEDDING: lambda v: to_bf16(np.linspace(-1e9, 1e9, v.size).reshape(v.shape))}, {},
                       "has a largest magnitude outside of 1e-06 to 10000"),
    "tiny embedding": ({EMBEDDING: filled_half(to_bf16([1e-35])[0])}, {}, "has a largest magnitude outside of"),
    "a third of an embedding": ({EMBEDDING: lambda v: np.concatenate([v[:43], np.zeros_like(v[43:])])}, {},
                                "(21 of 64) has many rows of zeros"),
    "norm cut short": ({NORM: half_zeros}, {}, "(39 of 64) holds many zeros"),
    "tiny norm": ({NORM: filled(to_bf16([1e-30])[0])}, {}, "has a largest magnitude outside of"),
    "ternary already": ({UP: lambda v: to_bf16(0.5 * np.random.default_rng(1).integers(-1, 2, v.shape))},
                        {"master_weights": True}, "holds master weights of the three values -s, 0 and s"),
    "head of zeros": ({LM_HEAD: filled(0)}, {"separate_head": True}, f"tensor {LM_HEAD} holds one value only, 0"),
    "huge scale": ({f"{UP}_scale": filled(to_bf16([1e30])[0])}, {}, f"tensor {UP} (1e+30) has a weight scale outside"),
    "tiny scale": ({f"{UP}_scale": filled(to_bf16([1e-30])[0])}, {}, "has a weight scale outside of 1e-05 to 1000"),
    "scale that divides": ({f"{UP}_scale": filled(to_bf16([1e30])[0])}, {"bitlinear": True},
                           "has a weight scale outside"),
    "scale unlike the others": ({f"{UP}_scale": filled(to_bf16([500])[0])}, {}, "more than 1000 times off the median"),
}


@pytest.mark.parametrize(("changes", "options", "sentence"), FOUND.values(), ids=FOUND)
def test_it_is_named(changes: dict[str, Any], options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """Packed all the same, with the same words as `inspect --check`."""
    checkpoint = write(tmp_path / "m", changes, **options)
    found = Doubts()
    pack(checkpoint, tmp_path / "image", PRESETS["tiny"], doubts=found)
    told = list(found.sentences())
    assert len(told) == 1
    assert sentence in told[0]
    checked = check(checkpoint)
    assert not checked.refused
    assert checked.tensors == len(checkpoint.tensors)
    assert list(checked.doubts.sentences()) == told


def test_a_matrix_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, {UP: half_zeros}, **BIG | {"intermediate": 8192})
    told = list(check(checkpoint).doubts.sentences())
    assert len([line for line in told if UP in line and "in part of it" in line]) == 1


NOTHING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random": ({}, {}),
    "master weights": ({}, {"master_weights": True}),
    "bitlinear": ({}, {"bitlinear": True}),
    "head": ({}, {"separate_head": True}),
    "outliers": ({}, {"outlier_channels": 3}),
    "a row of zeros": ({EMBEDDING: lambda v: np.concatenate([np.zeros_like(v[:1]), v[1:]])}, {}),
    "a norm of ones": ({NORM: filled(0x3F80)}, {}),
}


@pytest.mark.parametrize(("changes", "options"), NOTHING.values(), ids=NOTHING)
def test_nothing_is_made_up(changes: dict[str, Any], options: dict[str, Any], tmp_path: Path) -> None:
    checkpoint, found = write(tmp_path / "m", changes, **options), Doubts()
    pack(checkpoint, tmp_path / "image", PRESETS["tiny"], doubts=found)
    assert not found.found
    assert not check(checkpoint).doubts.found


@pytest.mark.parametrize(("change", "told"), [(lambda v: v, 0), (lambda v: v[::-1], 1)], ids=["the same", "another"])
def test_a_head_that_is_not_used(change: Callable[[NDArray[Any]], NDArray[Any]], told: int, tmp_path: Path) -> None:
    checkpoint = write(tmp_path, {}, separate_head=True)
    tensors = {name: np.array(checkpoint.raw(name)) for name in checkpoint.tensors}
    write_safetensors(tmp_path / "model.safetensors", tensors | {LM_HEAD: change(tensors[EMBEDDING])})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    assert len(check(Checkpoint.open(tmp_path)).doubts.found) == told
    found = Doubts()
    pack(Checkpoint.open(tmp_path), tmp_path / "image", PRESETS["tiny"], doubts=found)
    assert len(found.found) == told


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 1001])
def test_counts(size: int) -> None:
    """Of packed bytes as of trits, whatever is left over after words of eight bytes."""
    packed = np.random.default_rng(size).integers(0, 256, (size, 3)).astype(np.uint8)
    codes = np.concatenate([packed >> shift & 3 for shift in (0, 2, 4, 6)])
    expected = [int(np.count_nonzero(codes == code)) for code in range(4)]
    found = count_codes(packed)
    assert (found.minus, found.zero, found.plus, found.padding) == (
        expected[0], expected[1] + expected[3], expected[2], expected[3])
    trits_ = np.array([-1, 0, 1, 0], np.int8)[codes]
    assert count_trits(trits_) == TritCounts(found.minus, found.zero, found.plus, 0, found.flat)


# ---- the commands
def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for all tensors of a kind, on stderr of `pack` and `generate`, on stdout of `inspect --check`."""
    names = [f"model.layers.{n}.mlp.{name}_proj.weight" for n in (0, 1) for name in ("gate", "up", "down")]
    write(tmp_path / "m", {name: filled(0) for name in names})
    line = (f"6 tensors: each holds one value only, -1: {names[0]}, {names[1]}, {names[2]}, ...\n")
    assert run(capsys, "pack", str(tmp_path / "m"), "-o", str(tmp_path / "i"))[::2] == (0, f"warning: {line}")
    code, _, error = run(capsys, "generate", str(tmp_path / "m"), "--prompt-ids", "5", "--max-new-tokens", "1")
    assert (code, error.count(f"warning: {line}")) == (0, 1)
    code, out, error = run(capsys, "inspect", str(tmp_path / "m"), "--check")
    assert (code, error) == (0, "")
    tensors = len(Checkpoint.open(tmp_path / "m").tensors)
    assert out == f"warning  {line}{tensors} tensors read: 0 refused, 1 warnings\n"
    code, out, _ = run(capsys, "inspect", str(tmp_path / "m"), "--check", "--json")
    found = json.loads(out)
    assert [doubt["tensor"] for doubt in found["warnings"]] == names
    assert found["refused"] == found["files"] == []


def test_all_that_is_refused_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nan, zero = filled(0x7FC0), filled(0)
    write(tmp_path, {NORM: nan, f"{UP}_scale": zero, "model.layers.1.mlp.down_proj.weight_scale": nan})
    code, out, error = run(capsys, "inspect", str(tmp_path), "--check")
    assert code == 2
    assert [line.split()[0] for line in out.splitlines()[:-1]] == ["REFUSED"] * 3
    for part in (NORM, UP, "model.layers.1.mlp.down_proj.weight_scale"):
        assert part in out
    assert error == f"error: {tmp_path} cannot be used: 3 refused; see the lines above\n"
    assert run(capsys, "inspect", str(tmp_path), "--check", "--json")[0] == 2


def test_files_that_do_not_go_together_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {})
    (tmp_path / "tokenizer.json").write_bytes((DEMO / "tokenizer.json").read_bytes())
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7]}')
    code, out, _ = run(capsys, "inspect", str(tmp_path), "--check")
    assert code == 0
    assert "warning  tokenizer.json has ids up to 511, but the model's vocabulary has 64" in out
    assert "warning  the files name different end ids: config.json 0; generation_config.json 7" in out


def test_one_file_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {UP: filled(0)})
    (tmp_path / "tokenizer.json").write_text("<html>")
    code, out, _ = run(capsys, "inspect", str(tmp_path), "--check", "--json")
    found = json.loads(out)
    assert code == 2
    assert "an HTML or XML page" in found["refused"][0]
    assert [doubt["tensor"] for doubt in found["warnings"]] == [UP]
    (tmp_path / "config.json").write_text("{}")
    code, out, _ = run(capsys, "inspect", str(tmp_path), "--check", "--json")
    assert code == 2
    assert json.loads(out)["refused"] == ["config.json names neither architectures nor model_type"]


def test_what_packing_refuses_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (NORM, EMBEDDING):
        write(tmp_path, {name: filled(3.4e38)}, dtype="F32")
        code, out, _ = run(capsys, "inspect", str(tmp_path), "--check")
        assert code == 2
        assert f"REFUSED  tensor {name} holds values that are too large for bf16" in out


@pytest.mark.parametrize("setting", ["error", "ignore"])
def test_the_environment_does_not_decide_what_is_told(setting: str, tmp_path: Path) -> None:
    write(tmp_path / "m", {UP: filled(0)})
    done = subprocess.run(
        [sys.executable, "-m", "sw", "pack", str(tmp_path / "m"), "-o", str(tmp_path / "i")], cwd=ROOT, check=False,
        env=os.environ | {"PYTHONWARNINGS": setting}, capture_output=True, text=True, timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, f"warning: tensor {UP} holds one value only, -1\n")


def test_a_sentence_comes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {})
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [9999, 9999, 0]}')
    assert run(capsys, "inspect", str(tmp_path), "--check")[1].count("9999 is outside") == 1


def test_a_healthy_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "inspect", str(DEMO), "--check") == (0, "74 tensors read: 0 refused, 0 warnings\n", "")


def test_an_image_is_checked_anyway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(Checkpoint.open(DEMO), tmp_path / "i", PRESETS["tiny"])
    code, _, error = run(capsys, "inspect", str(tmp_path / "i"), "--check")
    assert code == 2
    assert "--check applies to checkpoints" in error
