"""Checkpoints by the name that they have on the Hugging Face hub, from a server on this computer.

The commands run in processes of their own, because huggingface_hub reads its environment when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.random_checkpoint import write_random_checkpoint
from sw.hub import HubName
from tests.sw.hub_server import COMMIT, HubServer

ROOT = Path(__file__).parents[2]
NAME = "someone/tiny-bitnet"
WEIGHTS = "model.safetensors"
IN_A_SESSION = """
import sys
from bitnet_fpga import Session
with Session(sys.argv[1]) as session:
    print(*session.generate([1], max_new_tokens=2).tokens)
"""
TELEMETRY = """
import sys
from huggingface_hub import constants
from sw.model_source import located
located(sys.argv[1])
print(constants.HF_HUB_DISABLE_TELEMETRY)
"""
IN_FULL_DISK = """
import errno, os, sys
from huggingface_hub import file_download
def full(*_, **__): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
file_download.http_get = full
from sw.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("hub") / "m", hidden=64, intermediate=64, layers=1, heads=1,
                                   kv_heads=1, vocab=33, positions=16, seed=1)


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[HubServer]:
    with HubServer.of_folder(NAME, checkpoint) as server:
        yield server


def run(
    hub: HubServer | None, home: Path, *arguments: str, program: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`python -m sw ARGUMENTS` in a folder without models, with a cache of its own."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("HF_") and "proxy" not in name.lower()}
    environment = kept | {"PYTHONPATH": str(ROOT), "HF_HOME": str(home / "hf"), "HF_HUB_ETAG_TIMEOUT": "1",
                          "HF_HUB_DOWNLOAD_TIMEOUT": "2"} | ({"HF_ENDPOINT": hub.url} if hub else {}) | variables
    started = ["-m", "sw"] if program is None else ["-c", program]
    return subprocess.run([sys.executable, *started, *arguments], cwd=home, env=environment, capture_output=True,
                          text=True, timeout=60, check=False)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The only line on stderr of a command that ended with exit code 2."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_which_texts_are_names() -> None:
    assert HubName.parse("microsoft/bitnet-b1.58-2B-4T") == HubName("microsoft/bitnet-b1.58-2B-4T", "main")
    assert HubName.parse("a/b_c@refs/pr/1") == HubName("a/b_c", "refs/pr/1")
    paths = ("model", "./a/b", "../a", "/a/b", "a/b/c", "a/b/", "a/.b", "-a/b", "a b/c", "a/b@", "a/b@c@d", "ä/b",
             "a/b\n")
    assert [path for path in paths if HubName.parse(path)] == []


def test_first_from_the_hub_then_from_the_cache(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    hub.files |= {"pytorch_model.bin": b"a pickle", "README.md": b"text", "original/model.safetensors": b"another",
                  "chat_template.jinja": b"{{ messages }}", "generation_config.json": b"{}"}
    first = run(hub, tmp_path, "inspect", NAME, "--json", HF_TOKEN="hf_secret")
    assert (first.returncode, first.stderr) == (0, "")
    assert hub.tokens == ["Bearer hf_secret"] * len(hub.requests)
    assert sorted(hub.fetched()) == ["chat_template.jinja", "config.json", "generation_config.json", WEIGHTS]
    expected = run(None, tmp_path, "inspect", str(checkpoint), "--json")
    assert json.loads(first.stdout)["tensors"] == json.loads(expected.stdout)["tensors"]

    hub.requests.clear()
    again = run(hub, tmp_path, "inspect", f"{NAME}@main", "--json")
    assert (again.returncode, again.stdout, hub.fetched()) == (0, first.stdout, [])
    assert not [path for _, path, _ in hub.requests if path.endswith(WEIGHTS)]

    hub.requests.clear()
    offline = run(hub, tmp_path, "inspect", NAME, "--json", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout, offline.stderr, hub.requests) == (0, first.stdout, "", [])


def test_shards_of_a_revision_are_generated_from(hub: HubServer, tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1,
                                     vocab=33, positions=16, seed=1, shards=2)
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("v1", COMMIT):
        done = run(hub, tmp_path, "generate", f"{NAME}@{name}", "--prompt-ids", "1", "--max-new-tokens", "2", "--json")
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["tokens"]) == 2
    assert len(hub.fetched()) == len(hub.files)  # the second name is that of the same commit


def test_sessions_and_images_take_names(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    session = run(hub, tmp_path, NAME, program=IN_A_SESSION)
    assert session.returncode == 0, session.stderr
    assert session.stdout == run(None, tmp_path, str(checkpoint), program=IN_A_SESSION).stdout
    packed = run(None, tmp_path, "pack", NAME, "-o", "model.img", HF_HUB_OFFLINE="1")
    assert packed.returncode == 0, packed.stderr
    assert run(None, tmp_path, "model.img", program=IN_A_SESSION).stdout == session.stdout


def test_telemetry_is_off(hub: HubServer, tmp_path: Path) -> None:
    assert run(hub, tmp_path, NAME, program=TELEMETRY, HF_HUB_DISABLE_TELEMETRY="0").stdout == "True\n"


def test_a_folder_comes_before_a_name(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir(parents=True)
    assert "config.json does not exist" in refused(run(hub, tmp_path, "inspect", NAME))
    assert hub.requests == []


def test_the_file_of_weights_stands_for_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    outputs = [run(None, tmp_path, "inspect", str(path), "--json").stdout
               for path in (checkpoint, checkpoint / WEIGHTS)]
    assert outputs[0] == outputs[1] != ""


@pytest.mark.parametrize("status, code, told", [
    (401, "RepoNotFound", f"there is no folder {NAME}, and no model of that name on"),
    (404, "RepoNotFound", f"there is no folder {NAME}, and no model of that name on"),
    (404, None, "answers 404 to that name: correct the name or HF_ENDPOINT"),
    (403, "GatedRepo", f"{NAME} may be read only by users who accepted its conditions"),
    (403, None, f"does not allow {NAME} to be read (HTTP status 403): log in with `hf auth login`, or set HF_TOKEN"),
    (503, None, "answers with HTTP status 503; try again later"),
])
def test_the_list_of_files_is_refused(hub: HubServer, tmp_path: Path, status: int, code: str | None, told: str) -> None:
    hub.errors["/api/"] = (status, code)
    assert told in refused(run(hub, tmp_path, "inspect", NAME))


def test_a_file_is_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.errors[f"/{NAME}/resolve/{COMMIT}/{WEIGHTS}"] = (403, "GatedRepo")
    assert "accept them at" in refused(run(hub, tmp_path, "inspect", NAME))


def test_a_name_that_no_model_can_have(hub: HubServer, tmp_path: Path) -> None:
    line = refused(run(hub, tmp_path, "inspect", "models/my--model"))
    assert "there is no folder models/my--model, and no model can have that name on the hub" in line
    assert hub.requests == []


def test_no_such_revision(hub: HubServer, tmp_path: Path) -> None:
    assert f"{NAME} has no revision 'v2'" in refused(run(hub, tmp_path, "inspect", f"{NAME}@v2"))


def test_no_safetensors(hub: HubServer, tmp_path: Path) -> None:
    del hub.files[WEIGHTS]
    hub.files["model.gguf"] = b"GGUF"
    line = refused(run(hub, tmp_path, "inspect", NAME))
    assert f"{NAME} on the hub has no *.safetensors, but files of type .gguf, which cannot be read" in line
    assert hub.fetched() == []


@pytest.mark.parametrize("garbage", [b"<html>log in to the network</html>", b"[1]", b"\xff\xfe"])
def test_the_list_of_files_is_garbage(hub: HubServer, tmp_path: Path, garbage: bytes) -> None:
    hub.garbage = garbage
    assert "does not answer as a hub does: correct HF_ENDPOINT" in refused(run(hub, tmp_path, "inspect", NAME))


def test_the_weights_are_garbage(hub: HubServer, tmp_path: Path) -> None:
    hub.files[WEIGHTS] = b"<html>" + b"x" * 1000
    line = refused(run(hub, tmp_path, "inspect", NAME))
    assert COMMIT in line
    assert WEIGHTS in line


def test_an_interrupted_transfer_is_resumed(hub: HubServer, tmp_path: Path) -> None:
    """The library writes 10 MiB at a time, so this file has more than twice as much."""
    folder = write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1,
                                     vocab=180_000, positions=16, seed=1)
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.drops.add(WEIGHTS)
    done = run(hub, tmp_path, "inspect", NAME)
    assert done.returncode == 0, done.stderr
    ranges = [wanted for method, path, wanted in hub.requests if method == "GET" and path.endswith(WEIGHTS)]
    assert ranges == [None, f"bytes={10 << 20}-"]
    (stored,) = tmp_path.glob(f"hf/hub/models--*/snapshots/{COMMIT}/{WEIGHTS}")
    assert stored.read_bytes() == hub.files[WEIGHTS]


def test_the_disk_is_full(hub: HubServer, tmp_path: Path) -> None:
    line = refused(run(hub, tmp_path, "inspect", NAME, program=IN_FULL_DISK))
    assert f"{NAME} cannot be stored in {tmp_path}/hf/hub: No space left on device; free some space there" in line


def test_a_server_that_sends_no_data(hub: HubServer, tmp_path: Path) -> None:
    """The library resumes five times, a second after a time-out."""
    hub.stalls.add(WEIGHTS)
    line = refused(run(hub, tmp_path, "inspect", NAME, HF_HUB_DOWNLOAD_TIMEOUT="1", HF_HUB_VERBOSITY="error"))
    assert f"{NAME} cannot be downloaded from {hub.url}" in line
    assert "timed out" in line


def test_the_server_never_answers(hub: HubServer, tmp_path: Path) -> None:
    hub.silent = ("/api/",)
    line = refused(run(hub, tmp_path, "inspect", NAME))
    assert f"no checkpoint can be downloaded from {hub.url}" in line
    assert "timed out" in line
    assert [method for method, _, _ in hub.requests] == ["GET"]


def test_there_is_no_server(tmp_path: Path) -> None:
    line = refused(run(None, tmp_path, "inspect", NAME, HF_ENDPOINT="http://127.0.0.1:9"))
    assert "no checkpoint can be downloaded from http://127.0.0.1:9" in line
    assert "check the network" in line


def test_a_server_that_is_gone_leaves_the_cache(hub: HubServer, tmp_path: Path) -> None:
    assert run(hub, tmp_path, "inspect", NAME).returncode == 0
    done = run(None, tmp_path, "inspect", NAME, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: http://127.0.0.1:9 does not answer (")
    assert f"{NAME} is taken from the cache" in done.stderr


def test_half_a_download_is_no_checkpoint(hub: HubServer, tmp_path: Path) -> None:
    hub.errors[f"/{NAME}/resolve/{COMMIT}/{WEIGHTS}"] = (404, None)
    assert run(hub, tmp_path, "inspect", NAME).returncode == 2
    assert "unset HF_HUB_OFFLINE" in refused(run(hub, tmp_path, "inspect", NAME, HF_HUB_OFFLINE="1"))


def test_not_in_the_cache_and_offline(hub: HubServer, tmp_path: Path) -> None:
    line = refused(run(hub, tmp_path, "inspect", NAME, HF_HUB_OFFLINE="1"))
    assert "unset HF_HUB_OFFLINE to download it" in line
    assert hub.requests == []
