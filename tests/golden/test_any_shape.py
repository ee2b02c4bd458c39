"""Any model on any configuration: refused in one sentence before anything is written, or the golden machine runs it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hw.contract.config import AccelConfig, ConfigError
from sim.golden.machine import GoldenMachine
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.head_padding import padded_head
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.configs import configs


@st.composite
def models(draw: st.DrawFn) -> dict[str, int]:
    """Sizes of a small model; rows of its matrices come in fours, as they are stored."""
    kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    head_dim = 4 * draw(st.sampled_from((1, 2, 3, 4, 8, 8, 16)))
    return {
        "kv_heads": kv_heads, "heads": kv_heads * group, "hidden": kv_heads * group * head_dim,
        "intermediate": 4 * draw(st.integers(1, 40)), "layers": draw(st.integers(1, 2)),
        "vocab": draw(st.integers(2, 60)), "positions": draw(st.integers(1, 40)), "seed": draw(st.integers(0, 9)),
    }


TOO_SMALL = ("max_hidden", "max_intermediate", "max_vocab")
"""Fields of which one is a step below what the model needs where it shall be refused; drawn sizes rarely are."""


def configured(config: AccelConfig, model: dict[str, int], too_small: str | None) -> AccelConfig:
    """The configuration with maxima that the model stays below, but for one; its FFN size may still be no whole
    words."""
    head_dim = model["hidden"] // model["heads"]
    width = model["heads"] * padded_head(head_dim)
    needs = {"max_hidden": max(model["hidden"], width), "max_intermediate": model["intermediate"],
             "max_vocab": model["vocab"], "max_head_dim": padded_head(head_dim),
             "max_group": model["heads"] // model["kv_heads"], "max_positions": model["positions"]}
    large = {name: max(getattr(config, name), most) for name, most in needs.items()}
    return config.replace(**large | ({too_small: needs[too_small] - 1} if too_small else {}))


def refused(model: dict[str, int], config: AccelConfig) -> bool:
    """Whether packing refused the model; else it ran."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        write_random_checkpoint(Path(folder, "model"), **model)
        try:
            pack(Checkpoint.open(Path(folder, "model")), path, config)
        except ConfigError:
            assert not path.exists()
            return True
        image = ModelImage.open(path, config)
        image.verify()
        positions = range(min(config.columns, model["positions"]))
        tokens = [n % model["vocab"] for n in positions]
        logits = GoldenMachine(image).run_pass(tokens, positions, [0] * len(tokens), [True] * len(tokens))
        assert all(row is not None and row.shape == (model["vocab"],) and np.isfinite(row).all() for row in logits)
        return False


def test_refused_or_run() -> None:
    counts = {True: 0, False: 0}

    @settings(max_examples=100, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(models(), configs(largest=600), st.sampled_from((None, None, None, *TOO_SMALL)))
    def each(model: dict[str, int], config: AccelConfig, too_small: str | None) -> None:
        found = refused(model, configured(config, model, too_small))
        assert found or not too_small
        counts[found] += 1

    each()
    assert min(counts.values()) >= 20, f"refused or not: {counts}"
