"""`inspect` of an image: what it is, and the arithmetic of the bytes of a token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from hw.contract.isa import Opcode
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.inspect_image import token_bytes
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape
from sw.pack import pack

DEMO = Path(__file__).parents[2] / "models" / "shakespeare-nano"
FULL = ModelShape(hidden=2560, intermediate=6912, layers=30, heads=20, kv_heads=5, head_dim=128, vocab=128256,
                  context=4096, sequences=1)


def test_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "i"
    pack(Checkpoint.open(DEMO), path, PRESETS["medium"], context=100, sequences=3)
    assert main(["inspect", str(path), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["preset"], described["image_bytes"]) == ("medium", path.stat().st_size)
    assert (described["shape"]["layers"], described["shape"]["context"], described["shape"]["sequences"]) == (4, 100, 3)
    assert described["kv_bytes"] == 3 * 4 * 2 * 64 * (8 + 2 * 64)
    assert list(described["regions"]) == ["stream", "head", "embed", "rope"]
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "preset medium" in text
    assert "4 layers, hidden 128, FFN 344, 2 heads and 1 KV heads of 64, vocabulary 512" in text
    assert "context 100, 3 KV slots" in text


def test_images_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "i"
    pack(Checkpoint.open(DEMO), path, PRESETS["tiny"].replace(name="other", columns=1))
    assert main(["inspect", str(path)]) == 2
    assert "which no preset of this release has" in capsys.readouterr().err
    pack(Checkpoint.open(DEMO), path, PRESETS["tiny"])
    content = bytearray(path.read_bytes())
    content[-5000] ^= 1
    path.write_bytes(content)
    assert main(["inspect", str(path)]) == 2
    assert "region rope is damaged" in capsys.readouterr().err
    path.write_bytes(b"x" * 5000)
    assert main(["inspect", str(path)]) == 2
    assert "nor a model image (a file that `bitnet-fpga pack` wrote)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["medium", "kv260"])
def test_bytes_of_a_full_size_token(name: str) -> None:
    """30 layers of 2 * 2560 * 2560 + 2 * 2560 * 640 + 3 * 2560 * 6912 weights; a head of 128256 rows."""
    plan = ModelPlan(PRESETS[name], FULL)
    token = token_bytes(plan)
    assert token["required"] == {"weights": 30 * (2 * 1310720 + 2 * 327680 + 3 * 3538944), "head": 128256 * 2564}
    assert token["overhead"] == pytest.approx(sum(token["read"].values()) / sum(token["required"].values()) - 1)
    assert 0 < token["overhead"] < 0.003
    down = next(p for p in plan.layer_packets if p.opcode is Opcode.MATMUL and p.operands["in_features"] == 6912)
    assert down.payload_bytes == 2560 * 6920 // 5
    assert plan.image_bytes < 1.41e9
