"""A type checker that sees only what is installed knows the types of the public API, in its strict mode."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bitnet_fpga", "hw", "sw", "sim", "boards")
SCRIPT = """
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from bitnet_fpga import (
    AccelConfig, Completion, Job, JobError, Piece, RunStats, Sampling, Score, Session, SessionClosedError, Stream,
    preset)

with Session(Path("model"), backend="sim", preset=preset("tiny"), sequences=2, progress=True) as session:
    assert_type(session, Session)
    assert_type(session.config, AccelConfig)
    done = session.generate("a", max_new_tokens=3, sampling=Sampling(temperature=0.5, seed=1), logits=True)
    assert_type(done, Completion)
    assert_type(done.tokens, tuple[int, ...])
    assert_type(done.text, str | None)
    assert_type(done.logits, NDArray[np.float32] | None)
    stream = session.stream([1, 2])
    assert_type(stream, Stream)
    for piece in stream:
        assert_type(piece, Piece)
        assert_type(piece.text, str)
    assert_type(stream.result, Completion)
    score = session.score("a text")
    assert_type(score, Score)
    assert_type(score.logits, NDArray[np.float32])
    assert_type(score.log_probabilities, NDArray[np.float64])
    assert_type(score.perplexity, float)
    assert_type(session.job("a"), Job)
    assert_type(session.batch(["a", [1], session.job("b")]), Iterator[tuple[int, Completion]])
    assert_type(session.stats, RunStats | None)
    assert_type(session.build(), int)
    session.load(lambda done, total: print(done, total))


async def read(session: Session) -> str:
    text = ""
    try:
        async with session.stream("a") as stream:
            async for piece in stream:
                assert_type(piece, Piece)
                text += piece.text
    except (JobError, SessionClosedError) as error:
        return str(error)
    return text
"""
WRONG = """
from bitnet_fpga import Session

Session("model", backend=3)
Session("model").generate("a", max_tokens=3)
Session("model").score("a").perplexity.upper()
"""


def check(script: str, folder: Path) -> list[str]:
    """The rules that a script breaks, or the messages where there is none. Its environment has the packages as pip
    installs them, and what they depend on."""
    site = folder / "env" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    for name in PACKAGES:
        (site / name).symlink_to(ROOT / name)
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "script.py").write_text(script)
    (folder / "pyrightconfig.json").write_text(json.dumps({
        "include": ["script.py"], "typeCheckingMode": "strict", "venvPath": ".", "venv": "env",
        "pythonVersion": "3.11"}))
    run = subprocess.run([sys.executable, "-m", "pyright", "--outputjson"], cwd=folder, capture_output=True, text=True,
                         check=False, timeout=300)
    return [found.get("rule") or found["message"] for found in json.loads(run.stdout)["generalDiagnostics"]]


@pytest.mark.parametrize(("script", "rules"), [
    (SCRIPT, []),
    (WRONG, ["reportArgumentType", "reportCallIssue", "reportUnknownMemberType", "reportAttributeAccessIssue"]),
], ids=["right", "wrong"])
def test_a_script_of_a_user(script: str, rules: list[str], tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    found = check(script, tmp_path)
    assert found == rules
