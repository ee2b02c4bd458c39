"""The serial line: every byte at awkward rates, rates that are a bit off, glitches, missing stop bits."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import ConfigError
from hw.serial_link.uart import CLOCKS_IN_STEP, UartReceiver, UartTransmitter, phase_step
from tests.hw.simulation import simulate
from tests.hw.steps import run_stream

RATES = {
    "in step": (4_000, 1_000, CLOCKS_IN_STEP), "8 clocks": (8_000, 1_000), "25 MHz, 3 Mbaud": (25_000, 3_000),
    "50 MHz, 3 Mbaud": (50_000, 3_000),
}


class Line(wiring.Component):
    """Transmitter and receiver of one line."""

    def __init__(self, *rate: int) -> None:
        self.rate = rate
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.transmitter = transmitter = UartTransmitter(*self.rate)
        m.submodules.receiver = receiver = UartReceiver(*self.rate)
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        m.d.comb += [
            receiver.rx.eq(transmitter.tx), self.o.payload.eq(receiver.o.payload), self.o.valid.eq(receiver.o.valid)
        ]
        return m


def check_line(rate: str, simulator: str = "pysim") -> None:
    """Every byte, in a row: it arrives, and the line has no gaps."""
    clock_hz, baud = RATES[rate][:2]
    sent = random.Random(1).sample(range(256), 256)
    received, clocks = run_stream(Line(*RATES[rate]), {"i": sent}, silence=400, simulator=simulator)
    assert received == sent
    per_byte = (clocks["o"][-1] - clocks["o"][0]) / 255
    assert per_byte == pytest.approx(10 * clock_hz / baud, rel=1e-4)


@pytest.mark.parametrize("rate", RATES)
def test_every_byte(rate: str) -> None:
    check_line(rate)


def test_every_byte_verilated() -> None:
    check_line("25 MHz, 3 Mbaud", "verilator")


def receive(levels: list[tuple[int, float]], simulator: str) -> list[int]:
    """Bytes that a receiver at 16 clocks per bit gives for levels of so many clocks each."""
    dut = UartReceiver(16_000, 1_000)
    received = []

    async def drive(ctx) -> None:
        time, clock = 0.0, 0
        for level, clocks in levels:
            ctx.set(dut.rx, level)
            time += clocks
            await ctx.tick().repeat(max(1, round(time) - clock))
            clock = round(time)

    async def watch(ctx) -> None:
        while True:
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                received.append(payload)

    simulate(dut, drive, background=[watch], simulator=simulator)
    return received


def levels_of(content: bytes, clocks: float = 16, stop: int = 1) -> list[tuple[int, float]]:
    """The line for bytes, back to back."""
    return [(level, clocks) for byte in content for level in (0, *(byte >> n & 1 for n in range(8)), stop)]


IDLE = [(1, 400.0)]


def check_off_rates(simulator: str) -> None:
    """A rate that is off by 4 % is understood; at 7 % the eighth bit is another one."""
    content = bytes(range(0, 256, 5))
    for clocks in (15.4, 16.0, 16.6):
        assert receive(IDLE + levels_of(content, clocks) + IDLE, simulator) == list(content), clocks
    assert receive(IDLE + levels_of(content, 14.8) + IDLE, simulator) != list(content)


def check_glitches(simulator: str) -> None:
    """Low for less than half a bit starts nothing."""
    for clocks in (1, 4, 7):
        assert receive([*IDLE, (0, clocks), *IDLE, *levels_of(b"A"), *IDLE], simulator) == [65], clocks


def check_missing_stop_bits(simulator: str) -> None:
    """Such a byte is dropped, and so is all that follows until the line has been high."""
    assert receive(IDLE + levels_of(b"\xff", stop=0) + IDLE + levels_of(b"ok") + IDLE, simulator) == list(b"ok")
    assert receive([*IDLE, (0, 16 * 35), *IDLE, *levels_of(b"ok"), *IDLE], simulator) == list(b"ok")


@pytest.mark.parametrize("check", [check_off_rates, check_glitches, check_missing_stop_bits])
def test_a_bad_line(check) -> None:
    check("pysim")


def test_a_bad_line_verilated() -> None:
    for check in (check_off_rates, check_glitches, check_missing_stop_bits):
        check("verilator")


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="3000000 baud needs a clock of 24000000 Hz at least, not 20000000 Hz"):
        phase_step(20_000_000, 3_000_000)
    with pytest.raises(ConfigError, match="a clock of 100000000 Hz does not divide to 1200 baud"):
        phase_step(100_000_000, 1_200)
