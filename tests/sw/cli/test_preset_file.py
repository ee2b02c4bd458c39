"""`--preset FILE` of the commands, and of a session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw.contract.config import AccelConfig
from sw.__main__ import main
from sw.session import Session

DEMO = Path("models/shakespeare-nano")


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "wide head.toml"
    path.write_text('base = "tiny"\nquery_rows = 2\nmax_vocab = 512\n')
    return str(path)


CONFIG = AccelConfig(name="wide head", query_rows=2, max_vocab=512, shortlist=64)


def test_pack_generate_and_inspect(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(tmp_path / "image")
    assert main(["pack", str(DEMO), "-o", image, "--preset", file, "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert (packed["preset"], packed["build_id"]) == (CONFIG.name, f"{CONFIG.build_id:016x}")
    run = ["generate", str(DEMO), "--prompt", "ROMEO:", "--max-new-tokens", "2", "--image", image]
    assert main([*run, "--preset", file]) == 0
    assert main(run) == 2
    assert f"was packed for preset {CONFIG.name} (build {CONFIG.build_id:016x})" in capsys.readouterr().err
    assert main(["inspect", image]) == 2
    assert "name its TOML file with --preset" in capsys.readouterr().err
    assert main(["inspect", image, "--preset", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["preset"] == CONFIG.name
    assert main(["inspect", image, "--preset", "medium"]) == 2
    assert "not for medium" in capsys.readouterr().err


def test_session(file: str) -> None:
    with Session(DEMO, preset=Path(file)) as mine, Session(DEMO) as tiny:
        assert mine.config == CONFIG
        assert mine.generate("A", max_new_tokens=2) == tiny.generate("A", max_new_tokens=2)


def test_errors_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text("cols = 2")
    for command in (["verilog"], ["pack", str(DEMO), "-o", str(tmp_path / "i")], ["profile", str(DEMO)],
                    ["generate", str(DEMO), "--prompt", "A"]):
        assert main([*command, "--preset", str(path)]) == 2
        assert capsys.readouterr().err == f"error: {path}: there is no field 'cols': the nearest is columns\n"
