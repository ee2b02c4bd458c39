"""Rows of the packed table come back as the machine floats that the golden model reads."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.attention.rope_rows import RopeRows
from hw.config import PRESETS, AccelConfig
from sim.golden.number import encode
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack

TINY = PRESETS["tiny"]
DEMO = Path(__file__).parents[3] / "models" / "shakespeare-nano"
CONFIGS = {
    "V = 2, 64 bit": TINY,
    "V = 4, 64 bit": TINY.replace(vector=4, rows=4, inputs=10, columns=3),
    "V = 1, 512 bit": TINY.replace(vector=1, rows=16, port_bits=512, columns=4),
}


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows(name: str, stall: float, tmp_path: Path) -> None:
    config: AccelConfig = CONFIGS[name]
    pack(Checkpoint.open(DEMO), tmp_path / "i", config)
    image = ModelImage.open(tmp_path / "i", config)
    d, stride = image.shape.head_dim, image.shape.rope_stride(config)
    table = image.view("rope").reshape(-1, stride)
    words = d // 2 // config.vector
    choose = random.Random(name)
    columns = [*range(config.columns), 0]
    positions = [0, *(choose.randrange(256) for _ in columns[1:])]
    kept = dict(zip(columns, positions, strict=True))
    dut = RopeRows(config)

    async def bench(ctx) -> None:
        for column, position in zip(columns, positions, strict=True):
            ctx.set(dut.i_load.payload, {"column": column, "words": words})
            ctx.set(dut.i_load.valid, 1)
            taken = 0
            while not taken:
                _, _, taken = await ctx.tick().sample(dut.i_load.ready)
            ctx.set(dut.i_load.valid, 0)
            lanes = table[position].reshape(-1, config.beat_bytes)
            for i, lane in enumerate(lanes):
                while choose.random() < stall:
                    await ctx.tick()
                ctx.set(dut.i.payload, {"data": [int(b) for b in lane], "last": int(i == len(lanes) - 1)})
                ctx.set(dut.i.valid, 1)
                taken = 0
                while not taken:
                    _, _, taken = await ctx.tick().sample(dut.i.ready)
                ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(4 + 16 * 32 // 25)
        ctx.set(dut.read.en, 1)
        for column, position in kept.items():
            both = encode(table[position][: 4 * d].copy().view("<f4").astype(np.float64)).reshape(2, words, -1)
            for word in range(words):
                ctx.set(dut.read.column, column)
                ctx.set(dut.read.word, word)
                await ctx.tick()
                assert [ctx.get(v) for v in dut.read.cos] == both[0, word].tolist()
                assert [ctx.get(v) for v in dut.read.sin] == both[1, word].tolist()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
