"""`profile`: the numbers of a small model belong together, and what cannot be measured is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main

CONFIG = PRESETS["tiny"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_random_checkpoint(tmp_path / "model", hidden=128, intermediate=256, layers=1, heads=2, kv_heads=1,
                                   vocab=64, positions=40, seed=1)


def test_numbers_and_picture(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, picture = tmp_path / "p.json", tmp_path / "p.svg"
    assert main(["profile", str(checkpoint), "--context", "20", "--prompt-tokens", "5", "--json", str(numbers),
                 "--plot", str(picture)]) == 0
    found = json.loads(numbers.read_text())
    decode, prefill, memory = found["decode"], found["prefill"], found["memory"]
    cycles = decode["cycles_per_token"]
    assert memory == {"name": "ideal", "sequential_bytes_per_cycle": CONFIG.stream_bytes}
    assert (found["preset"], found["design_hash"]) == ("tiny", CONFIG.design_hash)
    assert sum(found["stalls"].values()) + decode["busy_cycles"]["stream"] == cycles
    assert decode["stream_efficiency"] == decode["required_bytes"] / (CONFIG.stream_bytes * cycles) < 1
    assert prefill["cycles"] < prefill["first_token_cycles"] < 5 * cycles
    macs = 5 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256)
    assert prefill["array_utilization"] == macs / (40 * 2 * prefill["cycles"]) < 1
    assert found["sequences"]["count"] == 2
    assert found["sequences"]["speedup"] == 2 * cycles / found["sequences"]["cycles_per_pass"] > 1
    told = capsys.readouterr().out
    assert f"{cycles:,} clocks" in told
    assert "attention_waiting" in told
    assert picture.read_text().count("one token behind 20 positions") == 1


def test_numbers_on_stdout(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty cache, and one sequence: relative to itself."""
    assert main(["profile", str(checkpoint), "--context", "0", "--prompt-tokens", "1", "--sequences", "1",
                 "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sequences"]["speedup"] == 1
    assert found["decode"]["cycles_per_token"] == found["prefill"]["first_token_cycles"]


@pytest.mark.parametrize(("options", "sentence"), [
    (["--context", "40"], "--context must be 0 to 39, so that the token has one of the model's positions, not 40"),
    (["--prompt-tokens", "0"], "--prompt-tokens must be 1 to 40, the model's positions, not 0"),
    (["--sequences", "3"], "sequences must be 1 to 2, the columns of preset tiny, not 3"),
    (["--memory", "sram"], "there is no memory 'sram': use ideal, ddr3-x16, ddr4-2133, ddr4-2400, hbm, sdr-x16"),
    (["--plot", "p.pdf"], "--plot writes .svg or .png, not p.pdf: change the name of the file"),
])
def test_what_cannot_be_measured(
    options: list[str], sentence: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(checkpoint), *options]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
