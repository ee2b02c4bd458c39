"""Words of vectors for the units between the array and the scratchpad, and a bench that gives them a scratchpad."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AccelConfig
from hw.memory.scratchpad import Scratchpad, scratchpad_write
from sim.golden.number import encode
from tests.hw.streams import run_stream

SIZES = {"max_hidden": 32, "max_intermediate": 64}
CONFIGS = {
    "scalar": AccelConfig(name="scalar", vector=1, columns=1, **SIZES),
    "pair": AccelConfig(name="pair", vector=2, columns=3, **SIZES),
    "quad": AccelConfig(name="quad", vector=4, rows=4, inputs=10, columns=2, **SIZES),
}
"""Every vector width; one column, and a number of columns that is no power of two."""


class Bench(wiring.Component):
    """The unit under test, connected to a scratchpad if it reads one; the values of `o` as one integer."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.config = dut.config
        self.word = dut.o.payload.shape()
        self.flat = data.StructLayout({
            name: field.width if name == "values" else field.shape for name, field in self.word
        })
        super().__init__({
            "i": In(stream.Signature(dut.i.payload.shape())),
            "o": Out(stream.Signature(self.flat)),
            "write": In(scratchpad_write(self.config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        m.d.comb += [
            self.o.valid.eq(dut.o.valid),
            self.o.payload.as_value().eq(dut.o.payload.as_value()),
            dut.o.ready.eq(self.o.ready),
        ]
        if hasattr(dut, "read"):
            m.submodules.scratchpad = scratchpad = Scratchpad(self.config)
            wiring.connect(m, dut.read, scratchpad.read)
            wiring.connect(m, wiring.flipped(self.write), scratchpad.write)
        return m


def words(config: AccelConfig, vectors, field: str) -> list[dict]:
    """Words of one vector per column as the array sends them: column after column for every word index."""
    count = vectors.shape[1] // config.vector
    cut = np.asarray(vectors).reshape(len(vectors), count, config.vector).tolist()
    return [{"column": column, "index": index, field: cut[column][index]}
            for index in range(count) for column in range(len(vectors))]


def stored(config: AccelConfig, vectors, base: int = 0):
    """Writes one vector of floats per column into the scratchpad, from word `base` of the column on."""
    async def prepare(ctx, bench):
        for word in words(config, encode(vectors), "values"):
            ctx.set(bench.write.en, 1)
            ctx.set(bench.write.addr, word["column"] * config.column_words + base + word["index"])
            ctx.set(bench.write.data, word["values"])
            await ctx.tick()
        ctx.set(bench.write.en, 0)
    return prepare


def check(dut, inputs: list[dict], expected, prepare, stall: float = 0.0, seed: int = 0) -> None:
    """The outputs are those floats and nothing else; without stalls one word per clock, LATENCY clocks later."""
    bench = Bench(dut)

    async def start(ctx):
        await prepare(ctx, bench)

    received, log = run_stream(bench, {"i": inputs}, stall=stall, seed=seed, prepare=start)
    got = [bench.word.from_bits(bench.flat.const(word).as_bits()) for word in received]
    plain = [{"column": word["column"], "index": word["index"], "values": list(word["values"])} for word in got]
    assert plain == words(dut.config, encode(expected), "values")
    if not stall:
        first = log["i"][0]
        assert log["i"] == list(range(first, first + len(inputs)))
        assert log["o"] == [clock + dut.LATENCY for clock in log["i"]]
