"""Runs of the machine on the AXI memories of cocotbext-axi in a simulator of four states, also after resets at bad
moments. An X that reaches a handshake, an address, written data or a register ends the test: it is no number."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge
from numpy.typing import NDArray

from hw.verilog import RESET_CLOCKS
from sim.agents.axi_lite import AxiLitePort
from sim.bench import bench_config, bench_parameters
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.job import JobResult, execute
from sw.registers import Machine
from sw.requests import request_from
from tests.hw.memory.agents import stalls

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of cocotbext-axi 0.1.28 on cocotb 2.1
    from cocotbext.axi import AxiBus, AxiRam

POLL_CLOCKS = 500
LIMIT_CLOCKS = 200_000
VALIDS = ("m_axi_0_arvalid", "m_axi_0_awvalid", "m_axi_0_wvalid", "s_axi_ctrl_bvalid", "s_axi_ctrl_rvalid")


class ResetDone(HardwareError):
    """The machine was reset in the middle of a run."""


class RamBus:
    """What the driver sees: registers by AXI4-Lite, memory by the back door. With `channel` and `beats` the machine is
    reset in the run's first pause, behind that many beats of bursts that were not over."""

    def __init__(self, dut: Any, ram: AxiRam, channel: str = "", beats: int = 0) -> None:
        self._dut, self._ram, self._channel, self._beats = dut, ram, channel, beats
        self._port = AxiLitePort(dut, "s_axi_ctrl", dut.aclk)
        self._clocks = 0

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        return [await self._port.read(address) for address in addresses]

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        for address, value in pairs:
            await self._port.write(address, value)

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._ram.read(address, size), dtype=np.uint8)

    async def write_memory(self, address: int, content: bytes) -> None:
        self._ram.write(address, content)

    async def pause(self, clocks: int) -> None:
        if self._beats:
            await self._within_a_burst()
            self._beats = 0
            await reset(self._dut)
            raise ResetDone("reset within a burst")
        self._clocks += POLL_CLOCKS
        assert self._clocks < LIMIT_CLOCKS, "the machine hangs"
        for _ in range(POLL_CLOCKS):
            await RisingEdge(self._dut.aclk)

    async def _within_a_burst(self) -> None:
        valid, ready, last = (getattr(self._dut, f"m_axi_0_{self._channel}{end}") for end in ("valid", "ready", "last"))
        found = 0
        for _ in range(LIMIT_CLOCKS):
            await RisingEdge(self._dut.aclk)
            if int(valid.value) and int(ready.value):
                found += not int(last.value)
                if found >= self._beats and not int(last.value):
                    return
        raise AssertionError(f"channel {self._channel} had {found} beats within bursts, {self._beats} were awaited")


async def reset(dut: Any) -> None:
    """The shortest reset that is allowed. From its last edge on all VALIDs are low; the first edge that finds it high
    does not raise one either."""
    dut.aresetn.value = 0
    for _ in range(RESET_CLOCKS):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    for _ in range(2):
        await ReadOnly()
        assert [name for name in VALIDS if int(getattr(dut, name).value)] == []
        await RisingEdge(dut.aclk)


@cocotb.test()
@cocotb.parametrize(channel_and_beats=[("", 0), ("r", 40), ("w", 6)])
async def run_job(dut: Any, channel_and_beats: tuple[str, int]) -> None:
    """Tokens and logits are those of the golden model, from the first run and from one after a reset."""
    parameters: dict[str, Any] = bench_parameters()
    config = bench_config()
    image = ModelImage.open(Path(parameters["image"]), config)
    request = request_from(parameters["request"])
    for name in ("awaddr", "wdata", "wstrb", "araddr"):
        getattr(dut, f"s_axi_ctrl_{name}").value = 0
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi_0"), dut.aclk, dut.aresetn, reset_active_level=False,
                 size=image.plan.layout().end)
    ram.write(0, image.path.read_bytes())
    channels = (ram.read_if.ar_channel, ram.read_if.r_channel, ram.write_if.aw_channel, ram.write_if.w_channel,
                ram.write_if.b_channel)
    for seed, channel in enumerate(channels):
        channel.set_pause_generator(stalls(seed, 0.2))
    cocotb.start_soon(Clock(dut.aclk, 10, "ns").start())
    bus = RamBus(dut, ram, *channel_and_beats)
    await reset(dut)
    if channel_and_beats[1]:
        with pytest.raises(ResetDone):
            await play(bus, config, image, request)
    tokens, logits = await play(bus, config, image, request)
    assert tokens == parameters["tokens"]
    np.testing.assert_array_equal(logits, np.load(parameters["logits"]))


async def play(bus: RamBus, config: Any, image: ModelImage, request: Any) -> tuple[list[int], NDArray[np.float32]]:
    """One run by the driver."""
    result = JobResult()
    tokens = [token async for token in execute(Machine(bus), image.plan, request, result)]
    return tokens, np.stack(result.logits)
