"""The command line: output, exit codes, one sentence per error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hw.contract.config import ConfigError
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import CheckpointError
from sw.errors import HardwareError, VerificationError

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "models" / "shakespeare-nano")


def test_inspect_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", DEMO]) == 0
    captured = capsys.readouterr()
    assert "4. BitLinear layers" in captured.out
    assert not captured.err


def test_inspect_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", DEMO, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["configuration"]["num_hidden_layers"] == 4


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "inspect" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", DEMO, "--no-such"], ["no-such"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_bad_checkpoint_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckpointError("x"), 2),
        (ConfigError("x"), 2),
        (FileNotFoundError("x"), 2),
        (HardwareError("x"), 3),
        (VerificationError("x"), 4),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 1),
        (ModuleNotFoundError("x", name="sw.gone"), 1),
        (ImportError("x"), 1),
        (ModuleNotFoundError("x", name="platformdirs"), 2),
        (ModuleNotFoundError("x", name="serial"), 2),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("sw.inspect.describe", fail)
    assert main(["inspect", DEMO]) == code
    assert ("Traceback" in capsys.readouterr().err) == (code == 1)


def test_module_runs(tmp_path: Path) -> None:
    folder = write_random_checkpoint(
        tmp_path, hidden=16, intermediate=24, layers=1, heads=2, kv_heads=1, vocab=12, positions=8, seed=1
    )
    result = subprocess.run(
        [sys.executable, "-m", "sw", "inspect", str(folder), "--json"], cwd=ROOT, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["configuration"]["vocab_size"] == 12
