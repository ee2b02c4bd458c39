"""Folders that are written completely or not at all."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from sw.whole_file import OutputError
from sw.whole_folder import whole_folder


def ours(name: str) -> bool:
    return name == "file"


def written(path: Path, text: str = "new", force: bool = False) -> None:
    with whole_folder(path, force, ours) as folder:
        (folder / "file").write_text(text)


def test_it_is_there_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with whole_folder(path, False, ours) as folder:
        (folder / "file").write_text("x")
        assert not path.exists()
    assert (path / "file").read_text() == "x"
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    written(tmp_path / "a")
    assert (tmp_path / "a" / "file").read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    written(tmp_path / "a", "old")

    def fail() -> None:
        with whole_folder(tmp_path / "a", True, ours) as folder:
            (folder / "file").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "a" / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_an_error_of_the_system_names_the_folder(tmp_path: Path) -> None:
    with (pytest.raises(OutputError, match=r"cannot write .*/a: No space left on device"),
          whole_folder(tmp_path / "a", False, ours)):
        raise OSError(28, os.strerror(28))


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial" / "file").write_text("half")
    written(tmp_path / "a")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_folder_of_that_name_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial" / "mine").touch()
    with pytest.raises(OutputError, match=r"a\.partial: it holds 'mine'"):
        written(tmp_path / "a")
    assert (tmp_path / "a.partial" / "mine").exists()


def test_another_writer(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial" / "file").write_text("its")
    held = os.open(tmp_path / "a.partial", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(OutputError, match="another process is writing it"):
        written(tmp_path / "a")
    os.close(held)
    assert (tmp_path / "a.partial" / "file").read_text() == "its"


@pytest.mark.parametrize("name, told", [("file", "it is a file"), ("file/a", "Not a directory"), ("\0", "null")])
def test_names_that_cannot_be(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=told):
        written(tmp_path / name)


def test_force_needs_own_files(tmp_path: Path) -> None:
    written(tmp_path / "a", "old")
    with pytest.raises(OutputError, match="replace it with --force"):
        written(tmp_path / "a")
    (tmp_path / "a" / "sub").mkdir()
    with pytest.raises(OutputError, match="it holds 'sub'"):
        written(tmp_path / "a", force=True)
    (tmp_path / "a" / "sub").rmdir()
    written(tmp_path / "a", force=True)
    assert (tmp_path / "a" / "file").read_text() == "new"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    written(tmp_path / "link")
    assert (tmp_path / "there" / "file").read_text() == "new"
