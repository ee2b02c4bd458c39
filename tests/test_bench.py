"""`make bench` on a small model: what is projected from one and two layers is what a run of the whole model takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from sim.profile.required import required_bytes
from sim.profile.runs import opened, run, token_at, tokens_at
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.model_shape import ModelShape
from sw.pack import pack
from tools import bench
from tools.readme_table import performance_rows, projected_speeds

CONFIG = PRESETS["tiny"]
MODEL = ModelShape(hidden=128, intermediate=256, layers=4, heads=2, kv_heads=1, head_dim=64, vocab=384, context=64,
                   sequences=1)
CACHED = 20


def measured(folder: Path) -> tuple[ModelImage, int, int]:
    """The whole model, and the clocks of a token, and of one of each of two sequences."""
    write_random_checkpoint(folder / "whole", hidden=128, intermediate=256, layers=4, heads=2, kv_heads=1, vocab=384,
                            positions=64, seed=1)
    pack(Checkpoint.open(folder / "whole"), folder / "whole.img", CONFIG, sequences=2)
    image = ModelImage.open(folder / "whole.img", CONFIG)
    with opened(image, "ideal", CACHED) as link:
        one, two = (run(link, what).cycles for what in (token_at(image.plan, CACHED), tokens_at(image.plan, CACHED, 2)))
        return image, one, two


def test_projection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SAVED", tmp_path)
    monkeypatch.setattr(bench, "SMALL_VOCABULARY", 96)
    demo = {"command": "bitnet-fpga generate", "stats": {"cycles_per_token": 40000.5}}
    monkeypatch.setattr(bench, "statistics", lambda options, folder: demo)
    monkeypatch.setattr(bench, "PIECE", 8)
    monkeypatch.setattr(bench, "SAMPLED", 2)
    result = bench.Bench(CONFIG, "ideal", tmp_path, MODEL).result([CACHED], [3, 32], [2, 4])
    decode, prefill = result["decode"][str(CACHED)], result["prefill"]["3"]
    whole = result["prefill"]["32"]["layer_cycles"]
    monkeypatch.setattr(bench, "WHOLE_PROMPT", 16)
    estimated = bench.Bench(CONFIG, "ideal", tmp_path, MODEL).prefill(32)
    assert [*estimated["cycles_by_first_position"]] == [0, 16, 24]
    assert estimated["layer_cycles"] == pytest.approx(whole, rel=0.01)
    image, cycles, together = measured(tmp_path)
    projection = decode["projection"]
    assert projection["required_bytes"] == required_bytes(image.plan, CACHED)
    assert projection["cycles_per_token"] == pytest.approx(cycles, abs=100)
    assert [*result["batch"]] == ["2"]
    batch = result["batch"]["2"]["projection"]
    assert batch["cycles_per_pass"] == pytest.approx(together, abs=100)
    assert batch["speedup"] == 2 * projection["cycles_per_token"] / batch["cycles_per_pass"]
    assert projection["stream_efficiency"] == pytest.approx(
        projection["required_bytes"] / (CONFIG.stream_bytes * projection["cycles_per_token"]), rel=1e-4)
    assert 0 < decode["attend_cycles_per_layer"] < decode["layer_cycles"]
    assert prefill["layer_macs"] == 3 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256)
    assert prefill["array_utilization"] == prefill["layer_macs"] / (40 * 2 * prefill["layer_cycles"]) < 1
    attend, norms = result["attend"], result["norm_cycles_per_layer"]
    assert attend["cycles_per_position_and_layer"] * CACHED == pytest.approx(
        decode["attend_cycles_per_layer"] - attend["cycles_at_one_position"])
    assert norms["decode"] < norms["chunk"] < decode["layer_cycles"]
    assert set(performance_rows(result)) >= {"demo model: clocks per position", "array utilization, prompt of 3"}
    assert f"{batch['speedup']:.2f}" in performance_rows(result).values()
    again = bench.Bench(CONFIG, "ideal", tmp_path / "nothing is made there", MODEL)
    assert again.result([CACHED], [3], [2]) == {
        **result, "prefill": {"3": prefill}, "runs": {k: v for k, v in result["runs"].items() if "32" not in k},
        "simulated_cycles_per_second": again.result([CACHED], [3], [2])["simulated_cycles_per_second"]}


def test_split_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of the whole vocabulary is run, full and split; what a token saves is the difference."""
    monkeypatch.setattr(bench, "SAVED", tmp_path)
    config = CONFIG.replace(candidates=256)
    decode = {"20": {"projection": {"cycles_per_token": 100_000, "lm_head_cycles": 1}}}
    found = bench.Bench(config, "ideal", tmp_path, MODEL).split_head(decode)
    full, split = found["full"], found["split"]
    assert full["rows_listed"] == full["rows_rescored"] == split["heads_repeated"] == 0
    assert 384 >= split["rows_listed"] >= split["rows_rescored"] > 0
    tokens_s = projected_speeds({"decode": decode, "split_head": found, "prefill": {}}, 1.0)
    assert tokens_s == [("20", f"{1e6 / found['projection']['20']['cycles_per_token']:.1f}", "")]
    assert found["projection"]["20"]["cycles_per_token"] == 100_000 - full["lm_head_cycles"] + split["lm_head_cycles"]
