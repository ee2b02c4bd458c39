"""`bitnet-fpga plan`: from config.json alone, in agreement with what `pack` makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth_boards")

from boards import board
from sw.__main__ import main

DEMO = Path("models/shakespeare-nano")

LARGE = {
    "model_type": "bitnet", "architectures": ["BitNetForCausalLM"], "hidden_act": "relu2", "hidden_size": 2560,
    "intermediate_size": 6912, "num_hidden_layers": 30, "num_attention_heads": 20, "num_key_value_heads": 5,
    "vocab_size": 128256, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"},
}
"""A model of the size of bitnet-b1.58-2B-4T."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder without tensors."""
    (tmp_path / "config.json").write_text(json.dumps(LARGE))
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, Any]]:
    assert main(["plan", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["targets"]


def test_bytes_are_those_of_the_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(DEMO), "-o", str(tmp_path / "i"), "--board", "ulx3s", "--sequences", "2", "--json"]) == 0
    image = json.loads(capsys.readouterr().out)
    found, = planned(capsys, DEMO, "--board", "ulx3s", "--sequences", "2")
    assert found["runs"]
    assert {name: found["bytes"][name] for name in image["regions"]} == {
        name: region["bytes"] for name, region in image["regions"].items()}
    assert (found["bytes"]["image"], found["bytes"]["kv"]) == (image["image_bytes"], image["kv_bytes"])
    assert found["load_s"] == image["image_bytes"] / 1e5


def test_the_arithmetic_of_the_projection(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sequences share the weights, and each reads the LM head."""
    (one, _), (two, _) = (planned(capsys, large / "config.json", "--board", "kv260", "--context", "256", "--sequences",
                                  count)[0]["projection"] for count in ("1", "2"))
    rate = 64 * board("kv260").clock_hz
    assert one["tokens_per_s"] == rate / (one["weights_bytes"] + one["head_bytes"])
    assert two["tokens_per_s"] == 2 * rate / (one["weights_bytes"] + 2 * one["head_bytes"])
    assert one["bound"] == "memory ports at the board's clock"
    demo, = planned(capsys, DEMO, "--board", "ulx3s")
    assert demo["projection"][0]["bound"] == "memory bandwidth"


def test_what_does_not_fit(large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {one["board"] or one["preset"]: one for one in planned(capsys, large)}
    assert [one["field"] for one in found["ulx3s"]["misfits"]] == [
        "max_hidden", "max_intermediate", "max_hidden", "max_vocab"]
    assert found["kv260"]["runs"]
    too_many, = planned(capsys, large, "--board", "kv260", "--sequences", "4")
    total, memory = too_many["bytes"]["total"], board("kv260").memory_bytes
    assert too_many["missing_bytes"] == total - memory > 0
    longest = too_many["longest_context"]
    fits, = planned(capsys, large, "--board", "kv260", "--sequences", "4", "--context", str(longest))
    beyond, = planned(capsys, large, "--board", "kv260", "--sequences", "4", "--context", str(longest + 1))
    assert (fits["runs"], beyond["runs"]) == (True, False)
    demo, = planned(capsys, DEMO, "--board", "ulx3s-bram")
    assert [one["field"] for one in demo["misfits"]] == ["max_positions"]
    assert demo["longest_context"] == 128


def test_text(large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([large], [large, "--board", "kv260"], [DEMO], [large, "--preset", "tiny"]):
        assert main(["plan", *map(str, arguments)]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
    assert "max_hidden 2,048 < hidden size 2,560" in text
    assert main(["plan", str(tmp_path / "none")]) == 2
    assert "none does not exist: give the folder of a checkpoint, or its config.json" in capsys.readouterr().err
    assert main(["plan", str(DEMO), "--context", "257"]) == 2
    assert "context must be 1 to 256" in capsys.readouterr().err
