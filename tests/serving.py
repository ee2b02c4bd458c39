"""A server of the demo model as a process, and the programs in an environment of their own that talk to it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["DEMO", "Server", "clients", "serving"]

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "models" / "shakespeare-nano"
TEMPLATE = """{% for message in messages %}{{ message.role | upper }}:
{{ message.content }}

{% endfor %}ROMEO:
"""
END_S = 60


@dataclass
class Server:
    """A process of `bitnet-fpga serve`. `said` is what it printed, line by line."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        """Read what it prints until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("ready"):
                self.ready.set()
        self.ready.set()

    @property
    def url(self) -> str:
        """Where it listens."""
        found = re.search(r"http://\S+:\d+", self.said[0])
        assert found, self.said
        return found[0]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(END_S)


@contextmanager
def serving(folder: Path, *options: str, model: Path = DEMO, wait_s: float = 120) -> Iterator[Server]:
    """A server that is ready. `folder` is for its chat template."""
    template = folder / "template.jinja"
    template.write_text(TEMPLATE)
    command = [sys.executable, "-m", "sw", "serve", str(model), "--chat-template", str(template)]
    process = subprocess.Popen([*command, *(() if "--port" in options else ("--port", "0")), *options], cwd=ROOT,
                               stderr=subprocess.PIPE, text=True)
    server = Server(process)
    reader = threading.Thread(target=server.read)
    reader.start()
    try:
        assert server.ready.wait(wait_s), server.said
        assert process.poll() is None, server.said
        yield server
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def clients() -> Path:
    """The Python of the environment with the clients. Skips the test if there is none."""
    python = ROOT / "build" / "clients" / "bin" / "python"
    if not python.exists():
        pytest.skip("the clients are not installed: make build/clients/.ready")
    return python
