"""Clients that others wrote, against `bitnet-fpga serve`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Server, clients, serving

ROOT = Path(__file__).parents[2]
MODEL = "shakespeare-nano"
PROGRAM = Path(__file__).with_name("clients_of_server.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), "--docs") as server:
        yield server


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["openai", "langchain", "llm", "schemathesis"])
def test_client(name: str, server: Server, tmp_path: Path) -> None:
    run = subprocess.run([clients(), PROGRAM, name, server.url, tmp_path], capture_output=True, text=True, check=False,
                         timeout=1700)
    assert not run.returncode, run.stdout[-4000:] + run.stderr[-4000:]
    assert server.process.poll() is None
    assert "Traceback" not in "".join(server.said)


def documented(server: Server, kind: str) -> list[str]:
    """The blocks of docs/server.md of a kind, for this server."""
    text = (ROOT / "docs" / "server.md").read_text().replace("http://127.0.0.1:8080", server.url).replace("NAME", MODEL)
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.M | re.S)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_is_documented(server: Server, tmp_path: Path) -> None:
    programs = [*([clients(), "-c", one] for one in documented(server, "python")),
                *(["sh", "-c", one] for one in documented(server, "sh"))]
    assert len(programs) == 3
    for program in programs:
        run = subprocess.run(program, capture_output=True, text=True, check=False, timeout=100)
        assert not run.returncode, run.stderr
        assert run.stdout.strip()
    (settings,) = documented(server, "yaml")
    (tmp_path / "extra-openai-models.yaml").write_text(settings)
    llm = subprocess.run([clients().parent / "llm", "-m", "fpga", "-o", "max_tokens", "4", "Hello"], check=False,
                         env=os.environ | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}, timeout=100,
                         capture_output=True, text=True)
    assert (llm.returncode, llm.stderr) == (0, "")


@pytest.mark.long
def test_curl(server: Server) -> None:
    """As docs/server.md has it: an answer, a stream that is shown as it comes, an error with its status."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl: apt-get install curl")

    def curl(*options: str, **fields: object) -> str:
        asked = json.dumps({"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 8} | fields)
        return subprocess.run(["curl", "-sS", *options, server.url + "/v1/chat/completions", "-H",
                               "Content-Type: application/json", "-d", asked], capture_output=True, text=True,
                              check=True, timeout=60).stdout

    assert json.loads(curl())["usage"]["completion_tokens"] <= 8
    lines = curl("-N", stream=True).split("\n\n")
    assert json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
    assert lines[-2:] == ["data: [DONE]", ""]
    assert curl("-o", "/dev/null", "-w", "%{http_code}", n=3) == "400"
