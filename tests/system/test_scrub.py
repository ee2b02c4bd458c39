"""A bit flips in the machine's memory: nothing but a scrub notices, and it says where."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.links import simulated
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sw.__main__ import main
from sw.driver import Driver
from sw.errors import HardwareError
from tests.system.test_faults import JOB, checkpoint_of, image_of


def nothing(done: int, total: int) -> None:
    """No progress is shown."""


@pytest.mark.parametrize("name", ["stream", "head", "embed", "rope"])
def test_a_flipped_bit_is_named(name: str, tmp_path: Path) -> None:
    image = image_of(tmp_path)
    region = image.plan.regions[name]
    at = region.offset + region.area // 2
    good = image.memory[at : at + 1].tobytes()
    with closing(SimulatedLink(image)) as link:
        link.scrub(nothing)
        link.write_memory(at, bytes([good[0] ^ 0x40]))
        with pytest.raises(HardwareError, match=f"region {name} of the image .* byte {region.area // 2} of it"):
            link.scrub(nothing)
        link.write_memory(at, good)
        link.scrub(nothing)
        driver = Driver(link)
        got = driver.generate(JOB)
        link.scrub(nothing)
    expected = Driver(GoldenLink(image)).generate(JOB)
    np.testing.assert_array_equal(np.stack(got.logits), np.stack(expected.logits))


@pytest.mark.parametrize("after", [1, 2])
def test_on_the_command_line(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, before the first token or after the run, and then no file is left."""
    real, calls = SimulatedLink.scrub, 0

    def scrub(link: SimulatedLink, progress: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            at = link.image.plan.regions["rope"].offset
            link.write_memory(at, bytes([link.image.memory[at] ^ 1]))
        real(link, progress)

    monkeypatch.setattr(simulated.SimulatedLink, "scrub", scrub)
    stats = tmp_path / "stats.json"
    arguments = ["generate", str(checkpoint_of(tmp_path)), "--backend", "sim", "--prompt-ids", "1,2",
                 "--max-new-tokens", "2", "--scrub", "--stats", str(stats)]
    assert main(arguments) == 3
    captured = capsys.readouterr()
    assert len(captured.out.split()) == (0 if after == 1 else 2)
    assert captured.err.count("the image in memory is intact") == after - 1
    assert "error: region rope of the image is damaged in the accelerator's memory: byte 0 of it" in captured.err
    assert not stats.exists()


def test_a_run_between_two_scrubs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(checkpoint_of(tmp_path)), "--prompt-ids", "1,2", "--max-new-tokens", "2", "--scrub"]
    assert main([*arguments, "--backend", "sim"]) == 0
    assert capsys.readouterr().err.count("the image in memory is intact") == 2
    assert main(arguments) == 2
    assert "--scrub checks the memory of an accelerator" in capsys.readouterr().err
