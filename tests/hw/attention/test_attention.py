"""The whole attention unit over a byte memory: cache and outputs equal the golden machine's, chunk after chunk."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.attention.attention import Attention
from hw.config import PRESETS, AccelConfig
from hw.memory.scratchpad import Scratchpad
from sim.golden.attention import KvHead, attend_head, rope
from sim.golden.number import encode, rnd

SMALL = PRESETS["tiny"].replace(
    max_hidden=128, max_intermediate=128, max_head_dim=32, max_group=4, max_positions=64, columns=2
)
CONFIGS = {
    "8 bit": SMALL,
    "16 bit": SMALL.replace(kv_bits=16),
    "128 bit, V = 4": SMALL.replace(port_bits=128, rows=4, vector=4, columns=3),
}
HEAD_DIM, LAYER, BASE = 32, 0x1000, 0x10_0000
TIMEOUT = 200_000
CHUNKS = [
    {"slots": [0, 0], "positions": [0, 1]},       # a sequence begins
    {"slots": [0, 0], "positions": [15, 16]},     # a chunk over the end of a block
    {"slots": [1], "positions": [0]},             # one column, another slot
    {"slots": [1, 0], "positions": [1, 17]},      # two sequences side by side
    {"slots": [0], "positions": [40]},            # three blocks
]


class Memory:
    """Bytes behind the gather and write streams, with random pauses."""

    def __init__(self, config: AccelConfig, size: int, stall: float) -> None:
        self.config, self.stall = config, stall
        self.bytes = np.zeros(size, dtype=np.uint8)
        self.choose = random.Random(51)

    async def pause(self, ctx: Any) -> None:
        while self.choose.random() < self.stall:
            await ctx.tick()

    async def serve_reads(self, ctx: Any, dut: Attention) -> None:
        width = self.config.beat_bytes
        while True:
            ctx.set(dut.o_gather.ready, 1)
            valid = 0
            while not valid:
                _, _, valid, request = await ctx.tick().sample(dut.o_gather.valid, dut.o_gather.payload)
            ctx.set(dut.o_gather.ready, 0)
            start, beats = int(request.address) - BASE, int(request.beats)
            for n in range(beats):
                await self.pause(ctx)
                part = self.bytes[start + n * width : start + (n + 1) * width]
                ctx.set(dut.i_gather.payload, {"data": part.tolist(), "last": int(n == beats - 1)})
                ctx.set(dut.i_gather.valid, 1)
                taken = 0
                while not taken:
                    _, _, taken = await ctx.tick().sample(dut.i_gather.ready)
                ctx.set(dut.i_gather.valid, 0)

    async def serve_writes(self, ctx: Any, dut: Attention) -> None:
        """Answers late: a read before `write_idle` would see the old bytes."""
        width = self.config.beat_bytes
        while True:
            ctx.set(dut.write_idle, 1)
            ctx.set(dut.o_request.ready, 1)
            valid = 0
            while not valid:
                _, _, valid, request = await ctx.tick().sample(dut.o_request.valid, dut.o_request.payload)
            ctx.set(dut.write_idle, 0)
            ctx.set(dut.o_request.ready, 0)
            late = []
            for n in range(int(request.beats)):
                await self.pause(ctx)
                ctx.set(dut.o_write.ready, 1)
                valid = 0
                while not valid:
                    _, _, valid, beat = await ctx.tick().sample(dut.o_write.valid, dut.o_write.payload)
                ctx.set(dut.o_write.ready, 0)
                late.append((int(request.address) - BASE + n * width, beat))
            await ctx.tick().repeat(7)
            for start, beat in late:
                for lane in range(width):
                    if int(beat.strobe) >> lane & 1:
                        self.bytes[start + lane] = int(beat["data"][lane])


@pytest.mark.parametrize(
    "heads, name, stall",
    [((1, 1), "8 bit", 0.3), ((3, 2), "8 bit", 0.0), ((3, 2), "16 bit", 0.3), ((2, 2), "128 bit, V = 4", 0.3)],
)
def test_chunks(heads: tuple[int, int], name: str, stall: float) -> None:
    config: AccelConfig = CONFIGS[name]
    group, kv_heads = heads
    rng = np.random.default_rng(61)
    half = HEAD_DIM // 2 // config.vector
    head_stride = 4 * config.kv_block_bytes(HEAD_DIM)
    slot_stride = LAYER + kv_heads * head_stride
    memory = Memory(config, 2 * slot_stride, stall)
    golden = memory.bytes.copy()
    angles = rng.uniform(0, 7, size=(64, HEAD_DIM // 2))
    cos, sin = rnd(np.cos(angles)), rnd(np.sin(angles))
    softmax_scale = float(rnd(HEAD_DIM**-0.5 * np.log2(np.e)))
    q_base = config.residual_elements // config.vector
    k_base = q_base + group * kv_heads * 2 * half
    v_base = k_base + kv_heads * 2 * half + 3
    dut, scratchpad = Attention(config), Scratchpad(config)
    top = Module()
    top.submodules.dut, top.submodules.scratchpad = dut, scratchpad
    wiring.connect(top, dut.read, scratchpad.read)
    positions: list[int] = []
    received: list[tuple[int, int, list[int]]] = []
    clocks = [0]

    def view(slot: int, g: int) -> KvHead:
        start = slot * slot_stride + LAYER + g * head_stride
        return KvHead.view(config, golden[start : start + head_stride], HEAD_DIM)

    async def serve_rope(ctx: Any) -> None:
        while True:
            _, _, en, column, word = await ctx.tick().sample(dut.rope.en, dut.rope.column, dut.rope.word)
            clocks[0] += 1
            assert clocks[0] < TIMEOUT
            if en:
                part = slice(int(word) * config.vector, (int(word) + 1) * config.vector)
                ctx.set(dut.rope.cos, encode(cos[positions[int(column)], part]).tolist())
                ctx.set(dut.rope.sin, encode(sin[positions[int(column)], part]).tolist())

    async def receive(ctx: Any) -> None:
        wait = random.Random(71)
        while True:
            ctx.set(dut.o.ready, wait.random() >= stall)
            _, _, valid, ready, word = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                received.append((int(word.column), int(word.index), [int(v) for v in word["values"]]))

    async def put(ctx: Any, column: int, base: int, rows: np.ndarray) -> None:
        for n, values in enumerate(encode(rows).reshape(-1, config.vector).tolist()):
            ctx.set(scratchpad.write.addr, column * config.column_words + base + n)
            ctx.set(scratchpad.write.data, values)
            ctx.set(scratchpad.write.en, 1)
            await ctx.tick()
        ctx.set(scratchpad.write.en, 0)

    async def bench(ctx: Any) -> None:
        nonlocal positions
        ctx.set(dut.kv_base, BASE)
        ctx.set(dut.slot_stride, slot_stride)
        for chunk in CHUNKS:
            positions = chunk["positions"]
            columns = len(positions)
            q = rnd(rng.normal(size=(columns, kv_heads * group, HEAD_DIM)) * 2)
            k = rnd(rng.normal(size=(columns, kv_heads, HEAD_DIM)) * 2)
            v = rnd(rng.normal(size=(columns, kv_heads, HEAD_DIM)))
            for column in range(columns):
                await put(ctx, column, q_base, q[column])
                await put(ctx, column, k_base, k[column])
                await put(ctx, column, v_base, v[column])
            ctx.set(dut.columns, columns)
            for column in range(columns):
                ctx.set(dut.descriptors[column].slot, chunk["slots"][column])
                ctx.set(dut.descriptors[column].position, positions[column])
            received.clear()
            ctx.set(dut.i.payload, {
                "group": group, "kv_heads": kv_heads, "half_words": half,
                "row_beats": HEAD_DIM * config.kv_bytes // config.beat_bytes,
                "q_base": q_base, "k_base": k_base, "v_base": v_base,
                "softmax_scale": int(encode(softmax_scale)), "head_stride": head_stride, "layer": LAYER,
            })
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            done = 0
            while not done:
                _, _, done = await ctx.tick().sample(dut.done)
            await ctx.tick().repeat(3)

            expected = []
            for column, position in enumerate(positions):
                for g in range(kv_heads):
                    key = rope(k[column, g], cos[position], sin[position])
                    view(chunk["slots"][column], g).append(position, key, v[column, g], config.kv_bits)
            for column, position in enumerate(positions):
                turned = rope(q[column], cos[position], sin[position])
                out = np.concatenate([
                    attend_head(turned[g * group : (g + 1) * group], view(chunk["slots"][column], g), position,
                                softmax_scale)
                    for g in range(kv_heads)
                ])
                words = encode(out).reshape(-1, config.vector).tolist()
                expected += [(column, index, word) for index, word in enumerate(words)]
            np.testing.assert_array_equal(memory.bytes, golden)
            assert received == expected

    async def reads(ctx: Any) -> None:
        await memory.serve_reads(ctx, dut)

    async def writes(ctx: Any) -> None:
        await memory.serve_writes(ctx, dut)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    for task in (serve_rope, receive, reads, writes):
        simulator.add_testbench(task, background=True)
    simulator.run()
