"""End ids and BOS: what the files of a checkpoint say together, and what is told where they differ."""

from __future__ import annotations

import json
import os
import re
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from hw.contract.config import PRESETS
from sim.tensor_writer import to_bf16, write_safetensors
from sw import ternary
from sw.__main__ import main
from sw.errors import CheckpointError
from sw.special_tokens import SpecialTokens, read_special_tokens
from sw.text import CheckpointText
from tests.sw.test_image_lies import Forged

VOCAB = 320
SPECIAL = ("<|begin|>", "<|end|>", "<|turn|>")
IDS = {text: number for number, text in enumerate(SPECIAL)}


def files(folder: Path, **contents: dict[str, Any]) -> Path:
    """Files named by keyword, `config` for config.json."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


UNIONS: dict[str, tuple[dict[str, Any], tuple[int, ...], str]] = {
    "one file": ({"config": {"eos_token_id": 1}}, (1,), ""),
    "a list": ({"config": {"eos_token_id": [3, 1]}}, (1, 3), ""),
    "null": ({"config": {"eos_token_id": None}, "generation_config": {"eos_token_id": 2}}, (2,), ""),
    "none": ({"config": {}}, (), ""),
    "two files that agree": ({"config": {"eos_token_id": 1}, "generation_config": {"eos_token_id": [1]}}, (1,), ""),
    "two files that differ": (
        {"config": {"eos_token_id": 1}, "generation_config": {"eos_token_id": [1, 2]}}, (1, 2),
        "different end ids: config.json 1; generation_config.json 1, 2; a text ends at any of them"),
    "a token's text": (
        {"config": {"eos_token_id": 1}, "tokenizer_config": {"eos_token": "<|turn|>"}}, (1, 2),
        r"config.json 1; tokenizer_config.json 2 \('<\|turn\|>'\)"),
    "an added token": ({"tokenizer_config": {"eos_token": {"content": "<|turn|>", "lstrip": False}}}, (2,), ""),
    "the map": ({"special_tokens_map": {"eos_token": "<|end|>"}}, (1,), ""),
    "the end of a turn": ({"tokenizer_config": {"eot_token": "<|turn|>", "eos_token": "<|end|>"}}, (1, 2), ""),
    "extra tokens": ({"tokenizer_config": {"extra_special_tokens": {"eot_token": "<|turn|>"}}}, (2,), ""),
    "a token of the list": ({"tokenizer_config": {"eos_token": "<new>", "added_tokens_decoder": {
        "300": {"content": "<new>"}, "x": {}, "301": 4}}}, (300,), ""),
    "infinity, which Python writes": (
        {"tokenizer_config": {"model_max_length": float("inf"), "eos_token": "<|end|>"}}, (1,), ""),
    "no token": ({"tokenizer_config": {"eos_token": "<new>"}}, (), "eos_token '<new>' is not a token of this model"),
    "beyond the vocabulary": ({"config": {"eos_token_id": [1, VOCAB]}}, (1,), "320 is outside the vocabulary of 320"),
    "minus one": ({"generation_config": {"eos_token_id": -1}}, (), "-1 is outside"),
    "many": ({"config": {"eos_token_id": list(range(9))}}, tuple(range(9)), ""),
}


@pytest.mark.parametrize(("contents", "expected", "told"), UNIONS.values(), ids=UNIONS)
def test_end_ids_are_those_of_all_files(
    contents: dict[str, Any], expected: tuple[int, ...], told: str, tmp_path: Path
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokens = read_special_tokens(files(tmp_path, **contents), VOCAB, IDS.get)
    assert tokens.end_ids == expected
    assert len(caught) == bool(told)
    if told:
        with pytest.warns(UserWarning, match=told):
            read_special_tokens(tmp_path, VOCAB, IDS.get)


BEGINS: dict[str, tuple[dict[str, Any], int | None, str]] = {
    "config": ({"config": {"bos_token_id": 5}}, 5, ""),
    "text": ({"tokenizer_config": {"bos_token": "<|begin|>"}}, 0, ""),
    "none": ({"config": {}}, None, ""),
    "the tokenizer's is used": ({"config": {"bos_token_id": 5}, "tokenizer_config": {"bos_token": "<|begin|>"}}, 0,
                                "different BOS tokens: .*; that of tokenizer_config.json is used"),
    "generation_config before config": ({"config": {"bos_token_id": 5}, "generation_config": {"bos_token_id": 6}}, 6,
                                        "that of generation_config.json is used"),
}


@pytest.mark.filterwarnings("ignore:the files name different BOS")
@pytest.mark.parametrize(("contents", "expected", "told"), BEGINS.values(), ids=BEGINS)
def test_bos(contents: dict[str, Any], expected: int | None, told: str, tmp_path: Path) -> None:
    assert read_special_tokens(files(tmp_path, **contents), VOCAB, IDS.get).bos == expected
    if told:
        with pytest.warns(UserWarning, match=told):
            read_special_tokens(tmp_path, VOCAB, IDS.get)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text for an id": ({"config": {"eos_token_id": "1"}}, "config.json: eos_token_id must be a token id"),
    "true": ({"generation_config": {"eos_token_id": True}}, "generation_config.json: eos_token_id must be"),
    "lists": ({"config": {"bos_token_id": [[1]]}}, "bos_token_id must be"),
    "id for a text": ({"tokenizer_config": {"eos_token": 1}}, "eos_token must be the text of a token"),
    "no content": ({"tokenizer_config": {"eos_token": {"content": 3}}}, "eos_token must be the text"),
    "half a character": ({"tokenizer_config": {"eos_token": "\ud800"}}, "eos_token must be the text of a token"),
    "add_bos_token": ({"tokenizer_config": {"add_bos_token": 1}}, "add_bos_token must be true or false"),
}


@pytest.mark.parametrize(("contents", "match"), WRONG.values(), ids=WRONG)
def test_what_is_no_token_is_refused(contents: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_special_tokens(files(tmp_path, **contents), VOCAB, IDS.get)


# ---- BOS in front of prompts
def byte_level(*, bos: bool = False, eos: bool = False) -> Tokenizer:
    """Byte-level BPE without merges, special tokens first, as LLaMA 3's."""
    vocab = dict(IDS) | {text: 3 + n for n, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos or eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=("<|begin|> " if bos else "") + "$A" + (" <|end|>" if eos else ""),
            special_tokens=[("<|begin|>", 0), ("<|end|>", 1)],
        )
    return tokenizer


PROMPTS: dict[str, tuple[bool, dict[str, Any], str, int, str]] = {
    # what tokenizer.json adds, the other files, the prompt, how often BOS stands in front, what is told
    "added": (True, {"config": {"bos_token_id": 0}}, "a", 1, ""),
    "added, no file names it": (True, {"config": {}}, "a", 1, ""),
    "written and added": (True, {"config": {"bos_token_id": 0}}, "<|begin|>a", 1, "already begins with"),
    "written": (False, {"config": {"bos_token_id": 0}, "tokenizer_config": {"add_bos_token": False}}, "<|begin|>a", 1,
                ""),
    "asked for, not added": (False, {"tokenizer_config": {"add_bos_token": True, "bos_token": "<|begin|>"}}, "a", 1,
                             "asks for a BOS token, which tokenizer.json does not add: '<|begin|>' .id 0. is put"),
    "asked for and written": (False, {"tokenizer_config": {"add_bos_token": True, "bos_token": "<|begin|>"}},
                              "<|begin|>a", 1, "already begins with|asks for a BOS token"),
    "named, not added": (False, {"config": {"bos_token_id": 0}}, "a", 0,
                         "config.json names the BOS token .*prompts begin without it"),
    "not wanted": (False, {"config": {"bos_token_id": 0}, "tokenizer_config": {"add_bos_token": False}}, "a", 0, ""),
    "not wanted, but added": (True, {"config": {"bos_token_id": 0}, "tokenizer_config": {"add_bos_token": False}}, "a",
                              1, "add_bos_token false, but tokenizer.json puts"),
    "a separator": (False, {"config": {"bos_token_id": 1, "eos_token_id": 1}}, "a", 0, ""),
    "another one": (True, {"config": {"bos_token_id": 2}}, "a", 1, "tokenizer.json is followed"),
    "another one, written": (True, {"config": {"bos_token_id": 2}}, "<|begin|>a", 1,
                             "tokenizer.json is followed|already begins"),
    "no file names it, written": (True, {"config": {}}, "<|begin|>a", 1, "already begins with"),
    "two files that differ": (
        True, {"config": {"bos_token_id": 0}, "tokenizer_config": {"bos_token": "<|end|>"}}, "a", 1,
        "config.json 0; tokenizer_config.json 1 .*; tokenizer.json puts 0 in front of prompts"),
    "wanted, but not named": (False, {"tokenizer_config": {"add_bos_token": True}}, "a", 0, "no file names a BOS"),
}


@pytest.mark.parametrize(("adds", "contents", "prompt", "times", "told"), PROMPTS.values(), ids=PROMPTS)
def test_bos_in_front_of_prompts(
    adds: bool, contents: dict[str, Any], prompt: str, times: int, told: str, tmp_path: Path
) -> None:
    byte_level(bos=adds).save(str(files(tmp_path, **contents) / "tokenizer.json"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        text = CheckpointText.open(tmp_path, VOCAB)
        text.check_prompts()
        ids = text.encode(prompt)
    assert ids == [0] * times + [byte_level().token_to_id("a")]
    assert bool(caught) == bool(told)
    if told:
        pattern = told.replace("|>", r"\|>").replace("<|", r"<\|")
        assert any(re.search(pattern, str(one.message)) for one in caught)


def test_two_tokens_in_front(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> <|turn|> $A", special_tokens=[("<|begin|>", 0), ("<|turn|>", 2)])
    tokenizer.save(str(files(tmp_path, config={"bos_token_id": 0}) / "tokenizer.json"))
    text = CheckpointText.open(tmp_path, VOCAB)
    with pytest.warns(UserWarning, match="already begins with"):
        assert text.encode("<|begin|>a") == [0, 2, *letters("a")]
    assert text.encode("a") == [0, 2, *letters("a")]


def test_a_tokenizer_that_knows_few_letters(tmp_path: Path) -> None:
    """What it puts in front is told by what it marks as its own, whatever it makes of a letter."""
    tokenizer = Tokenizer(models.BPE(vocab={"<s>": 0, "</s>": 1, "b": 2, "c": 3}, merges=[]))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(files(tmp_path, tokenizer_config={"bos_token": "<s>", "add_bos_token": True})
                       / "tokenizer.json"))
    text = CheckpointText.open(tmp_path, 4)
    text.check_prompts()  # a warning would be an error
    assert text.encode("bc") == [0, 2, 3]


def test_a_byte_order_mark_and_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "m\udce9"  # no UTF-8
    files(folder, config={"bos_token_id": 0})
    content = byte_level(bos=True).to_str().encode()
    (folder / "tokenizer.json").write_bytes(b"\xef\xbb\xbf" + content)
    assert CheckpointText.open(folder, VOCAB).encode("a") == [0, *letters("a")]


def test_a_tokenizer_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointError, match="is not a file"):
        CheckpointText.open(tmp_path, VOCAB)


def test_an_end_behind_prompts_is_told(tmp_path: Path) -> None:
    byte_level(eos=True).save(str(files(tmp_path, config={"eos_token_id": 1}) / "tokenizer.json"))
    text = CheckpointText.open(tmp_path, VOCAB)
    with pytest.warns(UserWarning, match=r"puts '<\|end\|>' \(id 1\) behind prompts, which ends a text"):
        text.check_prompts()


@pytest.mark.parametrize(("size", "told"), [(300, "ids up to 3.. but the model's"), (400, ""), (2000, "far fewer")])
def test_a_tokenizer_of_another_model_is_told(size: int, told: str, tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([f"<{n}>" for n in range(80)])  # 339 tokens
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CheckpointText.open(tmp_path, size)
    assert len(caught) == bool(told)
    if told:
        with pytest.warns(UserWarning, match=told.replace("3..", "338,")):
            CheckpointText.open(tmp_path, size)


# ---- whole runs: a model that is a table of which token follows which
def table_model(folder: Path, chain: list[int], **contents: dict[str, Any]) -> Path:
    """Embedding: the identity; head row of the next token: the unit vector of this one; all ternary weights 0."""
    head = np.zeros((VOCAB, VOCAB), np.float32)
    for token, following in pairwise(chain):
        head[following, token] = 1.0
    tensors = {"model.embed_tokens.weight": to_bf16(np.eye(VOCAB)), "lm_head.weight": to_bf16(head),
               "model.norm.weight": to_bf16(np.ones(VOCAB))}
    layer = "model.layers.0."
    for name, size in (("input_layernorm", VOCAB), ("post_attention_layernorm", VOCAB),
                       ("self_attn.attn_sub_norm", VOCAB), ("mlp.ffn_sub_norm", 64)):
        tensors[f"{layer}{name}.weight"] = to_bf16(np.ones(size))
    for name, rows, columns in (("self_attn.q_proj", VOCAB, VOCAB), ("self_attn.k_proj", 64, VOCAB),
                                ("self_attn.v_proj", 64, VOCAB), ("self_attn.o_proj", VOCAB, VOCAB),
                                ("mlp.gate_proj", 64, VOCAB), ("mlp.up_proj", 64, VOCAB), ("mlp.down_proj", VOCAB, 64)):
        tensors[f"{layer}{name}.weight"] = ternary.pack(np.zeros((rows, columns), np.int8))
        tensors[f"{layer}{name}.weight_scale"] = to_bf16([0.1])
    config = {
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_size": VOCAB, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 5, "num_key_value_heads": 1, "vocab_size": VOCAB,
        "max_position_embeddings": 64, "rope_theta": 1e4, "tie_word_embeddings": False, "eos_token_id": 1,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"},
    }
    files(folder, **({"config": config | contents.pop("config", {})} | contents))
    write_safetensors(folder / "model.safetensors", tensors)
    byte_level(bos=True).save(str(folder / "tokenizer.json"))
    return folder


def letters(text: str) -> list[int]:
    return [byte_level().token_to_id(letter) for letter in text]


CHAIN = [*letters(":Hi"), IDS["<|turn|>"], *letters("Usex")]


@pytest.mark.filterwarnings("default")  # the model's matrices hold zeros only
@pytest.mark.parametrize(
    ("contents", "told", "backend"),
    [({"generation_config": {"eos_token_id": [1, 2]}}, True, "golden"),
     ({"generation_config": {"eos_token_id": [1, 2]}}, True, "sim"),
     ({"tokenizer_config": {"eos_token": "<|turn|>"}}, True, "golden"),
     ({"config": {"eos_token_id": [1, 2]}}, False, "golden"),
     ({"config": {"eos_token_id": [*range(300, 310), 2]}}, False, "golden"),
     ({"config": {"eos_token_id": [*range(300, 310), 2]}}, False, "sim")],
    ids=["generation_config", "generation_config, sim", "tokenizer_config", "config", "eleven ids", "eleven ids, sim"],
)
def test_a_run_ends_at_every_end_id(
    contents: dict[str, Any], told: bool, backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one piece, streamed, and in a batch; the end token is no text."""
    model = table_model(tmp_path / "m", CHAIN, **contents)
    (tmp_path / "batch").write_text(json.dumps({"prompt": "a:"}) + "\n" + json.dumps({"prompt": "ab:"}))
    common = [str(model), "--max-new-tokens", "7", "--backend", backend]
    assert main(["generate", *common, "--prompt", "a:", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["tokens"], result["text"], result["stopped"]) == (CHAIN[1:4], "Hi", "end id 2")
    assert captured.err.count("different end ids") == told
    assert main(["generate", *common, "--prompt", "a:"]) == 0
    assert capsys.readouterr().out == "Hi\n"
    assert main(["generate", *common, "--batch", str(tmp_path / "batch")]) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(result["text"], result["stopped"]) for result in results] == [("Hi", "end id 2")] * 2


@pytest.mark.filterwarnings("default")
def test_an_image_does_not_know_the_end_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays usable when generation_config.json comes later, and so does one that still holds `bos` and `eos`."""
    model, image = table_model(tmp_path / "m", CHAIN), tmp_path / "image"
    assert main(["pack", str(model), "-o", str(image)]) == 0
    files(model, generation_config={"eos_token_id": [1, 2]})
    for change in ({}, {"bos": -1, "eos": [1]}, {"bos": "a", "eos": [5] * 9}):
        forged = Forged(image, PRESETS["tiny"])
        forged.edit_shape(lambda shape, change=change: shape.update(change))
        forged.seal()
        capsys.readouterr()
        assert main(["generate", str(model), "--prompt", "a:", "--json", "--image", str(image)]) == 0
        assert json.loads(capsys.readouterr().out)["stopped"] == "end id 2"


def test_no_tokenizer(tmp_path: Path) -> None:
    text = CheckpointText.open(files(tmp_path, config={"eos_token_id": 4}), VOCAB)
    assert text.tokens == SpecialTokens((4,))
    assert text.decode([1, 2]) is None
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        text.encode("a")
