"""The decoder against the table, all 256 codes."""

from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.array.decoder import TritDecoder
from hw.array.trit_code import DECODE
from hw.formats import Trit

VALUES = {Trit.ZERO: 0, Trit.PLUS: 1, Trit.MINUS: -1}


def test_every_code():
    dut = TritDecoder()
    top = Module()
    top.submodules.dut = dut

    async def check(ctx):
        for byte in range(256):
            ctx.set(dut.i, byte)
            await ctx.delay(1e-9)
            trits = ctx.get(dut.o)
            assert [VALUES[trits[n]] for n in range(5)] == DECODE[byte].tolist(), f"byte {byte}"

    simulator = Simulator(top)
    simulator.add_testbench(check)
    simulator.run()
