"""The Verilated accelerator equals the golden machine on every logit and token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig
from sim.golden.attention import KvHead
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.random_checkpoint import write_random_checkpoint
from sim.tensor_writer import write_safetensors
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.image import ModelImage
from sw.pack import pack
from sw.requests import Job
from tests.system.cache_reads import cache_bytes

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
PROMPT = (50, 47, 45, 37, 47, 26, 199)


def image_of(checkpoint: Path, config: AccelConfig, folder: Path, context: int | None = None) -> ModelImage:
    path = folder / f"{config.name}.img"
    pack(Checkpoint.open(checkpoint), path, config, context=context)
    return ModelImage.open(path, config)


def awkward(folder: Path) -> Path:
    """Five query heads on one KV head, no dimension a power of two, odd vocabulary."""
    path = folder / "awkward"
    write_random_checkpoint(
        path, hidden=320, intermediate=864, layers=2, heads=5, kv_heads=1, vocab=777, positions=64, seed=1
    )
    return path


def simulated(config: AccelConfig, image: ModelImage, job: Job, seed: int = 0) -> tuple[Generation, int]:
    link = SimulatedLink(image, seed)
    result = Driver(link).generate(job)
    assert link.stats
    return result, link.stats.cycles


def golden(config: AccelConfig, image: ModelImage, job: Job) -> Generation:
    return Driver(GoldenLink(image)).generate(job)


def assert_same(got: Generation, expected: Generation) -> None:
    assert got.tokens == expected.tokens
    assert got.stopped == expected.stopped
    np.testing.assert_array_equal(np.stack(got.logits), np.stack(expected.logits))


@pytest.mark.parametrize("preset", ["tiny", pytest.param("tiny-kv16", marks=pytest.mark.long)])
def test_demo_model(preset: str, tmp_path: Path) -> None:
    config = PRESETS[preset]
    image = image_of(DEMO, config, tmp_path)
    job = Job(prompt=PROMPT, max_new_tokens=14, chunk=2, all_logits=True)
    got, cycles = simulated(config, image, job)
    assert_same(got, golden(config, image, job))
    print(f"\n{preset}: {cycles} cycles for {len(got.logits)} positions")


def test_bytes_read_are_the_bytes_needed(tmp_path: Path) -> None:
    """Nothing is fetched twice: what is not stream, head or table is each position's cache, once per KV head and pass.
    """
    config = PRESETS["tiny"]
    image = image_of(DEMO, config, tmp_path)
    link = SimulatedLink(image)
    result = Driver(link).generate(Job(prompt=PROMPT, max_new_tokens=14, chunk=2))
    fed = len(PROMPT) + len(result.tokens) - 1
    prompt = [[list(range(start, min(start + 2, len(PROMPT))))] for start in range(0, len(PROMPT), 2)]
    expected = cache_bytes(image.plan, [*prompt, *([[position]] for position in range(len(PROMPT), fed))])
    assert link.stats
    assert link.stats.traffic
    assert link.stats.traffic.read_bytes["kv"] == expected


def test_awkward_shape(tmp_path: Path) -> None:
    config = PRESETS["tiny"]
    image = image_of(awkward(tmp_path), config, tmp_path)
    prompt = tuple(int(t) for t in np.random.default_rng(3).integers(0, 777, 19))
    job = Job(prompt=prompt, max_new_tokens=3, chunk=2, all_logits=True)
    got, _ = simulated(config, image, job, seed=2)
    assert_same(got, golden(config, image, job))


@pytest.mark.long
@pytest.mark.parametrize("bits", [8, 12])
def test_narrow_embedding(bits: int, tmp_path: Path) -> None:
    config = PRESETS["tiny"].replace(name=f"embedding{bits}", embedding_bits=bits)
    image = image_of(DEMO, config, tmp_path)
    job = Job(prompt=PROMPT, max_new_tokens=2, chunk=2, all_logits=True)
    got, _ = simulated(config, image, job)
    assert_same(got, golden(config, image, job))


SHAPES = {
    "head_dim 128": {"hidden": 256, "intermediate": 512, "layers": 2, "heads": 2, "kv_heads": 2, "vocab": 100},
    "one head": {"hidden": 64, "intermediate": 68, "layers": 1, "heads": 1, "kv_heads": 1, "vocab": 5},
    "bitlinear, own head": {
        "hidden": 128, "intermediate": 344, "layers": 1, "heads": 2, "kv_heads": 1, "vocab": 131,
        "bitlinear": True, "separate_head": True, "new_style": True,
    },
    "outliers, shards": {
        "hidden": 192, "intermediate": 256, "layers": 2, "heads": 3, "kv_heads": 3, "vocab": 64,
        "outlier_channels": 3, "outlier_gain": 200.0, "shards": 3,
    },
    "master weights": {
        "hidden": 64, "intermediate": 128, "layers": 1, "heads": 1, "kv_heads": 1, "vocab": 64, "master_weights": True,
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str, tmp_path: Path) -> None:
    config = PRESETS["tiny"]
    shape = SHAPES[name]
    write_random_checkpoint(tmp_path / "m", positions=40, seed=7, **shape)
    image = image_of(tmp_path / "m", config, tmp_path)
    prompt = tuple(int(t) for t in np.random.default_rng(8).integers(0, shape["vocab"], 17))
    job = Job(prompt=prompt, max_new_tokens=2, chunk=2, all_logits=True)
    got, _ = simulated(config, image, job)
    assert_same(got, golden(config, image, job))


def packed_offline(source: Path, target: Path) -> Path:
    """A checkpoint of master weights as somebody else would pack it: U8 tensors, float32 scales, mode offline."""
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"]["quantization_mode"] = "offline"
    checkpoint, tensors = Checkpoint.open(source), {}
    for name in checkpoint.tensors:
        tensors[name] = checkpoint.raw(name)
        if name.endswith("_proj.weight"):
            weights = checkpoint.float(name).astype(np.float64)
            scale = np.abs(weights).mean()
            codes = (np.clip(np.rint(weights / scale), -1, 1) + 1).astype(np.uint8).reshape(4, -1, weights.shape[1])
            tensors[name] = codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6
            tensors[f"{name}_scale"] = np.array([scale], np.float32)
    target.mkdir()
    (target / "config.json").write_text(json.dumps(config))
    write_safetensors(target / "model.safetensors", tensors)
    return target


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_master_weights_are_what_they_are_packed(dtype: str, tmp_path: Path) -> None:
    """The same image, and so the same logits, from master weights and from their packed form."""
    config = PRESETS["tiny"]
    unpacked = write_random_checkpoint(
        tmp_path / "m", positions=40, seed=12, master_weights=True, dtype=dtype, hidden=64, intermediate=136, layers=2,
        heads=2, kv_heads=1, vocab=70,
    )
    offline = packed_offline(unpacked, tmp_path / "offline")
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    image, twin = image_of(unpacked, config, tmp_path / "a"), image_of(offline, config, tmp_path / "b")
    assert image.path.read_bytes() == twin.path.read_bytes()
    job = Job(prompt=(1, 69, 33, 5), max_new_tokens=2, chunk=2, all_logits=True)
    expected = golden(config, twin, job)
    assert_same(golden(config, image, job), expected)
    assert_same(simulated(config, image, job)[0], expected)


def test_largest_shape(tmp_path: Path) -> None:
    """Every limit of the preset at once, 16 query heads on one KV head among them."""
    config = PRESETS["tiny"]
    write_random_checkpoint(
        tmp_path / "m", hidden=2048, intermediate=2048, layers=1, heads=16, kv_heads=1, vocab=8192, positions=4096,
        seed=9,
    )
    image = image_of(tmp_path / "m", config, tmp_path)
    job = Job(prompt=(8191, 17), max_new_tokens=1, chunk=2, all_logits=False)
    got, cycles = simulated(config, image, job)
    assert got.tokens == golden(config, image, job).tokens
    print(f"\n{cycles} cycles")


def test_logits_do_not_depend_on_chunks_or_memory(tmp_path: Path) -> None:
    """A prompt scored in chunks of 2 and of 1, and decoded token by token; three memory timings."""
    config = PRESETS["tiny"]
    image = image_of(DEMO, config, tmp_path, context=32)
    score = Job(prompt=PROMPT, max_new_tokens=5, chunk=2, all_logits=True)
    runs = {seed: simulated(config, image, score, seed) for seed in (0, 1, 2)}
    expected = runs[0][0]
    for result, _ in runs.values():
        assert_same(result, expected)
    assert len({cycles for _, cycles in runs.values()}) == 3
    fed = PROMPT + tuple(expected.tokens[:-1])
    for chunk in (1, 2):
        scored, _ = simulated(config, image, Job(prompt=fed, max_new_tokens=0, chunk=chunk, all_logits=True))
        np.testing.assert_array_equal(np.stack(scored.logits), np.stack(expected.logits))


def test_a_sequence_goes_on_in_a_later_job(tmp_path: Path) -> None:
    """All state at a token boundary is the KV memory: two jobs give what one gives, and leave the same bytes."""
    config = PRESETS["tiny"]
    image = image_of(DEMO, config, tmp_path, context=64)
    whole = golden(config, image, Job(prompt=PROMPT * 2, max_new_tokens=0, chunk=2, all_logits=True))
    link, twin = SimulatedLink(image), GoldenLink(image)
    for device in (link, twin):
        rows = []
        for start in (0, len(PROMPT)):
            job = Job(prompt=PROMPT, max_new_tokens=0, chunk=2, all_logits=True, start_position=start)
            rows += Driver(device).generate(job).logits
        np.testing.assert_array_equal(np.stack(rows), np.stack(whole.logits))
    kv = twin.machine.kv
    np.testing.assert_array_equal(link.read_memory(link.layout.kv, kv.size), kv.ravel())


def test_last_positions_of_a_full_context(tmp_path: Path) -> None:
    """Positions 4091 to 4095 over a cache of random codes: the far end of every address and table."""
    config = PRESETS["tiny"]
    write_random_checkpoint(
        tmp_path / "m", hidden=128, intermediate=64, layers=1, heads=2, kv_heads=1, vocab=64, positions=4096, seed=10
    )
    image = image_of(tmp_path / "m", config, tmp_path)
    link, twin = SimulatedLink(image), GoldenLink(image)
    rng = np.random.default_rng(11)
    cache = KvHead.view(config, twin.machine.kv[None], 64)
    cache.keys[...] = rng.integers(-127, 128, cache.keys.shape)
    cache.values[...] = rng.integers(-127, 128, cache.values.shape)
    cache.scales[...] = np.float32(2.0) ** rng.integers(-9, -4, cache.scales.shape)
    link.write_memory(link.layout.kv, twin.machine.kv.tobytes())
    job = Job(prompt=(1, 2, 3), max_new_tokens=9, chunk=2, all_logits=True, start_position=4091)
    got, expected = (Driver(device).generate(job) for device in (link, twin))
    assert expected.stopped == "context of 4096 full"
    assert_same(got, expected)


def test_context_filled_to_its_last_position(tmp_path: Path) -> None:
    config = PRESETS["tiny"]
    image = image_of(DEMO, config, tmp_path, context=20)
    job = Job(prompt=PROMPT * 2, max_new_tokens=50, chunk=2, all_logits=True)
    got, _ = simulated(config, image, job)
    expected = golden(config, image, job)
    assert expected.stopped == "context of 20 full"
    assert_same(got, expected)


def test_tokens_alone_need_no_logits(tmp_path: Path) -> None:
    config = PRESETS["tiny"]
    image = image_of(DEMO, config, tmp_path)
    job = Job(prompt=PROMPT, max_new_tokens=6, chunk=2)
    got, _ = simulated(config, image, job)
    assert got.tokens == golden(config, image, job).tokens
    assert not got.logits
