"""`make full-token` on a small model: equal to golden, saved at every token boundary, and a difference is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.contract.config import PRESETS
from sim.golden.machine import GoldenMachine
from sim.links.simulated import SimulatedLink
from sw.errors import VerificationError
from sw.requests import Request
from tools import full_token

CONFIG = PRESETS["tiny"]
FIELDS = {"hidden": 128, "intermediate": 256, "layers": 2, "heads": 2, "kv_heads": 1, "vocab": 64, "positions": 40,
          "seed": 1}
ARGUMENTS = {"fields": FIELDS, "prompt_tokens": 3, "new_tokens": 2}
STEPS = ["prompt, positions 0 to 1", "prompt, positions 2 to 2", "new token at position 3", "token at position 39"]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Request] = []
    whole = SimulatedLink.run

    def counted(link: SimulatedLink, request: Request) -> Any:
        runs.append(request)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return whole(link, request)

    monkeypatch.setattr(SimulatedLink, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        full_token.run(CONFIG, "ideal", tmp_path, **ARGUMENTS)
    found = full_token.run(CONFIG, "ideal", tmp_path, **ARGUMENTS)
    assert [one["step"] for one in found["steps"]] == STEPS
    assert len(runs) == 5
    assert found["logits_equal"] == 3 * 64
    assert [len(one["tokens"]) for one in found["steps"]] == [0, 1, 1, 1]
    states = sorted(tmp_path.glob("*/kv-*.npy"))
    assert [state.name for state in states] == ["kv-2.npy", "kv-3.npy"]
    assert all(np.load(state).any() for state in states)
    at_once = full_token.run(CONFIG, "ideal", tmp_path / "other", **ARGUMENTS)
    assert [one["logits_sha256"] for one in at_once["steps"]] == [one["logits_sha256"] for one in found["steps"]]
    made = dict.fromkeys(("date", "commit", "machine"))
    assert "| token at position 39 |" in full_token.markdown(json.loads(json.dumps({"made": made, **found})))


@pytest.mark.parametrize(("of", "sentence"), [("head", "logits differ"), ("attend", "of the KV memory differ")])
def test_a_difference_is_found(of: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a logit, and of a byte of the KV memory in a chunk without logits."""
    if of == "head":
        whole = GoldenMachine.lm_head
        monkeypatch.setattr(GoldenMachine, "lm_head", lambda self, *rest: whole(self, *rest) * 2)
    else:
        attend = GoldenMachine.attend

        def wrong(self: GoldenMachine, *rest: Any) -> None:
            attend(self, *rest)
            self.kv.reshape(-1)[-1] += 1

        monkeypatch.setattr(GoldenMachine, "attend", wrong)
    with pytest.raises(VerificationError, match=sentence):
        full_token.run(CONFIG, "ideal", tmp_path, **ARGUMENTS)
