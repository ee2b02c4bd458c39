# amaranth: UnusedElaboratable=no
"""The Verilog that is handed out in tools that are not ours: Icarus, Verilator's lint, Yosys. One test per preset does
it all, because the text of the largest takes longer to make than to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from hw.verilog import VerilogModule
from hw.yosys import run_yosys
from sim.lint import LANGUAGES as LINTED
from sim.lint import lint
from tests.other_tools.hashes import digest, known, released
from tests.other_tools.icarus import LANGUAGES, needs_icarus, said_after_reset

READ_S = {"tiny": 60, "medium": 60}
"""Seconds of processor time in which Yosys has to read a preset. These are linted as well; in the others, which differ
in sizes, that takes too long for what it can find."""


def read_by_yosys(module: VerilogModule, folder: Path) -> float:
    """Seconds of processor time. Raises ToolError for what `check` finds: loops, several drivers or none."""
    script = f"read_verilog module.v; hierarchy -check -top {module.name}; proc; check -assert"
    before = os.times().children_user
    run_yosys(script, folder)
    return os.times().children_user - before


@needs_icarus
@pytest.mark.parametrize("preset", [
    name if name == "tiny" else pytest.param(name, marks=pytest.mark.long) for name in PRESETS
])
def test_released_verilog(preset: str, tmp_path: Path) -> None:
    """The known bytes; no X on any output after a reset, in both languages; no warning; read by Yosys in time."""
    module = released(preset)
    assert digest(module) == known()[preset], (
        "the Verilog has changed: if that was meant, `make verilog-hashes` says so; if not, the version of Python or a "
        "hash seed went into it")
    for language in LANGUAGES:
        assert said_after_reset(module, language, tmp_path) == ["watched"]
    if preset in READ_S:
        file = tmp_path / "accelerator.v"
        file.write_text(module.text)
        assert [lint(file, language) for language in LINTED] == ["", ""]
        assert read_by_yosys(module, tmp_path) < READ_S[preset]


def test_every_preset_has_a_hash() -> None:
    assert list(known()) == list(PRESETS)
