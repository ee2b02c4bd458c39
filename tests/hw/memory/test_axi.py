# amaranth: UnusedElaboratable=no
"""Pin names, burst splitting, documented latencies and unasked-for responses, in Amaranth's own simulator."""

from __future__ import annotations

import random

import pytest

from hw.contract.config import preset
from hw.memory.axi import AxiError, axi_signature, pin_name
from hw.memory.burst_splitter import BurstSplitter
from hw.memory.read_engine import ReadEngine
from hw.memory.write_engine import WriteEngine
from tests.hw.simulation import simulate

TINY = preset("tiny")


async def clocks_until(ctx, signal, limit: int = 20) -> int:
    """Clocks until a signal is 1."""
    for count in range(limit):
        if ctx.get(signal):
            return count
        await ctx.tick()
    raise AssertionError("never became 1")


def test_pin_names() -> None:
    names = [pin_name(f"m_axi_0__{name}") for name in axi_signature(TINY).members]
    assert names == [f"m_axi_0_{name}" for name in axi_signature(TINY).members]
    assert {"m_axi_0_araddr", "m_axi_0_rlast", "m_axi_0_awvalid", "m_axi_0_wstrb", "m_axi_0_bresp"} <= set(names)


@pytest.mark.parametrize("name", ["clk", "rst", "o_stream__payload", "stream__valid", "araddr", "a__b"])
def test_other_names_stay(name: str) -> None:
    assert pin_name(name) == name


@pytest.mark.parametrize("limit", [0, 257])
def test_splitter_refuses_limit(limit: int) -> None:
    with pytest.raises(ValueError, match=f"cannot be {limit}"):
        BurstSplitter(TINY, beat_bits=16, limit=limit)


def covers_regions(limit: int, simulator: str = "pysim") -> None:
    """The bursts of a region cover it in order, stay inside 4 KB and are as long as the rules allow."""
    dut = BurstSplitter(TINY, beat_bits=16, limit=limit)
    generator = random.Random(limit)

    async def testbench(ctx) -> None:
        for _ in range(30):
            address, beats = generator.randrange(0, 1 << 36, 8), generator.choice((1, 2, 511, 512, 513, 1500))
            ctx.set(dut.i.payload, {"address": address, "beats": beats})
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            while beats:
                ctx.set(dut.o.ready, generator.random() < 0.5)
                _, _, valid, ready, burst = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
                if valid and ready:
                    expected = min(beats, limit, (4096 - address % 4096) // 8)
                    assert (burst.address, burst.beats, burst.final) == (address, expected, beats == expected)
                    address, beats = address + 8 * expected, beats - expected
            assert not ctx.get(dut.busy)

    simulate(dut, testbench, simulator=simulator)


@pytest.mark.parametrize("limit", [1, 7, 64, 256])
def test_splitter_covers_region(limit: int) -> None:
    covers_regions(limit)


def test_splitter_verilated() -> None:
    covers_regions(7, "verilator")


def test_read_latency() -> None:
    """4 clocks to ARVALID and 3 clocks from RVALID to data."""
    dut = ReadEngine(TINY)

    async def testbench(ctx) -> None:
        ctx.set(dut.stream.payload, {"address": 0x1000, "beats": 1})
        ctx.set(dut.stream.valid, 1)
        assert ctx.get(dut.stream.ready)
        assert ctx.get(dut.idle)
        await ctx.tick()
        ctx.set(dut.stream.valid, 0)
        assert 1 + await clocks_until(ctx, dut.axi.arvalid) == 4
        ctx.set(dut.axi.arready, 1)
        await ctx.tick()
        ctx.set(dut.axi.rvalid, 1)
        ctx.set(dut.axi.rlast, 1)
        ctx.set(dut.axi.rdata, 0x0102030405060708)
        await ctx.tick()
        ctx.set(dut.axi.rvalid, 0)
        assert 1 + await clocks_until(ctx, dut.o_stream.valid) == 3
        assert ctx.get(dut.o_stream.payload[0]) == 8
        assert ctx.get(dut.error) == AxiError.NONE

    simulate(dut, testbench)


def test_write_latency() -> None:
    """4 clocks to AWVALID, 1 clock from a beat to WVALID."""
    dut = WriteEngine(TINY)

    async def testbench(ctx) -> None:
        ctx.set(dut.request.payload, {"address": 0x1000, "beats": 1})
        ctx.set(dut.request.valid, 1)
        await ctx.tick()
        ctx.set(dut.request.valid, 0)
        assert 1 + await clocks_until(ctx, dut.axi.awvalid) == 4
        ctx.set(dut.data.valid, 1)
        assert ctx.get(dut.data.ready)
        await ctx.tick()
        assert ctx.get(dut.axi.wvalid)
        assert ctx.get(dut.axi.wlast)

    simulate(dut, testbench)


@pytest.mark.parametrize("client", [0, 1])
def test_read_response_nobody_asked_for(client: int) -> None:
    dut = ReadEngine(TINY)

    async def testbench(ctx) -> None:
        ctx.set(dut.axi.rvalid, 1)
        ctx.set(dut.axi.rid, client)
        ctx.set(dut.axi.rlast, 1)
        await ctx.tick()
        ctx.set(dut.axi.rvalid, 0)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.error) == AxiError.UNEXPECTED
        ctx.set(dut.abort, 1)
        await ctx.tick()
        ctx.set(dut.abort, 0)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.error) == AxiError.NONE
        assert ctx.get(dut.idle)

    simulate(dut, testbench)


def test_write_response_nobody_asked_for() -> None:
    dut = WriteEngine(TINY)

    async def testbench(ctx) -> None:
        ctx.set(dut.axi.bvalid, 1)
        await ctx.tick()
        assert ctx.get(dut.error) == AxiError.UNEXPECTED

    simulate(dut, testbench)


def test_write_decode_error() -> None:
    dut = WriteEngine(TINY)

    async def testbench(ctx) -> None:
        for signal in (dut.request.valid, dut.data.valid, dut.axi.awready, dut.axi.wready):
            ctx.set(signal, 1)
        ctx.set(dut.request.payload, {"address": 0, "beats": 1})
        await ctx.tick()
        ctx.set(dut.request.valid, 0)
        await ctx.tick().until(dut.axi.wvalid)
        ctx.set(dut.axi.bvalid, 1)
        ctx.set(dut.axi.bresp, 3)
        await ctx.tick()
        assert ctx.get(dut.error) == AxiError.DECODE

    simulate(dut, testbench)
