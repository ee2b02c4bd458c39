"""The comparison helpers equal the operators on decoded floats."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.float.compare import absolute, float_greater, magnitude, negate
from sim.golden.number import decode, encode
from tests.hw.float.vectors import assert_equal, pairs, stream


class Compare(wiring.Component):
    """All helpers behind one register, side by side in `o`."""

    LATENCY = 1

    a: In(25)
    b: In(25)
    o: Out(75)

    def elaborate(self, platform):
        m = Module()
        assert len(magnitude(self.a)) == 24
        m.d.sync += [self.o[:25].eq(absolute(self.a)), self.o[25:50].eq(negate(self.a)),
                     self.o[50].eq(float_greater(self.a, self.b))]
        return m


def test_equals_golden():
    a, b = pairs(seed=3, count=3000)
    got = stream(Compare(), a=a, b=b)
    x, y = decode(a), decode(b)
    assert_equal(got & 0x1FF_FFFF, encode(abs(x)), a)
    assert_equal(got >> 25 & 0x1FF_FFFF, encode(0.0 - x), a)
    assert_equal(got >> 50, (x > y).astype(int), a, b)
