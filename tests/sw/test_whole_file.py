"""Output files: whole or not there, whatever happens while they are written; paths that cannot be written."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import PRESETS, AccelConfig
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.errors import ImageError
from sw.image import ModelImage
from sw.pack import pack
from sw.whole_file import OutputError, whole_file

TINY = PRESETS["tiny"]
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(
        tmp_path_factory.mktemp("small"), hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1, vocab=40,
        positions=24, seed=1,
    )


@pytest.fixture(scope="module")
def good(small: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "image"
    pack(Checkpoint.open(small), path, TINY)
    return path.read_bytes()


# ---- the file ----
def test_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with whole_file(path) as file:
        file.write(b"new")
        assert [p.suffix for p in tmp_path.iterdir()] == [".partial"]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def fill(file: BinaryIO, error: type[BaseException]) -> None:
    file.write(b"new")
    raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError, GeneratorExit])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(error), whole_file(tmp_path / "f") as file:
        fill(file, error)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a/f")
    for text in (b"first", b"second"):
        with whole_file(tmp_path / "link") as file:
            file.write(text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "a" / "f").read_bytes() == text
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "f"]


def test_a_name_as_long_as_can_be(tmp_path: Path) -> None:
    with whole_file(tmp_path / ("ä" * 127)) as file:
        file.write(b"x")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"x"]


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "f").write_bytes(b"input")
    (tmp_path / "other").hardlink_to(tmp_path / "f")
    for path, match in (
        (tmp_path, "it is a folder"),
        (tmp_path / "none" / "f", "none is not a folder"),
        (tmp_path / "f" / "g", "f is not a folder"),
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        (Path("/proc/image"), "cannot write /proc/image: "),
        (tmp_path / "loop", "a symbolic link that points to itself"),
        (tmp_path / ("x" * 256), "File name too long"),
        (tmp_path / "a\0b", "null"),
        (tmp_path / "f", "same file as .*f, which is read"),
        (tmp_path / "other", "same file as .*f, which is read"),
    ):
        with pytest.raises(OutputError, match=match) as caught:
            with whole_file(path, [tmp_path / "not there", tmp_path / "f"]):
                pytest.fail("the block runs")
        assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "loop", "other", "pipe"]


def test_read_only_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # permissions do not bind an administrator
    with pytest.raises(OutputError, match="read-only"):
        with whole_file(tmp_path / "f"):
            pytest.fail("the block runs")


# ---- a full disk ----
def failing(number: int) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_disk_full_at_the_end(
    call: str, small: Path, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "i").write_bytes(good)
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    assert main(["pack", str(small), "-o", str(tmp_path / "i")]) == 2
    assert capsys.readouterr().err == f"error: cannot write {tmp_path / 'i'}: No space left on device\n"
    assert (tmp_path / "i").read_bytes() == good
    assert list(tmp_path.iterdir()) == [tmp_path / "i"]


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the kernel refuses the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["image", "mem"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_disk_full_while_packing(
    form: str, part: float, small: Path, good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "i"
    path.write_bytes(b"old")
    size = len(good) if form == "image" else len(good) // 8 * 17
    with file_limit(int(part * size)):
        assert main(["pack", str(small), "-o", str(path), "--format", form]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write ")
    assert error.endswith("File too large\n")
    assert error.count("\n") == 1
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# ---- interrupts ----
class Interrupt:
    """Raises KeyboardInterrupt before the nth line that is executed in sw/, as a signal may."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(str(ROOT / "sw")):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self

    def __enter__(self) -> Interrupt:
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an input that is closed by itself
def test_interrupted_before_any_line(small: Path, good: bytes, tmp_path: Path) -> None:
    """The image is the old one or, after the very last step, the new one; never anything else beside it."""
    checkpoint, path = Checkpoint.open(small), tmp_path / "i"
    path.write_bytes(b"old")
    with Interrupt(0) as count:
        pack(checkpoint, path, TINY)
    lines = -count.left
    assert lines > 500
    path.write_bytes(b"old")
    seen = set()
    for at in sorted({*range(1, 60), *range(60, lines - 60, lines // 50), *range(lines - 60, lines + 1)}):
        with pytest.raises(KeyboardInterrupt):
            with Interrupt(at):
                pack(checkpoint, path, TINY)
        assert list(tmp_path.iterdir()) == [path], at
        seen.add(path.read_bytes())
    assert seen == {b"old", good}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that takes some tenths of a second to pack."""
    return write_random_checkpoint(
        tmp_path_factory.mktemp("slow"), hidden=1280, intermediate=1920, layers=2, heads=10, kv_heads=10, vocab=8000,
        positions=64, seed=1,
    )


@contextmanager
def packing(checkpoint: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that packs, caught while it writes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sw", "pack", str(checkpoint), "-o", str(out / "i")], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        while process.poll() is None and not list(out.glob("*.partial")):
            time.sleep(0.002)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_while_packing(number: signal.Signals, slow: Path, tmp_path: Path) -> None:
    """At random moments: exit code 128 + the signal's number, one word, nothing left."""
    chance, codes = random.Random(1), []
    for _ in range(3):
        with packing(slow, tmp_path) as process:
            time.sleep(chance.random() * 0.1)
            process.send_signal(number)
            error = process.communicate(timeout=60)[1]
        codes.append(process.returncode)
        if process.returncode:
            assert (process.returncode, error) == (128 + number, "interrupted\n")
        assert {p.name for p in tmp_path.iterdir()} <= {"i"}
        if (tmp_path / "i").exists():
            ModelImage.open(tmp_path / "i", TINY).verify()
    assert 128 + number in codes


def test_killed_while_packing(slow: Path, tmp_path: Path) -> None:
    """What a kill leaves is called .partial, is no image, and is gone after the next packing."""
    path = tmp_path / "i"
    path.write_bytes(b"old")
    other = tmp_path / "j.01234567.partial"
    with packing(slow, tmp_path) as process:
        other.write_bytes(b"of another file")
        time.sleep(0.05)
        process.kill()
        process.wait(timeout=60)
        assert process.returncode == -signal.SIGKILL
    (left,) = set(tmp_path.iterdir()) - {path, other}
    assert left.suffix == ".partial"
    assert path.read_bytes() == b"old"
    with pytest.raises(ImageError):
        ModelImage.open(left, TINY)
    pack(Checkpoint.open(slow), path, TINY)
    assert set(tmp_path.iterdir()) == {path, other}
    ModelImage.open(path, TINY).verify()


def test_two_packs_at_once(small: Path, good: bytes, tmp_path: Path) -> None:
    """To the same path, each in the middle of the other."""
    paths = [tmp_path / "i"] * 8
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: pack(Checkpoint.open(small), path, TINY), paths))
    assert (tmp_path / "i").read_bytes() == good
    assert list(tmp_path.iterdir()) == [tmp_path / "i"]


def test_pack_inside_a_pack(small: Path, good: bytes, tmp_path: Path) -> None:
    """The second begins and ends while the first is half done; both images are whole."""
    path, states = tmp_path / "i", []

    def progress(part: str, _: int) -> None:
        if part == "embed" and not states:
            pack(Checkpoint.open(small), path, TINY)
            states.append(path.read_bytes())

    pack(Checkpoint.open(small), path, TINY, progress=progress)
    assert states == [good]
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


# ---- the commands ----
@pytest.mark.parametrize("form", ["image", "mem"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_output_is_the_input(
    name: str, form: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (small / name).read_bytes()
    (tmp_path / "link").symlink_to(small / name)
    for path in (small / name, tmp_path / "link", small / ".." / small.name / name):
        assert main(["pack", str(small), "-o", str(path), "--format", form]) == 2
        assert "which is read" in capsys.readouterr().err
        assert (small / name).read_bytes() == before
    assert sorted(p.name for p in small.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("form", ["image", "mem"])
def test_output_is_found_impossible_before_the_work(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sw.pack._layers", lambda *_: pytest.fail("packing has begun"))
    assert main(["pack", str(DEMO), "-o", str(tmp_path / "none" / "i"), "--format", form]) == 2
    assert "none is not a folder" in capsys.readouterr().err


class Wires(wiring.Component):
    """In place of an accelerator, whose Verilog takes half a minute."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i)
        return m


def test_verilog_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files, or what was there before; found impossible before the work."""
    monkeypatch.setattr("hw.accelerator.Accelerator", Wires)
    folder = tmp_path / "new" / "folder"
    assert main(["verilog", "-o", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == (folder / "accelerator.v").stat().st_size
    assert "endmodule" in (folder / "accelerator.v").read_text()
    assert json.loads((folder / "accelerator.json").read_text())["name"] == "accelerator"
    for path in folder.iterdir():
        path.write_text("old")
    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(errno.ENOSPC))
            assert main(["verilog", "-o", str(folder)]) == 2
        last = folder / "NOTICE-bitnet-fpga.txt"
        assert capsys.readouterr().err == f"error: cannot write {last}: No space left on device\n"
    monkeypatch.setattr("hw.accelerator.Accelerator", lambda _: pytest.fail("the work has begun"))
    (tmp_path / "f").write_bytes(b"")
    assert main(["verilog", "-o", str(tmp_path / "f")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (folder / "accelerator.json").unlink()
    (folder / "accelerator.json").mkdir()
    assert main(["verilog", "-o", str(folder)]) == 2
    assert "it is a folder" in capsys.readouterr().err
    assert sorted(p.name for p in folder.iterdir()) == ["NOTICE-bitnet-fpga.txt", "accelerator.json", "accelerator.v"]
    assert (folder / "accelerator.v").read_text() == "old"


@pytest.mark.parametrize("option", ["--logits", "--stats"])
def test_results_are_found_impossible_before_the_run(
    option: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sw.session.open_link", lambda *_, **__: pytest.fail("the run has begun"))
    arguments = ["generate", str(small), "--prompt-ids", "1,2", "--max-new-tokens", "1", "--backend", "sim"]
    image = tmp_path / "i"
    pack(Checkpoint.open(small), image, TINY)
    for path in (tmp_path, tmp_path / "none" / "f", Path("/proc/f"), small / "config.json", image, Path("/dev/full")):
        assert main([*arguments, option, str(path), "--image", str(image)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: cannot write {path}: ")
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [image]


def test_two_results_in_one_file(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sw.session.open_link", lambda *_, **__: pytest.fail("the run has begun"))
    (tmp_path / "link").symlink_to("f")
    assert main(["generate", str(small), "--prompt-ids", "1", "--backend", "sim",
                 "--logits", str(tmp_path / "f"), "--stats", str(tmp_path / "link")]) == 2
    assert "--logits and --stats are the same file" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["link"]


def test_a_run_that_fails_leaves_no_result(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(small), "--prompt-ids", "1,99", "--logits", str(tmp_path / "l")]) == 2
    assert "outside the vocabulary" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
