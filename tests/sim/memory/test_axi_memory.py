"""The simulated memory: bytes, order and errors, and how fast it is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from hw.contract.config import AccelConfig
from sim.bench import BenchError, run_bench
from sim.memory.part import Part
from sim.memory.top import SimulatedMemory
from tests.sim.memory.copier import Copier, PassThrough

CONFIGS = {
    c.name: c
    for c in (
        AccelConfig(name="narrow", stream_fifo_beats=128),
        AccelConfig(name="wide", port_bits=512, rows=16, inputs=20, stream_fifo_beats=128),
    )
}
FILE_BYTES = 1 << 20
BASE = 0x8_0000_0000


def run_copier(config: AccelConfig, folder: Path, seed: int, part: Part | None = None) -> dict[str, float]:
    """Copies a file of 1 MB; returns clocks and seconds."""
    file = folder / "content.bin"
    content = random.Random(1).randbytes(FILE_BYTES)
    file.write_bytes(content)
    memory = SimulatedMemory(file=file, size=3 * FILE_BYTES, base=BASE, seed=seed, part=part)
    measured = folder / f"measured-{seed}.json"
    parameters = {"file": str(file), "base": BASE, "measured": str(measured)}
    run_bench(Copier(config), config, "tests.sim.memory.copier_bench", memory=memory, parameters=parameters)
    assert file.read_bytes() == content, "the file has changed"
    return json.loads(measured.read_text())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_copies(config: AccelConfig, tmp_path: Path) -> None:
    found = {seed: run_copier(config, tmp_path, seed) for seed in (0, 1, 2)}
    for seed, run in found.items():
        print(f"\n{config.name}, seed {seed}: {run['clocks']} clocks, "
              f"{run['clocks'] / run['seconds'] / 1000:.0f} kcycles/s")
    assert len({run["clocks"] for run in found.values()}) == len(found)
    beats = FILE_BYTES // config.beat_bytes
    assert beats < found[0]["clocks"] < 1.1 * beats


def run_protocol(config: AccelConfig, case: str, memory: SimulatedMemory, **parameters: object) -> None:
    more = {"seed": memory.seed, "latency": memory.latency, **parameters}
    run_bench(PassThrough(config), config, "tests.sim.memory.protocol_bench", memory=memory, parameters=more,
              testcase=case)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.filterwarnings("default")
def test_foreign_master(config: AccelConfig, seed: int) -> None:
    run_protocol(config, "foreign_master", SimulatedMemory(size=1 << 17, seed=seed))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("latency", [1, 77])
def test_order_and_latency(latency: int, seed: int) -> None:
    run_protocol(CONFIGS["narrow"], "order_and_latency", SimulatedMemory(size=1 << 17, seed=seed, latency=latency))


@pytest.mark.parametrize("seed", [1, 3])
def test_moment_of_effect(seed: int) -> None:
    run_protocol(CONFIGS["narrow"], "moment_of_effect", SimulatedMemory(size=1 << 17, seed=seed))


@pytest.mark.parametrize("seed", [0, 1])
def test_faults(seed: int) -> None:
    config = CONFIGS["narrow"]
    run_bench(PassThrough(config), config, "tests.sim.memory.fault_bench",
              memory=SimulatedMemory(size=1 << 17, seed=seed), parameters={"seed": seed})


RULES = {
    "wrap": "AR at 0x0, 1 beats, is not INCR",
    "boundary": "AW at 0xff8, 2 beats, crosses 4 KB",
    "size": "AR at 0x0, 1 beats, has beats wider than the bus",
    "last": "WLAST at 0x0, 4 beats, at the wrong beat",
    "strobe": "WSTRB at 0x0, 1 beats, beside the lanes of the beat",
    "change": "AR changed before ARREADY",
}


@pytest.mark.parametrize("rule", RULES)
def test_broken_rule_ends_the_simulation(rule: str) -> None:
    memory = SimulatedMemory(size=1 << 17, seed=rule == "change")
    with pytest.raises(BenchError, match=RULES[rule]):
        run_protocol(CONFIGS["narrow"], "violation", memory, rule=rule)


def test_refuses_what_cannot_be_set_up(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(8193))
    for memory, sentence in (
        (SimulatedMemory(file=tmp_path / "none.bin", size=8192), "none.bin: No such file"),
        (SimulatedMemory(file=large, size=8192), "large.bin: larger than the memory"),
        (SimulatedMemory(size=5000), "must be a multiple of 4096"),
        (SimulatedMemory(size=8192, base=64), "must be a multiple of 4096"),
    ):
        with pytest.raises(BenchError, match=sentence):
            run_protocol(CONFIGS["narrow"], "order_and_latency", memory)
