"""The description of a checkpoint and its tables."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.inspect import category, describe, render, size_text

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"


def text_of(description: dict[str, Any]) -> str:
    file = io.StringIO()
    Console(width=140, file=file).print(render(description))
    return file.getvalue()


def test_demo_description() -> None:
    description = describe(Checkpoint.open(DEMO))
    assert json.loads(json.dumps(description)) == description
    assert len(description["tensors"]) == 74
    assert len(description["layer_0"]) == 18
    assert description["configuration"]["hidden_size"] == 128
    assert sum(row["tensors"] for row in description["categories"]) == 74
    assert sum(row["share"] for row in description["categories"]) == pytest.approx(1)
    assert {row["dtype"]: row["tensors"] for row in description["dtypes"]} == {"bfloat16": 46, "uint8": 28}
    down = description["bitlinear"]["layers"][6]
    assert (down["inputs"], down["outputs"], down["bytes_2bit"], down["bytes_1_6bit"]) == (344, 128, 11008, 8807)
    everything = description["bitlinear"]["all_layers"]["bytes_2bit"]
    assert everything == sum(row["bytes"] for row in description["tensors"] if row["dtype"] == "U8")
    for sample in description["samples"]:
        assert sample["plus"] + sample["zero"] + sample["minus"] == pytest.approx(1)
        assert sample["padding_codes"] == 0


def test_tables() -> None:
    text = text_of(describe(Checkpoint.open(DEMO)))
    titles = ("Configuration", "1. Tensors (74)", "2. Totals", "3. Layer 0", "4. BitLinear", "5. Data", "6. Ternary")
    for title in titles:
        assert title in text
    assert "model.layers.3.self_attn.v_proj.weight_scale" in text


def test_other_layouts(tmp_path: Path) -> None:
    sizes = {"hidden": 16, "intermediate": 24, "layers": 1, "heads": 2, "kv_heads": 1, "vocab": 12, "positions": 8}
    folder = write_random_checkpoint(
        tmp_path, **sizes, seed=1, shards=2, separate_head=True, master_weights=True  # type: ignore[arg-type]
    )
    description = describe(Checkpoint.open(folder))
    assert len(description["files"]) == 2
    assert [sample["dtype"] for sample in description["samples"]] == ["BF16"] * 3
    assert "LM Head" in {row["category"] for row in description["categories"]}
    assert "LM Head" in text_of(description)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("model.embed_tokens.weight", "Embedding"),
        ("lm_head.weight", "LM Head"),
        ("model.norm.weight", "Final Norm"),
        ("model.layers.0.input_layernorm.weight", "Layer Norm"),
        ("model.layers.0.self_attn.q_proj.weight_scale", "Attention Q"),
        ("model.layers.0.self_attn.attn_sub_norm.weight", "Attention Norm"),
        ("model.layers.0.mlp.down_proj.weight", "MLP Down"),
        ("model.layers.0.mlp.ffn_sub_norm.weight", "MLP Norm"),
    ],
)
def test_category(name: str, title: str) -> None:
    assert category(name) == title


def test_size_text() -> None:
    assert [size_text(n) for n in (2, 5120, 4423680, 656670720, 1181116006)] == [
        "2 B", "5.00 KB", "4.22 MB", "626.25 MB", "1.10 GB"
    ]
