"""A cache of their own for tests of what is kept in it."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from hw.tool import CACHE_VARIABLE


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder; but Yosys, which takes long to compile, is kept where it is."""
    monkeypatch.setenv("YOWASP_CACHE_DIR", os.environ.get("YOWASP_CACHE_DIR") or platformdirs.user_cache_dir("YoWASP"))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"
