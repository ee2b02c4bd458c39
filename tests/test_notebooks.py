"""The notebooks in examples/ run from the first cell to the last, and are committed without outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bitnet_fpga import Session

nbformat = pytest.importorskip("nbformat", reason="the extra test installs nbclient, which runs notebooks")
nbclient = pytest.importorskip("nbclient", reason="the extra test installs it")
pytest.importorskip("ipykernel", reason="the extra notebook installs it")
pytest.importorskip("ipywidgets", reason="the extra notebook installs it")
pytest.importorskip("matplotlib", reason="the extra plot installs it")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
CELL_S = 500
"""Seconds that a cell may take; the first one may build the simulator."""


def run(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each cell with code prints or shows, in a folder and with the sources of this clone."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    nbclient.NotebookClient(notebook, timeout=CELL_S, kernel_name="python3",
                            resources={"metadata": {"path": str(folder)}}).execute()
    return ["".join(str(output.get("text", output.get("data", ""))) for output in cell.outputs)
            for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_what_is_committed(path: Path) -> None:
    """Neither outputs nor what an editor has added."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_first_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "examples" / "first-tokens.ipynb", as_version=4)
    loaded, tokens, compared, clocks, picture = run(notebook, ROOT / "examples", monkeypatch)
    with Session(ROOT / "models" / "shakespeare-nano") as session:
        done = session.generate("ROMEO:", max_new_tokens=8)
        assert f"build {session.build():016x}" in loaded
    assert "application/vnd.jupyter.widget-view+json" in loaded  # the progress
    assert [line.split(" ")[0] for line in tokens.splitlines()[1:9]] == [str(token) for token in done.tokens]
    assert f"ROMEO:{done.text}" in tokens
    assert "logits are equal" in compared
    assert "attention_busy" in clocks
    assert "image/svg+xml" in picture
    assert "one token behind 13 positions" in picture
