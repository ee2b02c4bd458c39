"""The decoder against the table, all 256 codes."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from hw.array.decoder import TritDecoder
from hw.contract.trit_code import DECODE
from tests.hw.simulation import SIMULATORS
from tests.hw.steps import Step, run_steps


class RegisteredDecoder(wiring.Component):
    """The decoder, which has no clock, in front of a register."""

    def __init__(self) -> None:
        self.decoder = TritDecoder()
        super().__init__(self.decoder.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = self.decoder
        m.d.comb += self.decoder.i.eq(self.i)
        m.d.sync += self.o.eq(self.decoder.o)
        return m


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_every_code(simulator):
    steps = [Step(set={"i": byte}, read=["o"]) for byte in range(256)]
    run = run_steps(RegisteredDecoder(), [*steps, Step(read=["o"])], outputs=[], simulator=simulator)
    for byte, (trits,) in enumerate(run.read[1:]):
        values = [(-1 if trit["negate"] else 1) * trit["nonzero"] for trit in trits]
        assert values == DECODE[byte].tolist(), f"byte {byte}"
