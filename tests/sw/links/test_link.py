"""What every link has, and what the golden one makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from sim.links.board import SimulatedBoardLink
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.link import Link, RunStats, Traffic
from sw.links.machine import MachineLink
from sw.links.stop import Stopped
from sw.pack import pack
from sw.requests import Job

TINY = PRESETS["tiny"]
JOB = Job(prompt=(3, 1, 30), max_new_tokens=4, chunk=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1,
                                     vocab=33, positions=24, seed=3)
    pack(Checkpoint.open(folder), tmp_path / "model.img", TINY)
    return tmp_path / "model.img"


@pytest.mark.parametrize("kind", [GoldenLink, SimulatedLink, SimulatedBoardLink, MachineLink])
def test_every_link_does_everything(kind: type[Link]) -> None:
    assert issubclass(kind, Link)
    assert not kind.__abstractmethods__
    assert Link.__abstractmethods__ == {"build", "load", "run", "scrub", "stats", "close"}


def test_the_golden_link(path: Path) -> None:
    """Its memory is the file: nothing is loaded, and a scrub says whether the file has changed."""
    link, told = GoldenLink(ModelImage.open(path, TINY)), []
    assert link.build() == TINY.build_id
    link.load(lambda done, total: told.append(done))
    assert not told
    link.scrub(lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    driver = Driver(link)
    assert len(driver.generate(JOB).tokens) == 4
    assert link.stats is driver.total is None
    region = link.image.plan.regions["rope"]
    with path.open("r+b") as file:
        file.seek(region.offset)
        byte = file.read(1)
        file.seek(region.offset)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(HardwareError, match="region rope of the image is damaged"):
        link.scrub(lambda done, total: None)


def test_a_golden_run_is_stopped_in_the_middle_of_a_pass(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes of a large model take seconds. The next run is as if nothing had been."""
    link = GoldenLink(ModelImage.open(path, TINY))
    expected, quantize, calls = Driver(link).generate(JOB), link.machine.quantize, []

    def asked(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            link.stop.ask()
        quantize(*arguments)

    monkeypatch.setattr(link.machine, "quantize", asked)
    with pytest.raises(Stopped):
        Driver(link).generate(JOB)
    assert len(calls) == 3
    link.stop.clear()
    assert Driver(link).generate(JOB) == expected


def test_measurements_add_up() -> None:
    one = RunStats(10, {"a": 1, "b": 2}, 0.5, Traffic(4, 2, {"kv": 8, "total": 32}))
    other = RunStats(5, {"a": 7, "b": 0}, 0.25, Traffic(1, 1, {"kv": 1, "total": 8}))
    assert one + other == RunStats(15, {"a": 8, "b": 2}, 0.75, Traffic(5, 3, {"kv": 9, "total": 40}), runs=2)
    assert (one + RunStats(5, {"a": 7, "b": 0}, 0.25)).traffic is None  # of a part would be said to be of all
