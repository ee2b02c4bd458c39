"""Appended rows land in memory byte for byte as the golden cache keeps them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.config import PRESETS, AccelConfig
from hw.memory.kv_cache import KvAppend
from sim.golden.attention import KvHead, quantize_kv
from sim.golden.number import encode, rnd

TINY = PRESETS["tiny"]
CONFIGS = {
    "8 bit": TINY,
    "16 bit": PRESETS["tiny-kv16"],
    "128-bit port, V = 4": TINY.replace(port_bits=128, rows=4, vector=4),
    "512-bit port, V = 1": TINY.replace(port_bits=512, rows=16, vector=1),
}
HEAD_DIM, BASE = 64, 0x2000


def signed_words(codes: np.ndarray, vector: int) -> list[list[int]]:
    return [[int(c) for c in word] for word in codes.reshape(-1, vector)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_memory_equals_golden(name: str, stall: float) -> None:
    config: AccelConfig = CONFIGS[name]
    size = config.kv_block_bytes(HEAD_DIM)
    generator = np.random.default_rng(6)
    rows = rnd(generator.normal(size=(6, 2, HEAD_DIM)))
    rows[2] = 0.0
    places = [0, 1, 15, 7, 16, 31]
    memory = generator.integers(0, 256, 2 * size, dtype=np.uint8)  # what is not written must stay
    expected = memory.copy()
    golden = KvHead.view(config, expected, HEAD_DIM)
    dut, choose = KvAppend(config), random.Random(f"{name} {stall}")

    async def put(ctx: Any, port: Any, payload: Any) -> None:
        while choose.random() < stall:
            await ctx.tick()
        ctx.set(port.payload, payload)
        ctx.set(port.valid, 1)
        taken = 0
        while not taken:
            _, _, taken = await ctx.tick().sample(port.ready)
        ctx.set(port.valid, 0)

    async def feed(ctx: Any) -> None:
        for place, (key, value) in zip(places, rows, strict=True):
            golden.append(place, key, value, config.kv_bits)
            for kind, row in enumerate((key, value)):
                codes, scale = quantize_kv(row, config.kv_bits)
                await put(ctx, dut.i_row, {
                    "block": BASE + place // 16 * size, "place": place % 16, "row_bytes": HEAD_DIM * config.kv_bytes,
                    "value": kind,
                })
                words = signed_words(codes, config.vector)
                for n, word in enumerate(words):
                    payload = {"codes": word, "scale": int(encode(scale)), "last": int(n == len(words) - 1)}
                    await put(ctx, dut.i, payload)
        await ctx.tick().repeat(200)

    async def receive(ctx: Any) -> None:
        wait = random.Random(13)
        address = left = 0
        while True:
            want = wait.random() >= stall
            ctx.set(dut.o_request.ready, want and not left)
            ctx.set(dut.o.ready, want and left > 0)
            _, _, asked, request, came, beat = await ctx.tick().sample(
                dut.o_request.valid, dut.o_request.payload, dut.o.valid, dut.o.payload
            )
            if want and not left and asked:
                address, left = int(request.address), int(request.beats)
                assert address % config.beat_bytes == 0
            elif want and left and came:
                for lane in range(config.beat_bytes):
                    if int(beat.strobe) >> lane & 1:
                        memory[address - BASE + lane] = int(beat["data"][lane])
                address, left = address + config.beat_bytes, left - 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(receive, background=True)
    simulator.run()
    np.testing.assert_array_equal(memory, expected)
