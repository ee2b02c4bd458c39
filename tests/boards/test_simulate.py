# amaranth: UnusedElaboratable=no
"""`generate --board ulx3s --simulate`: a user's serial link on the whole board, from a pseudo terminal to the chip."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest

pytest.importorskip("litedram")
pytest.importorskip("serial")

from bitnet_fpga import Session
from boards import board
from hw.contract.config import preset
from sim.boards import simulator as simulator_module
from sim.boards.build import build_simulator
from sim.boards.simulator import BoardSimulator
from sim.links.board import SimulatedBoardLink
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.cli.doctor.examine import examine
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.pack import pack
from tests.serving import serving
from tests.sw.links.test_serial import DEMO

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]  # builds a simulator of everything, loads bit by bit

ROOT = Path(__file__).parents[2]
WAIT_S = 120


@pytest.fixture(scope="module", autouse=True)
def program() -> Path:
    return build_simulator(board("ulx3s"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=68, layers=2, heads=1, kv_heads=1, vocab=40,
                                   positions=64, seed=5)


@pytest.fixture
def image(checkpoint: Path, tmp_path: Path) -> ModelImage:
    config = preset("ulx3s")
    pack(Checkpoint.open(checkpoint), tmp_path / "model.img", config)
    return ModelImage.open(tmp_path / "model.img", config)


def children(pid: int) -> list[int]:
    """Simulators that a process has started."""
    command = ["ps", "-o", "pid=,comm=", "--ppid", str(pid)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if line.split()[1] == "simulator"]


def wait_for(condition: Callable[[], object], seconds: float = WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def gone(pid: int) -> bool:
    """Ended; its parent need not have noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# ---- what it computes


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--logits"], ["--temperature", "1", "--scrub"]], ids=["scored", "drawn"])
def test_random_model(
    arguments: list[str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens and logits of the golden model, with greedy and with drawn tokens."""
    command = ["generate", str(checkpoint), "--prompt-ids", "3,17,29", "--max-new-tokens", "3", "--json"]
    files = [tmp_path / "board.npz", tmp_path / "golden.npz"]
    extra = [[*arguments, str(file)] if arguments[-1] == "--logits" else arguments for file in files]
    found = run([*command, "--board", "ulx3s", "--simulate", *extra[0]], capsys)
    golden = run([*command, "--preset", "ulx3s", *[word for word in extra[1] if word != "--scrub"]], capsys)
    assert found == golden
    if "--logits" in arguments:
        one, two = (np.load(file) for file in files)
        np.testing.assert_array_equal(one["logits"], two["logits"])


def test_demo_model(capsys: pytest.CaptureFixture[str]) -> None:
    """The README's command, with a shorter context: 53 KB less to load."""
    command = ["generate", str(DEMO), "--context", "48", "--prompt", "ROMEO:", "--max-new-tokens", "8"]
    started, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    found = run([*command, "--board", "ulx3s", "--simulate"], capsys)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used
    with capsys.disabled():
        print(f"\n{time.monotonic() - started:.0f} s, {used:.0f} s of the simulator, to load and to generate 8 tokens")
    assert found == run([*command, "--preset", "ulx3s"], capsys)


def test_users_of_a_server(checkpoint: Path, tmp_path: Path) -> None:
    """Two at a time, over HTTP and the serial line, and one that hangs up."""
    prompts = [[3, 17, 29], [5] * 9]
    with Session(checkpoint, preset="ulx3s") as golden:
        expected = [" ".join(map(str, golden.generate(one, max_new_tokens=6).tokens)) for one in prompts]
    found = dict[int, str]()
    with serving(tmp_path, "--board", "ulx3s", "--simulate", model=checkpoint, wait_s=1800) as server:
        def ask(number: int) -> None:
            answer = httpx.post(server.url + "/v1/completions", timeout=600, json={
                "prompt": prompts[number], "temperature": 0, "max_tokens": 6})
            found[number] = answer.json()["choices"][0]["text"].strip()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
        with httpx.stream("POST", server.url + "/v1/completions", timeout=600, json={
                "prompt": [7], "max_tokens": 50, "stream": True}) as leaving:
            assert next(leaving.iter_text())
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        machine = httpx.get(server.url + "/v1/models").json()["data"][0]["machine"]
        assert (machine["board"], machine["simulated"], machine["clock_hz"]) == ("ulx3s", True, board("ulx3s").clock_hz)
        assert server.end() == 0
    assert [found[number] for number in range(2)] == expected


def test_doctor_finds_nothing_wrong(image: ModelImage) -> None:
    """Its memory tests and known answers, on the board's own memory, checksums and machine."""
    with closing(SimulatedBoardLink(image, board("ulx3s"))) as link, link._machine() as machine:
        found = list(examine(image.plan.config, machine.bus, full=False, progress=lambda done, total: None))
    assert all(finding.ok for finding in found), found
    assert found[-1].check == "token"


# ---- how it ends


class Command:
    """`generate --simulate` as a process of its own, with its simulator."""

    def __init__(self, checkpoint: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sw", "generate", str(checkpoint), "--prompt-ids", "1", "--board", "ulx3s",
             "--simulate"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        wait_for(lambda: children(self.process.pid))
        (self.simulator,) = children(self.process.pid)
        time.sleep(3)  # the image is on its way, for half a minute

    def ended(self) -> tuple[int, str]:
        """Exit code and stderr; nothing of the simulator is left."""
        _, errors = self.process.communicate(timeout=WAIT_S)
        wait_for(lambda: gone(self.simulator))
        return self.process.returncode, errors


def test_the_simulator_is_killed(checkpoint: Path) -> None:
    command = Command(checkpoint)
    os.kill(command.simulator, signal.SIGKILL)
    code, errors = command.ended()
    assert code == 3
    assert errors.startswith("error: the simulator of the board ended with signal 9 (log: "), errors


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_is_interrupted(number: int, code: int, checkpoint: Path) -> None:
    command = Command(checkpoint)
    command.process.send_signal(number)
    assert command.ended()[0] == code
    assert not list(Path(tempfile.gettempdir()).glob(f"bitnet-fpga-board-{command.process.pid}-*"))


def test_the_command_is_killed(checkpoint: Path) -> None:
    """The simulator notices by itself."""
    command = Command(checkpoint)
    command.process.kill()
    assert command.ended()[0] == -signal.SIGKILL


def test_a_simulator_that_stands_still(image: ModelImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock is that of all time-outs, so that somebody must look at the clock."""
    with closing(SimulatedBoardLink(image, board("ulx3s"))) as link:
        with link._machine() as machine:
            assert machine.bus is not None
        (pid,) = children(os.getpid())
        monkeypatch.setattr(simulator_module, "STILL_LOOKS", 1000)  # a second at least, of a simulator that has started
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(HardwareError, match=r"the simulator of the board hangs at 0\.\d+ s of simulated time"):
            link.load(lambda done, total: None)
    assert not children(os.getpid())


def test_what_the_model_says_is_told(tmp_path: Path) -> None:
    program = tmp_path / "simulator"
    program.write_text("#!/bin/sh\necho 'chip at 1.0 ns: tRCD'\necho '- sdr_chip.sv:40: Verilog $finish'\nexit 1\n")
    program.chmod(0o755)
    failure = BoardSimulator(program, 10_000_000).failure()
    assert failure
    assert failure.startswith("the simulator of the board ended with exit code 1: chip at 1.0 ns: tRCD (log: ")


@pytest.mark.parametrize("arguments, sentence", [
    (["--simulate"], "--simulate needs --board: name the board to simulate"),
    (["--simulate", "--board", "ulx3s", "--port", "/dev/ttyUSB0"],
     "--simulate uses a simulated serial port: leave out --port"),
    (["--simulate", "--board", "kv260"], "AMD Kria KV260, 4 GiB DDR4 cannot be simulated as a whole board: use "
                                         "--backend sim --preset kv260, which simulates its accelerator"),
])
def test_refusals(arguments: list[str], sentence: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(checkpoint), "--prompt-ids", "1", *arguments]) == 2
    assert sentence in capsys.readouterr().err
