"""The chat page in Debian's Chromium."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Server, clients, serving

PROGRAM = Path(__file__).with_name("page_in_browser.py")
KEY = "word"
"""As in PROGRAM."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


def check(name: str, server: Server, pictures: Path) -> None:
    if not shutil.which("chromedriver"):
        pytest.skip("there is no browser: apt-get install chromium chromium-driver")
    run = subprocess.run([clients(), PROGRAM, name, server.url, pictures], capture_output=True, text=True, check=False,
                         timeout=400)
    assert not run.returncode, run.stderr[-4000:]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["talks", "markdown", "sizes_and_colours", "keyboard", "errors"])
def test_page(name: str, server: Server, tmp_path: Path) -> None:
    check(name, server, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    with serving(tmp_path, "--api-key-file", str(tmp_path / "key")) as server:
        check("key", server, tmp_path)
