"""Images: round trip, damage, other builds, models that a preset cannot run, interrupted packing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, STRIPE_BYTES, ConfigError
from hw.contract.isa import HEADER, Opcode
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.errors import ImageError
from sw.image import ModelImage
from sw.model_plan import HEADER_SIZE
from sw.pack import pack

TINY = PRESETS["tiny"]
DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "model.img"
    pack(Checkpoint.open(DEMO), path, TINY)
    return path


def test_same_input_same_bytes(image: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.img"
    pack(Checkpoint.open(DEMO), again, TINY)
    assert again.read_bytes() == image.read_bytes()


def test_stream_is_a_chain_of_packets(image: Path) -> None:
    opened = ModelImage.open(image, TINY)
    opened.verify()
    stream, at, seen = opened.view("stream"), 0, []
    while at < len(stream):
        header = HEADER.from_bits(int.from_bytes(stream[at : at + 32].tobytes(), "little"))
        seen.append(Opcode(header["opcode"]))
        at += 32 + header["payload_beats"] * TINY.beat_bytes
    assert at == len(stream)
    assert seen[-1] is Opcode.END
    assert seen.count(Opcode.MATMUL) == 4 * 7
    assert seen.count(Opcode.ATTEND) == 4


@pytest.mark.parametrize("at", [0, 9, 20, 60, HEADER_SIZE - 1])
def test_damaged_header_is_refused(image: Path, at: int) -> None:
    data = bytearray(image.read_bytes())
    data[at] ^= 1
    image.write_bytes(data)
    with pytest.raises(ImageError):
        ModelImage.open(image, TINY)


@pytest.mark.parametrize("region", ["stream", "head", "embed", "rope"])
def test_damaged_region_is_named(image: Path, region: str) -> None:
    where = ModelImage.open(image, TINY).plan.regions[region]
    data = bytearray(image.read_bytes())
    data[where.offset + where.size // 2] ^= 0x10
    image.write_bytes(data)
    with pytest.raises(ImageError, match=f"region {region} is damaged"):
        ModelImage.open(image, TINY).verify()


def test_truncated_image_is_refused(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(ImageError, match="truncated"):
        ModelImage.open(image, TINY)


def test_image_for_another_preset_is_refused(image: Path) -> None:
    with pytest.raises(ImageError, match="packed for preset tiny"):
        ModelImage.open(image, PRESETS["tiny-kv16"])


def test_model_too_large_names_both_numbers(tmp_path: Path) -> None:
    write_random_checkpoint(
        tmp_path / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1, vocab=8200, positions=32, seed=0
    )
    with pytest.raises(ConfigError, match="vocabulary is 8200, but preset tiny supports at most 8192"):
        pack(Checkpoint.open(tmp_path / "m"), tmp_path / "i", TINY)
    assert not list(tmp_path.glob("i*"))


def test_interrupted_packing_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(part: str, size: int) -> None:
        if part == "head":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(Checkpoint.open(DEMO), tmp_path / "i", TINY, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_failed_packing_keeps_the_old_image(image: Path) -> None:
    before = image.read_bytes()
    with pytest.raises(RuntimeError):
        pack(Checkpoint.open(DEMO), image, TINY, progress=lambda part, size: (_ for _ in ()).throw(RuntimeError()))
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--prompt-ids", "1,600"], "token id 600 is outside the vocabulary of 512"),
        (["--prompt-ids", "1,x"], "must be numbers"),
        (["--prompt-ids", ",".join(["1"] * 257)], "the context holds 256"),
        (["--prompt", "a", "--preset", "huge"], "no preset named 'huge'"),
        (["--prompt", "a", "--backend", "abacus"], "there is no backend 'abacus'"),
        ([], "give either"),
    ],
)
def test_generate_refuses_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(DEMO), *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_generate_from_a_packed_image(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(DEMO), "--prompt", "ROMEO:\n", "--max-new-tokens", "4", "--image", str(image)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("I'll")
    assert main([*arguments, "--preset", "tiny-kv16"]) == 2
    assert "packed for preset tiny" in capsys.readouterr().err
    data = bytearray(image.read_bytes())
    data[-5000] ^= 1
    image.write_bytes(data)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "region rope is damaged" in error
    assert "Traceback" not in error


def test_generate_with_a_shorter_context(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(DEMO), "--prompt-ids", "1,2,3", "--context", "5"]
    assert main(arguments) == 0
    assert "context of 5 full" in capsys.readouterr().err
    assert main([*arguments, "--image", str(image)]) == 2
    assert "leave out --context or --image" in capsys.readouterr().err


def test_generate_refuses_the_image_of_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_random_checkpoint(
        tmp_path / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1, vocab=512, positions=32, seed=0
    )
    pack(Checkpoint.open(tmp_path / "m"), tmp_path / "i", TINY)
    assert main(["generate", str(DEMO), "--prompt-ids", "1", "--image", str(tmp_path / "i")]) == 2
    assert "was not packed from" in capsys.readouterr().err


def test_generate_writes_logits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "l.npz"
    assert main(["generate", str(DEMO), "--prompt", "ROMEO:\n", "--max-new-tokens", "4", "--logits", str(out)]) == 0
    assert capsys.readouterr().out.startswith("I'll")
    with np.load(out) as saved:
        assert saved["logits"].shape == (len(saved["prompt_ids"]) + 3, 512)
        assert saved["logits"].dtype == np.float32
        assert saved["logits"][-1].argmax() == saved["tokens"][-1]


def test_mem_text_holds_the_same_bytes(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "model.mem"
    assert main(["pack", str(DEMO), "-o", str(text), "--format", "mem", "--json"]) == 0
    lines = text.read_text().split()
    assert b"".join(bytes.fromhex(line)[::-1] for line in lines) == image.read_bytes()
    assert json.loads(capsys.readouterr().out)["image_bytes"] == image.stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.img", "model.mem"]


def test_stripes_are_undone(tmp_path: Path) -> None:
    """The content of the streamed regions on P ports: port by port what docs/model-image.md says, and whole again."""
    config = PRESETS["tiny"].replace(name="two ports", ports=2, rows=4)
    path = tmp_path / "striped.img"
    pack(Checkpoint.open(DEMO), path, config)
    opened = ModelImage.open(path, config)
    opened.verify()
    for name in ("stream", "head"):
        region, content = opened.plan.regions[name], opened.view(name)
        assert region.offset % STRIPE_BYTES == 0
        assert region.area % (2 * STRIPE_BYTES) == 0
        assert 0 <= region.area - region.size < 2 * STRIPE_BYTES
        raw = opened.memory[region.offset : region.offset + region.area].reshape(-1, 2, STRIPE_BYTES)
        for port in (0, 1):
            part = content.reshape(-1, 2, 8)[:, port].ravel()
            np.testing.assert_array_equal(raw[:, port].ravel()[: len(part)], part)
    header = HEADER.from_bits(int.from_bytes(opened.view("head")[:32].tobytes(), "little"))
    assert header["payload_beats"] * 16 + 32 == opened.plan.regions["head"].size


def test_more_kv_heads_than_the_hardware_counts_are_refused(tmp_path: Path) -> None:
    """512 heads of four elements, padded to 16, fit the vectors of the configuration, but no counter of KV heads."""
    write_random_checkpoint(tmp_path / "m", hidden=2048, intermediate=64, layers=1, heads=512, kv_heads=512, vocab=16,
                            positions=16, seed=1)
    with pytest.raises(ConfigError, match="number of KV heads is 512, but preset tiny-kv16 supports at most 256"):
        pack(Checkpoint.open(tmp_path / "m"), tmp_path / "i", PRESETS["tiny-kv16"].replace(max_hidden=8192))
