"""`bitnet-fpga serve` as a process: what it refuses, and how it ends."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx
import pytest

from sw.__main__ import main
from tests.serving import DEMO as FOLDER
from tests.serving import serving

DEMO = str(FOLDER)
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("options", "sentence"), [
    (["--host", "0.0.0.0"], "also give --api-key-file"), (["--slots", "0"], "--slots must be at least 1"),
    (["--queue", "-1"], "--queue must not be negative"), (["--cors-origin", "*"], "must name an origin"),
    (["--port", "70000"], "--port must be 0 to 65535, not 70000"), (["--api-key-file", "KEY"], "must hold a key"),
    (["--host", "nowhere.invalid", "--api-key-file", "WORD"], "cannot listen at nowhere.invalid, port 8080"),
    (["--time-limit", "0"], "--time-limit must be above 0"),
])
def test_refused(
    options: list[str], sentence: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BITNET_FPGA_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "KEY").write_text("two words\n")
    (tmp_path / "WORD").write_text("word\n")
    assert main(["serve", DEMO, *options]) == 2
    assert sentence in capsys.readouterr().err


def read(url: str, most: int, on_first: threading.Event | None = None) -> str:
    """A stream of a long answer, as text."""
    text = ""
    with httpx.stream("POST", url + "/v1/completions", timeout=60,
                      json={"prompt": "ROMEO:", "max_tokens": most, "stream": True}) as answer:
        for piece in answer.iter_text():
            text += piece
            if on_first is not None:
                on_first.set()
    return text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_restart_while_streams_run(number: signal.Signals, tmp_path: Path) -> None:
    """A signal ends them with an event, and the server with exit code 0; nothing of prompts and answers is in what it
    printed. A new one at the same port answers."""
    with serving(tmp_path) as server:
        begun, texts = threading.Event(), list[str]()
        threads = [threading.Thread(target=lambda: texts.append(read(server.url, 250, begun))) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert begun.wait(30)
        port = server.url.rpartition(":")[2]
        assert server.end(number) == 0
        for thread in threads:
            thread.join(30)
    assert len(texts) == 3
    for text in texts:
        assert '"code": "closing"' in text
        assert text.endswith("data: [DONE]\n\n")
    printed = "".join(server.said)
    assert "ROMEO" not in printed
    assert "Traceback" not in printed
    with serving(tmp_path, "--port", port) as server:
        assert '"finish_reason": "length"' in read(server.url, 2)
        assert server.end() == 0
