"""Files and models that are something else than a BitNet checkpoint are called by their name."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint, CheckpointError
from sw.file_kind import HEAD_BYTES, other_kind
from tests.sw.test_checkpoint import edit_config, edit_header, refused, write
from tests.sw.test_hostile_files import edit_index

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
LFS = (b"version https://git-lfs.github.com/spec/v1\n"
       b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1178623980\n")
CONTENTS = {
    "Git LFS": (LFS, "a Git LFS pointer.*git lfs pull"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(100), "a GGUF file"),
    "PyTorch": (b"PK\x03\x04" + b"\0" * 22 + b"archive/data.pkl", "a PyTorch file"),
    "pickle": (pickle.dumps({"weight": [1.0] * 9}, protocol=2), "a PyTorch file"),
    "HTML": (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "an HTML or XML page"),
    "HTML after a line": (b"\xef\xbb\xbf\n  <HTML>", "an HTML or XML page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "an HTML or XML page"),
    "JSON error": (b'{"error":"Repository not found"}', "error message of a server .*Repository not found"),
    "text error": (b"Entry not found", "error message of a server"),
    "login": (b"Invalid username or password.", "error message of a server"),
    "empty": (b"", "empty: the download did not fetch"),
    "zeros": (bytes(4096), "filled with zeros"),
    "gzip": (gzip.compress(b"a" * 100), "a gzip archive"),
    "redirect": (b"Temporary Redirect. Redirecting to /api", "error message of a server"),
    "too many": (b"Too Many Requests", "error message of a server"),
    "cloud": (b"error code: 1020", "error message of a server"),
    "S3": (b"<Error><Code>AccessDenied</Code>", "an HTML or XML page"),
    "status": (b'{"statusCode": 404, "message": "x"}', "error message of a server"),
    "image": (b"BN158IMG" + bytes(4088), "a model image that `bitnet-fpga pack` wrote"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize(("content", "match"), CONTENTS.values(), ids=CONTENTS)
def test_contents(content: bytes, match: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At every file that is read, by every command."""
    folder = write(tmp_path / "m", vocab=512)
    shutil.copy(DEMO / "tokenizer.json", folder)
    (folder / name).write_bytes(content)
    assert main(["generate", str(folder), "--prompt", "a"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {folder / name} is ")
    with pytest.raises(AssertionError, match=match):
        raise AssertionError(error)


@pytest.mark.parametrize(("content", "match"), CONTENTS.values(), ids=CONTENTS)
def test_a_shard(content: bytes, match: str, tmp_path: Path) -> None:
    folder = write(tmp_path, shards=2)
    (folder / "model-00002-of-00002.safetensors").write_bytes(content)
    refused(folder, match)


def test_no_checkpoint_is_taken_for_something_else(tmp_path: Path) -> None:
    """The length of a safetensors header may begin with the bytes of a pickle, or of a gzip file."""
    for beginning in (b"\x80\x02", b"\x80\x04", b"\x1f\x8b", b"PK"):
        length = int.from_bytes(beginning, "little")
        assert other_kind(length.to_bytes(8, "little") + b'{"a":') is None
    for file in (DEMO / "model.safetensors", DEMO / "config.json", DEMO / "tokenizer.json"):
        assert other_kind(file.read_bytes()[:HEAD_BYTES]) is None


FOLDERS: dict[str, tuple[str, str]] = {
    "GGUF": ("ggml-model-i2_s.gguf", "ggml-model-i2_s.gguf is a GGUF file"),
    "PyTorch": ("pytorch_model.bin", "pytorch_model.bin is a PyTorch file"),
    "PyTorch shards": ("pytorch_model.bin.index.json", "a PyTorch file"),
    "consolidated": ("consolidated.00.pth", "a PyTorch file"),
    "LoRA": ("adapter_model.safetensors", "a LoRA adapter"),
    "part of a download": ("model.safetensors.part", "an unfinished download"),
    "browser's": ("model.safetensors.crdownload", "an unfinished download"),
    "hub's": (".cache/huggingface/download/abc.incomplete", "an unfinished download"),
    "other name": ("bitnet.safetensors", "bitnet.safetensors has another name"),
    "shards without an index": ("model-00001-of-00002.safetensors", "download model.safetensors.index.json"),
    "Flax": ("flax_model.msgpack", "a model in another format"),
}


def test_a_text_in_place_of_tensors(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "model.safetensors").write_text("quota exceeded for this address, come back tomorrow or the day after")
    refused(folder, "is a text .'quota exceeded .*, not a safetensors file: download it again")


def test_only_the_configuration_is_missing(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "config.json").unlink()
    refused(folder, "config.json does not exist: download it too")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"])
def test_links_that_lead_nowhere(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The hub's cache after its files were removed."""
    folder = write(tmp_path / "m", vocab=512)
    shutil.copy(DEMO / "tokenizer.json", folder)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../blobs/gone")
    assert main(["generate", str(folder), "--prompt", "a"]) == 2
    assert f"{folder / name} does not exist: the symbolic link points to a missing file" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["snapshots/0123", "bitnet"])
def test_a_folder_above_the_checkpoint(below: str, tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / below, hidden=32, intermediate=48, layers=1, heads=4, kv_heads=2,
                                     vocab=40, positions=8, seed=1)
    refused(tmp_path, f"the checkpoint is in {folder}: give that folder")


def test_shards_of_a_trainer_without_an_index(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=2)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "training_args.bin").write_bytes(b"PK")
    refused(folder, "download model.safetensors.index.json, which lists them")


def test_a_download_beside_the_file(tmp_path: Path) -> None:
    """The file may be there in full size and hold zeros."""
    folder = write(tmp_path)
    (folder / "model.safetensors.aria2").touch()
    with pytest.warns(UserWarning, match="model.safetensors.aria2 is an unfinished download"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize(("name", "match"), FOLDERS.values(), ids=FOLDERS)
def test_folders(name: str, match: str, config: bool, tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "model.safetensors").unlink()
    if not config:
        (folder / "config.json").unlink()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    refused(folder, match)


def test_the_config_of_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    refused(tmp_path, "config.json does not exist: adapter_config.json belongs to a LoRA adapter")


PATHS = {
    "a GGUF file": ("model.gguf", b"GGUF\x03\0\0\0", "is a GGUF file"),
    "the tensors": ("model.safetensors", b"\x10\0\0\0\0\0\0\0{}", "is a file: give the folder"),
    "the configuration": ("config.json", b"{}", "is a file: give the folder"),
    "a text": ("notes.txt", b"hello", r"is neither a checkpoint \(a folder with .*\) nor a model image \(a file .*\)$"),
    "prompts": ("b.jsonl", b'{"prompt": "a"}', r"nor a model image \(.*\): give a file of prompts as --batch$"),
    "an archive": ("model.zip", b"PK\x03\x04", "is a PyTorch file"),
}


@pytest.mark.parametrize(("name", "content", "match"), PATHS.values(), ids=PATHS)
def test_paths_that_are_no_folder(name: str, content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, match)


def test_a_name_of_the_hub() -> None:
    refused(Path("microsoft/bitnet-b1.58-2B-4T"), r"hf download microsoft/bitnet-b1.58-2B-4T --local-dir bitnet")


def test_inspect_of_what_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(8192))
    assert main(["inspect", str(tmp_path / "x.gguf")]) == 2
    assert "is a GGUF file" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "x.gguf"), "--check"]) == 2
    assert "is a GGUF file" in capsys.readouterr().err
    (tmp_path / "weights.safetensors").write_bytes((DEMO / "model.safetensors").read_bytes())
    assert main(["inspect", str(tmp_path / "weights.safetensors")]) == 2
    assert "give the folder" in capsys.readouterr().err
    (tmp_path / "cut").write_bytes(b"BN158IMG" + bytes(100))
    assert main(["inspect", str(tmp_path / "cut")]) == 2
    assert "has 108 bytes, less than the header of a model image" in capsys.readouterr().err


# ---- models of other families
BITNET = {"quant_method": "bitnet", "linear_class": "bitlinear"}
FAMILIES: dict[str, tuple[dict[str, Any], str]] = {
    "1bitLLM": ({"architectures": ["BitnetForCausalLM"], "model_type": "llama", "vocab_size": 32002},
                "BitnetForCausalLM, the class of 1bitLLM/bitnet_b1_58"),
    "Falcon3": ({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "quantization_config": BITNET,
                 "vocab_size": 131072}, "a Llama with BitNet-quantised linear layers, such as Falcon3"),
    "TriLM": ({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 50688}, "TriLM"),
    "Bonsai": ({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}, "Bonsai"),
    "BitCPM4": ({"architectures": ["MiniCPMForCausalLM"], "model_type": "minicpm"}, "BitCPM4"),
    "Falcon": ({"architectures": ["FalconForCausalLM"], "model_type": "falcon"}, "a Falcon model"),
    "Llama": ({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000}, "a Llama, with"),
    "another": ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, "the architecture must be BitNetForC"),
    "adapter": ({"peft_type": "LORA", "base_model_name_or_path": "x"}, "LoRA adapter"),
    "no list": ({"architectures": "BitNetForCausalLM"}, "architectures must be a list"),
    "nothing": ({"architectures": None, "model_type": None}, "names neither"),
}


@pytest.mark.parametrize(("change", "match"), FAMILIES.values(), ids=FAMILIES)
def test_families(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    edit_config(folder, lambda c: (c.pop("quantization_config"), c.update(change)))
    refused(folder, match)


# ---- what makes no difference to the numbers
QUANTIZATION = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
SAME: dict[str, dict[str, Any]] = {
    "attention_bias null": {"attention_bias": None},
    "tie_word_embeddings null": {"tie_word_embeddings": None},
    "hidden_act null": {"hidden_act": None},
    "head_dim null": {"head_dim": None},
    "rms_norm_eps null": {"rms_norm_eps": None},
    "torch_dtype null": {"torch_dtype": None},
    "torch_dtype auto": {"torch_dtype": "auto"},
    "dtype auto": {"torch_dtype": None, "dtype": "auto"},
    "dtype of torch": {"torch_dtype": "torch.bfloat16"},
    "model_type null": {"model_type": None},
    "architectures empty": {"architectures": []},
    "rope_scaling null": {"rope_scaling": None},
    "rope_scaling of type null": {"rope_scaling": {"type": None}},
    "rope_scaling of rope_type null": {"rope_scaling": {"rope_type": None, "factor": None}},
    "rope_scaling default": {"rope_scaling": {"rope_type": "default"}},
    "rope_scaling by 1": {"rope_scaling": {"type": "linear", "factor": 1.0}},
    "rope_parameters null": {"rope_parameters": None},
    "partial_rotary_factor null": {"partial_rotary_factor": None},
    "partial_rotary_factor 1": {"partial_rotary_factor": 1.0},
    **{f"{key} null": {"quantization_config": QUANTIZATION | {key: None}}
       for key in ("use_rms_norm", "quantization_mode", "modules_to_not_convert", "rms_norm_eps")},
    **{f"not converted: {names}": {"quantization_config": QUANTIZATION | {"modules_to_not_convert": names}}
       for names in ([], ["lm_head"], ["lm_head$"], ["^lm_head$"], ["lm_head", "model.embed_tokens"],
                     ["model.norm", "embed_tokens"], ["input_layernorm"], ["self_attn.attn_sub_norm"])},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_accepted(change: dict[str, Any], tmp_path: Path) -> None:
    folder = write(tmp_path)
    expected = Checkpoint.open(folder).config
    edit_config(folder, lambda c: c.update(change))
    assert Checkpoint.open(folder).config == expected


def test_a_byte_order_mark(tmp_path: Path) -> None:
    folder = write(tmp_path)
    config = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + config)
    Checkpoint.open(folder)


CONVERTED: list[Any] = [["q_proj"], ["lm_head", "model.layers.0.mlp.up_proj"], ["model"], [r"model\.layers"], [".*"],
                        ["model.layers.1.self_attn.q_proj"], ["mlp"], ["self_attn"], ["layers.1"],
                        [""], ["(a+)+$"], "lm_head", [1], [["lm_head"]]]


@pytest.mark.parametrize("names", CONVERTED, ids=str)
def test_layers_that_are_not_converted(names: Any, tmp_path: Path) -> None:
    folder = write(tmp_path)
    edit_config(folder, lambda c: c["quantization_config"].update(modules_to_not_convert=names))
    refused(folder, "modules_to_not_convert")


def more_tensors(folder: Path, **tensors: tuple[str, list[int], int]) -> None:
    """Append tensors of a dtype, a shape and so many bytes to the file."""
    file = folder / "model.safetensors"
    size = len(file.read_bytes()) - 8 - int.from_bytes(file.read_bytes()[:8], "little")

    def change(header: dict[str, Any]) -> None:
        at = size
        for name, (dtype, shape, count) in tensors.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count]}
            at += count

    edit_header(folder, change)
    with file.open("ab") as out:
        out.write(bytes(sum(count for *_, count in tensors.values())))


UNNEEDED = {
    "integers": {"model.position_ids": ("I64", [1, 4], 32)},
    "empty": {"model.empty": ("F32", [0], 0)},
    "empty, two": {"model.empty": ("BF16", [0, 7], 0), "model.nothing": ("I64", [0], 0)},
    "truth": {"model.layers.0.self_attn.mask": ("BOOL", [3], 3)},
    "rotary": {"model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [4], 16)},
    "rotary of doubles": {"model.rotary_emb.inv_freq": ("F64", [4], 32)},
}


@pytest.mark.parametrize("tensors", UNNEEDED.values(), ids=UNNEEDED)
def test_tensors_that_nobody_needs(tensors: dict[str, Any], tmp_path: Path) -> None:
    folder = write(tmp_path)
    before = Checkpoint.open(folder)
    expected = {name: before.raw(name) for name in before.tensors}
    more_tensors(folder, **tensors)
    found = Checkpoint.open(folder)
    assert found.tensors.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found.raw(name), values)


STRANGE = {
    "bias": {"model.layers.0.self_attn.q_proj.bias": ("BF16", [32], 64)},
    "norm of q": {"model.layers.0.self_attn.q_norm.weight": ("BF16", [8], 16)},
    "bytes": {"model.layers.0.mlp.up_proj.absmax": ("U8", [4], 4)},
    "another layer": {"model.layers.7.input_layernorm.weight": ("BF16", [32], 64)},
}


@pytest.mark.parametrize("tensors", STRANGE.values(), ids=STRANGE)
def test_tensors_that_would_change_the_numbers(tensors: dict[str, Any], tmp_path: Path) -> None:
    folder = write(tmp_path)
    more_tensors(folder, **tensors)
    refused(folder, "is not part of the model")


def test_an_index_that_lists_a_tied_head(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=2)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    edit_index(folder, lambda m: m.update({"lm_head.weight": second, "model.rotary_emb.inv_freq": first}))
    Checkpoint.open(folder)
    edit_config(folder, lambda c: c.update(tie_word_embeddings=False))
    refused(folder, "the index says that 'model-00002-of-00002.safetensors' holds lm_head.weight, but it does not")


def test_shards_that_are_missing_are_counted(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=3)
    for name in ("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"):
        (folder / name).unlink()
    refused(folder, "2 of the 3 shards .* model-00001-of-00003.safetensors does not exist in")


def test_scales_of_other_shapes(tmp_path: Path) -> None:
    """One number is one number."""
    for shape in ([], [1], [1, 1]):
        folder = write(tmp_path)
        edit_header(folder, lambda h, shape=shape: [
            entry.update(shape=shape) for name, entry in h.items() if name.endswith("_scale")])
        assert Checkpoint.open(folder).ternary("model.layers.0.mlp.up_proj.weight").scale > 0


def test_an_index_is_a_witness_of_a_head(tmp_path: Path) -> None:
    """Where config.json leaves it open, a head that is listed and not there is missing."""
    folder = write(tmp_path, shards=2)
    edit_config(folder, lambda c: c.pop("tie_word_embeddings"))
    edit_index(folder, lambda m: m.update({"lm_head.weight": "model-00002-of-00002.safetensors"}))
    refused(folder, "holds lm_head.weight, but it does not")


@pytest.mark.parametrize("scaling", [{"factor": 4.0}, {"type": None, "factor": 4.0}, {"type": "linear", "factor": 2}])
def test_a_factor_is_a_scaling(scaling: dict[str, Any], tmp_path: Path) -> None:
    folder = write(tmp_path)
    edit_config(folder, lambda c: c.update(rope_scaling=scaling))
    refused(folder, "rope scaling of type")


def test_an_open_tie_is_decided_by_the_tensors(tmp_path: Path) -> None:
    for separate in (True, False):
        folder = write_random_checkpoint(tmp_path / str(separate), hidden=32, intermediate=48, layers=1, heads=4,
                                         kv_heads=2, vocab=40, positions=8, seed=1, separate_head=separate)
        edit_config(folder, lambda c: c.pop("tie_word_embeddings"))
        assert Checkpoint.open(folder).config.tie_word_embeddings is not separate


def test_the_wrong_kind_of_weights_says_what_to_set(tmp_path: Path) -> None:
    folder = write(tmp_path, master_weights=True)
    edit_config(folder, lambda c: c["quantization_config"].update(quantization_mode="offline"))
    with pytest.raises(CheckpointError, match=r"master weights; .* set quantization_mode to online"):
        Checkpoint.open(folder)
    assert json.loads((folder / "config.json").read_text())
