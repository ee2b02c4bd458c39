"""Reading of checkpoints in every layout, and the refusal of damaged and hostile ones."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.random_checkpoint import write_random_checkpoint
from sim.tensor_writer import to_bf16, write_safetensors
from sw.checkpoint import Checkpoint, CheckpointError
from sw.ternary import TernaryMatrix

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
UP = "model.layers.1.mlp.up_proj.weight"


def write(path: Path, **options: Any) -> Path:
    sizes = {"hidden": 32, "intermediate": 48, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 40, "positions": 64}
    return write_random_checkpoint(path, **(sizes | {"seed": 1} | options))


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def edit_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the parsed header of model.safetensors and leave its data alone."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def trits_of(matrix: TernaryMatrix) -> np.ndarray:
    return matrix.rows(0, matrix.shape[0])


def refused(folder: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)


# ---- layouts ----
def test_demo_model() -> None:
    checkpoint = Checkpoint.open(DEMO)
    packed = [info for info in checkpoint.tensors.values() if info.dtype == "U8"]
    assert len(packed) == 28
    for info in packed:
        matrix = checkpoint.ternary(info.name)
        trits = trits_of(matrix)
        assert matrix.shape == trits.shape == (4 * info.shape[0], info.shape[1])
        assert set(np.unique(trits)) == {-1, 0, 1}
        assert matrix.scale > 0
    assert checkpoint.float("model.norm.weight").shape == (128,)


LAYOUTS = {
    "plain": {},
    "shards": {"shards": 3},
    "separate head": {"separate_head": True},
    "bitlinear": {"bitlinear": True},
    "master weights": {"master_weights": True},
    "master weights in F16": {"master_weights": True, "dtype": "F16"},
    "master weights in F32, shards": {"master_weights": True, "dtype": "F32", "shards": 2},
    "head_dim": {"head_dim": 8},
    "new style": {"new_style": True, "rope_theta": 500000.0},
    "outliers": {"outlier_channels": 3},
}


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(tmp_path: Path, options: dict[str, Any]) -> None:
    checkpoint = Checkpoint.open(write(tmp_path, **options))
    assert checkpoint.config.head_dim == 8
    assert checkpoint.config.rope_theta == options.get("rope_theta", 10000.0)
    assert checkpoint.config.dtype == {"F16": "float16", "F32": "float32"}.get(options.get("dtype", ""), "bfloat16")
    assert checkpoint.config.tie_word_embeddings == ("lm_head.weight" not in checkpoint.tensors)
    matrix = checkpoint.ternary(UP)
    trits = trits_of(matrix)
    assert matrix.shape == trits.shape == (48, 32)
    assert trits.dtype == np.int8
    assert set(np.unique(trits)) == {-1, 0, 1}
    assert 0.1 < matrix.scale < 1
    assert np.isfinite(checkpoint.float("model.embed_tokens.weight")).all()
    largest = checkpoint.float("model.norm.weight").max()
    assert (largest > 8) == ("outlier_channels" in options)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second, other = (write(tmp_path / n, seed=s) for n, s in (("a", 1), ("b", 1), ("c", 2)))
    content = (first / "model.safetensors").read_bytes()
    assert content == (second / "model.safetensors").read_bytes()
    assert content != (other / "model.safetensors").read_bytes()


def test_scale_multiplies_or_divides(tmp_path: Path) -> None:
    folder = write(tmp_path)
    multiplied = Checkpoint.open(folder).ternary(UP).scale
    edit_config(folder, lambda c: c["quantization_config"].update(linear_class="bitlinear"))
    assert Checkpoint.open(folder).ternary(UP).scale == 1 / multiplied


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_master_weights_are_quantised(tmp_path: Path, dtype: str) -> None:
    checkpoint = Checkpoint.open(write(tmp_path, master_weights=True, dtype=dtype))
    assert checkpoint.info(UP).dtype == dtype
    matrix, weights = checkpoint.ternary(UP), checkpoint.float(UP).astype(np.float64)
    scale = np.abs(weights).mean()
    assert matrix.scale == pytest.approx(scale, rel=1e-15)
    assert np.array_equal(trits_of(matrix), np.clip(np.rint(weights / scale), -1, 1))


def test_without_quantization_config(tmp_path: Path) -> None:
    """The same as quantization_mode online, but somebody should know."""
    declared = Checkpoint.open(write(tmp_path / "a", master_weights=True))
    folder = write(tmp_path / "b", master_weights=True, quantization_config=False)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    with pytest.warns(UserWarning, match="no quantization_config"):
        silent = Checkpoint.open(folder)
    assert silent.config == declared.config
    assert np.array_equal(trits_of(silent.ternary(UP)), trits_of(declared.ternary(UP)))


@pytest.mark.parametrize("mode", ["offline", None])
def test_dtype_and_configuration_must_agree(tmp_path: Path, mode: str | None) -> None:
    """Master weights that are said to be packed, and packed ones that are said to be master weights."""
    folder = write(tmp_path, master_weights=mode == "offline")
    if mode:
        edit_config(folder, lambda c: c["quantization_config"].update(quantization_mode=mode))
        refused(folder, "has dtype BF16, but U8 is needed for quantization_mode offline: .* master weights")
    else:
        edit_config(folder, lambda c: c.pop("quantization_config"))
        with pytest.warns(UserWarning, match="no quantization_config"):
            refused(folder, "has dtype U8, but BF16 or F16 or F32 is needed for quantization_mode online: .* packed")


def test_master_weights_must_be_finite(tmp_path: Path) -> None:
    folder = write(tmp_path, master_weights=True)
    weights = np.array(Checkpoint.open(folder).raw(UP))
    weights[-1, -1] = 0x7F80
    rewrite(folder, UP, weights)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        Checkpoint.open(folder).ternary(UP)


def rewrite(folder: Path, name: str, values: np.ndarray) -> None:
    """Replace the value of one tensor."""
    checkpoint = Checkpoint.open(folder)
    tensors = {n: np.array(checkpoint.raw(n)) for n in checkpoint.tensors}
    write_safetensors(folder / "model.safetensors", tensors | {name: values})


def test_float_types_are_exact(tmp_path: Path) -> None:
    values = np.array([1.5, -0.25, 0, 3] * 8, np.float32)
    for array in (values, values.astype(np.float16), to_bf16(values)):
        folder = write(tmp_path)
        rewrite(folder, "model.norm.weight", array)
        read = Checkpoint.open(folder).float("model.norm.weight")
        assert read.dtype == np.float32
        assert np.array_equal(read, values)


def test_bf16_rounds_half_to_even() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20], np.float32)
    assert to_bf16(values).tolist() == [0x3F80, 0x3F80, 0x3F82, 0x3F81]


def test_padding_codes_count_as_zero(tmp_path: Path) -> None:
    folder = write(tmp_path)
    packed = np.array(Checkpoint.open(folder).raw(UP))
    packed[0, 0] = 0xFF
    rewrite(folder, UP, packed)
    matrix = Checkpoint.open(folder).ternary(UP)
    assert trits_of(matrix)[[0, 12, 24, 36], 0].tolist() == [0, 0, 0, 0]
    assert matrix.counts
    assert matrix.counts.padding == 4


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80])
def test_not_finite(tmp_path: Path, bits: int) -> None:
    folder = write(tmp_path)
    rewrite(folder, f"{UP}_scale", np.array([bits], np.uint16))
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        Checkpoint.open(folder).ternary(UP)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_scale_must_be_positive(tmp_path: Path, value: float) -> None:
    folder = write(tmp_path)
    rewrite(folder, f"{UP}_scale", to_bf16([value]))
    with pytest.raises(CheckpointError, match="above 0"):
        Checkpoint.open(folder).ternary(UP)


def test_rows_of_a_table() -> None:
    checkpoint = Checkpoint.open(DEMO)
    table = checkpoint.float("model.embed_tokens.weight")
    assert np.array_equal(checkpoint.float("model.embed_tokens.weight", slice(500, 600)), table[500:])


def test_wrong_questions() -> None:
    checkpoint = Checkpoint.open(DEMO)
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.raw("model.nothing")
    with pytest.raises(CheckpointError, match="not a float type"):
        checkpoint.float(UP)
    with pytest.raises(CheckpointError, match="not the weight of a BitLinear"):
        checkpoint.ternary("model.norm.weight")


# ---- hostile config.json ----
CONFIGS = {
    "architecture": ({"architectures": ["LlamaForCausalLM"]}, "architecture"),
    "activation": ({"hidden_act": "silu"}, "hidden_act"),
    "bias": ({"attention_bias": True}, "attention_bias"),
    "rms norm": ({"quantization_config": {"quant_method": "bitnet", "use_rms_norm": True}}, "use_rms_norm"),
    "empty quantisation": ({"quantization_config": {}}, "quant_method"),
    "quantisation of another type": ({"quantization_config": [1]}, "quantization_config must be an object"),
    "linear class": ({"quantization_config": {"quant_method": "bitnet", "linear_class": "x"}}, "linear_class"),
    "scaled rope": ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope scaling"),
    "scaled rope, new": ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope scaling"),
    "no theta": ({"rope_theta": None}, "rope_theta"),
    "fraction": ({"hidden_size": 32.5}, "hidden_size must be an integer"),
    "text": ({"hidden_size": "32"}, "hidden_size must be an integer"),
    "truth": ({"num_hidden_layers": True}, "num_hidden_layers must be an integer"),
    "zero": ({"vocab_size": 0}, "vocab_size must be 1 to"),
    "negative": ({"num_attention_heads": -4}, "num_attention_heads must be 1 to"),
    "huge": ({"hidden_size": 10**400}, "hidden_size must be 1 to"),
    "many layers": ({"num_hidden_layers": 2000}, "but the checkpoint has only [0-9]+ tensors"),
    "KV heads": ({"num_key_value_heads": 3}, "not a multiple"),
    "head size": ({"head_dim": 16}, "do not make up"),
    "eps": ({"rms_norm_eps": 0}, "rms_norm_eps"),
    "other hidden": ({"hidden_size": 64}, "has shape .* implies"),
    "other vocabulary": ({"vocab_size": 41}, "has shape .* implies"),
    "more layers": ({"num_hidden_layers": 3}, "missing"),
    "fewer layers": ({"num_hidden_layers": 1}, "not part of the model"),
    "own head": ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
    "online": (
        {"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                 "quantization_mode": "online"}},
        "has dtype U8",
    ),
}


@pytest.mark.parametrize(("change", "match"), CONFIGS.values(), ids=CONFIGS.keys())
def test_refused_configuration(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    folder = write(tmp_path)
    edit_config(folder, lambda c: c.update(change))
    refused(folder, match)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, "\xff"])
def test_refused_json(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path)
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, "JSON")
