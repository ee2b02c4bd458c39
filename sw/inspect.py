"""What a checkpoint holds: `describe` collects it as JSON-able data, `render` shows it as tables."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sw.checkpoint import Checkpoint, TensorInfo
from sw.ternary import TritCounts, count_trits
from sw.text import CheckpointText

__all__ = ["category", "describe", "render", "size_text"]

SAMPLED = ("self_attn.q_proj", "mlp.gate_proj", "mlp.down_proj")
"""BitLinear layers whose weights are sampled, in the first and in the middle layer."""

DTYPE_NAMES = {"U8": "uint8", "BF16": "bfloat16", "F16": "float16", "F32": "float32"}
ITEM_BYTES = {"U8": 1, "BF16": 2, "F16": 2, "F32": 4}
TRITS_PER_BYTE = 5


def category(name: str) -> str:
    """The category under which a tensor is totalled."""
    if name == "model.embed_tokens.weight":
        return "Embedding"
    if name == "lm_head.weight":
        return "LM Head"
    if name == "model.norm.weight":
        return "Final Norm"
    for part, title in (("self_attn", "Attention"), ("mlp", "MLP")):
        if f".{part}." in name:
            module = name.split(".")[4]
            return f"{title} {module.removesuffix('_proj').title()}" if module.endswith("_proj") else f"{title} Norm"
    return "Layer Norm"


def size_text(size: float) -> str:
    """A number of bytes in B, KB, MB or GB of 1024."""
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"


def _row(info: TensorInfo, name: str | None = None) -> dict[str, Any]:
    return {"name": name or info.name, "shape": list(info.shape), "dtype": info.dtype, "bytes": info.nbytes}


def _categories(infos: list[TensorInfo]) -> list[dict[str, Any]]:
    """Totals by category, largest first. A packed byte counts as four parameters."""
    totals: dict[str, dict[str, Any]] = {}
    for info in infos:
        title = category(info.name)
        total = totals.setdefault(title, {"category": title, "tensors": 0, "parameters": 0, "bytes": 0})
        total["tensors"] += 1
        total["parameters"] += math.prod(info.shape) * (4 if info.dtype == "U8" else 1)
        total["bytes"] += info.nbytes
    everything = sum(t["bytes"] for t in totals.values())
    for total in totals.values():
        total["share"] = total["bytes"] / everything
    return sorted(totals.values(), key=lambda t: -t["bytes"])


def _linear(checkpoint: Checkpoint) -> dict[str, Any]:
    """Shapes and packed sizes of the BitLinear layers: 2 bit per weight, and 5 weights per byte (1.6 bit)."""
    layers = [
        {
            "name": name.rpartition(".")[2],
            "inputs": inputs,
            "outputs": outputs,
            "parameters": inputs * outputs,
            "bytes_2bit": -(-inputs * outputs // 4),
            "bytes_1_6bit": -(-inputs * outputs // TRITS_PER_BYTE),
        }
        for name, (outputs, inputs) in checkpoint.config.linear_shapes().items()
    ]
    keys = ("parameters", "bytes_2bit", "bytes_1_6bit")
    layer = {key: sum(row[key] for row in layers) for key in keys}
    return {
        "layers": layers,
        "per_layer": layer,
        "all_layers": {key: value * checkpoint.config.num_hidden_layers for key, value in layer.items()},
    }


def _sample(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """Ternary statistics of one weight tensor."""
    info, matrix = checkpoint.info(name), checkpoint.ternary(name)
    counts = matrix.counts or sum(map(count_trits, matrix.blocks()), TritCounts())
    size = math.prod(matrix.shape)
    return {
        "name": name,
        "stored_shape": list(info.shape),
        "shape": list(matrix.shape),
        "dtype": info.dtype,
        "weight_scale": matrix.scale,
        "plus": counts.plus / size,
        "zero": counts.zero / size,
        "minus": counts.minus / size,
        "padding_codes": counts.padding,
    }


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """The contents of a checkpoint as data that can be written as JSON."""
    config = checkpoint.config
    tokens = CheckpointText.open(checkpoint.path, config.vocab_size).tokens
    infos = sorted(checkpoint.tensors.values(), key=lambda t: t.name)
    files = sorted({info.file for info in infos})
    dtypes = Counter(info.dtype for info in infos)
    sampled = sorted({0, config.num_hidden_layers // 2})
    first = "model.layers.0."
    return {
        "configuration": {"architecture": "BitNetForCausalLM", "hidden_act": "relu2"}
        | dataclasses.asdict(config)
        | {"bos_token_id": tokens.bos, "end_ids": list(tokens.end_ids)},
        "files": [{"name": file.name, "bytes": file.stat().st_size} for file in files],
        "tensors": [_row(info) for info in infos],
        "categories": _categories(infos),
        "layer_0": [_row(info, info.name.removeprefix(first)) for info in infos if info.name.startswith(first)],
        "bitlinear": _linear(checkpoint),
        "dtypes": [
            {"dtype": DTYPE_NAMES[dtype], "bytes_per_element": ITEM_BYTES[dtype], "tensors": count,
             "bytes": sum(info.nbytes for info in infos if info.dtype == dtype)}
            for dtype, count in dtypes.most_common()
        ],
        "samples": [_sample(checkpoint, f"model.layers.{n}.{name}.weight") for n in sampled for name in SAMPLED],
    }


def _table(title: str, columns: str, rows: list[list[Any]], footer: int = 0) -> Table:
    """A table; columns that start with `>` are right-aligned, the last `footer` rows are set apart."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns.split("|"):
        table.add_column(column.lstrip(">"), justify="right" if column[0] == ">" else "left", overflow="fold")
    for index, row in enumerate(rows):
        if footer and index == len(rows) - footer:
            table.add_section()
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    return table


def _tensor_table(title: str, rows: list[dict[str, Any]]) -> Table:
    cells = [[row["name"], row["shape"], row["dtype"], size_text(row["bytes"])] for row in rows]
    return _table(title, "Name|Shape|Type|>Size", cells)


def render(description: dict[str, Any]) -> RenderableType:
    """The tables of a description."""
    categories, linear = description["categories"], description["bitlinear"]
    total = [sum(row[key] for row in categories) for key in ("tensors", "parameters", "bytes")]
    configuration: list[list[Any]] = [[key, str(value)] for key, value in description["configuration"].items()]
    configuration += [[f["name"], size_text(f["bytes"])] for f in description["files"]]
    sums = (("one layer", linear["per_layer"]), ("all layers", linear["all_layers"]))
    linear_rows = [
        [r["name"], r["inputs"], r["outputs"], r["parameters"], size_text(r["bytes_2bit"]),
         size_text(r["bytes_1_6bit"])]
        for r in linear["layers"]
    ] + [
        [name, "", "", r["parameters"], size_text(r["bytes_2bit"]), size_text(r["bytes_1_6bit"])] for name, r in sums
    ]
    return Group(
        _table("Configuration", "Key|Value", configuration),
        _tensor_table(f"1. Tensors ({len(description['tensors'])})", description["tensors"]),
        _table(
            "2. Totals by category", "Category|>Tensors|>Parameters|>Size|>Share",
            [[r["category"], r["tensors"], r["parameters"], size_text(r["bytes"]), f"{r['share']:.2%}"]
             for r in categories] + [["total", total[0], total[1], size_text(total[2]), "100.00%"]],
            footer=1,
        ),
        _tensor_table("3. Layer 0 (all layers have this structure)", description["layer_0"]),
        _table("4. BitLinear layers", "Name|>Inputs K|>Outputs M|>Parameters|>2 bit|>1.6 bit", linear_rows, footer=2),
        _table(
            "5. Data types", "Type|>Bytes per element|>Tensors|>Size",
            [[r["dtype"], r["bytes_per_element"], r["tensors"], size_text(r["bytes"])]
             for r in description["dtypes"]],
        ),
        _table(
            "6. Ternary weights, sampled", "Name|Stored|Unpacked|>Scale|>+1|>0|>-1|>Code 3",
            [[r["name"].removeprefix("model.").removesuffix(".weight"), r["stored_shape"], r["shape"],
              f"{r['weight_scale']:.5g}", f"{r['plus']:.1%}", f"{r['zero']:.1%}", f"{r['minus']:.1%}",
              r["padding_codes"]] for r in description["samples"]],
        ),
    )
