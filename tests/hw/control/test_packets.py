"""The packet reader against a packed checkpoint's own stream, and on headers that are not commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.config import PRESETS, AccelConfig
from hw.control.packets import PacketReader
from hw.formats import HEADER, Opcode
from sim.golden.machine import packets
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack

CONFIGS = {
    "64 bit": PRESETS["tiny"],
    "128 bit": PRESETS["tiny"].replace(port_bits=128, rows=4),
    "512 bit": PRESETS["tiny"].replace(port_bits=512, rows=16),
}


def run(config: AccelConfig, data: bytes, stall: float, clocks: int) -> tuple[list[Any], list[tuple[bytes, int]], int]:
    """Feeds beats with random stalls on all three ends; headers, payload beats, error flag."""
    dut = PacketReader(config)
    beats = np.frombuffer(data, dtype=np.uint8).reshape(-1, config.beat_bytes)
    random = np.random.default_rng(3)
    headers, payloads, error = [], [], 0

    async def bench(ctx: Any) -> None:
        nonlocal error
        at, holding = 0, False
        for _ in range(clocks):
            holding = at < len(beats) and (holding or random.random() >= stall)
            ctx.set(dut.i.valid, holding)
            if holding:
                ctx.set(dut.i.payload, [int(b) for b in beats[at]])
            ctx.set(dut.o_header.ready, random.random() >= stall)
            ctx.set(dut.o_payload.ready, random.random() >= stall)
            if ctx.get(dut.o_header.valid) and ctx.get(dut.o_header.ready):
                headers.append(ctx.get(dut.o_header.payload))
            if ctx.get(dut.o_payload.valid) and ctx.get(dut.o_payload.ready):
                part = ctx.get(dut.o_payload.payload)
                payloads.append((bytes(int(b) for b in part.data), int(part.last)))
            if holding and ctx.get(dut.i.ready):
                at, holding = at + 1, False
            await ctx.tick()
        error = ctx.get(dut.o_error)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return headers, payloads, error


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_models_stream(name: str, stall: float, tmp_path: Path) -> None:
    config = CONFIGS[name]
    write_random_checkpoint(
        tmp_path / "m", hidden=64, intermediate=64, layers=1, heads=1, kv_heads=1, vocab=40, positions=16, seed=4
    )
    pack(Checkpoint.open(tmp_path / "m"), tmp_path / "i", config)
    region = ModelImage.open(tmp_path / "i", config).view("stream")
    beats = len(region) // config.beat_bytes
    headers, payloads, error = run(config, region.tobytes(), stall, int(beats * 1.2 / (1 - stall) ** 2) + 400)
    expected = list(packets(config, region))
    assert [h.as_bits() for h in headers] == [h.as_bits() for h, _ in expected]
    assert b"".join(part for part, _ in payloads) == b"".join(p.tobytes() for _, p in expected)
    assert sum(last for _, last in payloads) == sum(len(p) > 0 for _, p in expected)
    assert not error


@pytest.mark.parametrize(
    "fields",
    [
        {"opcode": 0},
        {"opcode": 8},
        {"opcode": 255, "payload_beats": 1},
        {"opcode": Opcode.MATMUL.value},
        {"opcode": Opcode.EMBED.value, "payload_beats": 3},
    ],
    ids=["blank memory", "next unused", "all ones", "matmul without weights", "embed with a payload"],
)
def test_what_is_not_a_command_stops_the_machine(fields: dict[str, int]) -> None:
    good = HEADER.const({"opcode": Opcode.EMBED.value}).as_bits().to_bytes(32, "little")
    bad = HEADER.const(fields).as_bits().to_bytes(32, "little")
    headers, payloads, error = run(PRESETS["tiny"], good + bad + good, 0.0, 60)
    assert len(headers) == 1
    assert not payloads
    assert error
