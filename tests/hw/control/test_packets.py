"""The packet reader against a packed checkpoint's own stream, and on headers that are not commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hw.config import PRESETS, AccelConfig
from hw.control.packets import PacketReader
from hw.formats import HEADER, Opcode
from sim.golden.machine import packets
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.steps import Run, Step, plain, run_steps

CONFIGS = {
    "64 bit": PRESETS["tiny"],
    "128 bit": PRESETS["tiny"].replace(port_bits=128, rows=4),
    "512 bit": PRESETS["tiny"].replace(port_bits=512, rows=16),
}
NO_COMMANDS = {
    "blank memory": {"opcode": 0},
    "next unused": {"opcode": 8},
    "all ones": {"opcode": 255, "payload_beats": 1},
    "matmul without weights": {"opcode": Opcode.MATMUL.value},
    "embed with a payload": {"opcode": Opcode.EMBED.value, "payload_beats": 3},
}


def run(config: AccelConfig, data: bytes, stall: float, simulator: str = "pysim") -> Run:
    """Feeds beats with random stalls on all three ends; at the end reads the error flag, and `ready` for some time."""
    beats = np.frombuffer(data, dtype=np.uint8).reshape(-1, config.beat_bytes).tolist()
    steps = [Step(send={"i": beats}), *[Step(read=["o_error", "i.ready"])] * 20]
    return run_steps(PacketReader(config), steps, outputs=["o_header", "o_payload"], stall=stall, seed=3,
                     simulator=simulator)


def check_stream(config: AccelConfig, stall: float, folder: Path, simulator: str = "pysim") -> None:
    """All packets of a model."""
    write_random_checkpoint(
        folder / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1, vocab=40, positions=16, seed=4
    )
    pack(Checkpoint.open(folder / "m"), folder / "i", config)
    region = ModelImage.open(folder / "i", config).view("stream")
    result = run(config, region.tobytes(), stall, simulator)
    expected = list(packets(config, region))
    assert result.received["o_header"] == [plain(header) for header, _ in expected]
    parts = result.received["o_payload"]
    assert b"".join(bytes(part["data"]) for part in parts) == b"".join(p.tobytes() for _, p in expected)
    assert sum(part["last"] for part in parts) == sum(len(p) > 0 for _, p in expected)
    assert result.read[-1] == [0, 1]


def check_error(fields: dict[str, int], simulator: str = "pysim") -> None:
    """A good header, then a bad one: an error, and nothing more is taken."""
    good = HEADER.const({"opcode": Opcode.EMBED.value}).as_bits().to_bytes(32, "little")
    bad = HEADER.const(fields).as_bits().to_bytes(32, "little")
    result = run(PRESETS["tiny"], good + bad, 0.0, simulator)
    assert len(result.received["o_header"]) == 1
    assert not result.received["o_payload"]
    assert result.read[2:] == [[1, 0]] * 18


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_models_stream(name: str, stall: float, tmp_path: Path) -> None:
    check_stream(CONFIGS[name], stall, tmp_path)


def test_verilated(tmp_path: Path) -> None:
    for stall in (0.0, 0.4):
        check_stream(CONFIGS["64 bit"], stall, tmp_path / str(stall), "verilator")
    for name in ("blank memory", "embed with a payload"):
        check_error(NO_COMMANDS[name], "verilator")


@pytest.mark.parametrize("name", NO_COMMANDS)
def test_what_is_not_a_command_stops_the_machine(name: str) -> None:
    check_error(NO_COMMANDS[name])
