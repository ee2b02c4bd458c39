"""AXI4-Lite master for long runs. It does not run between accesses, so that Python does not slow the simulation."""

from __future__ import annotations

from typing import Any

from cocotb.triggers import RisingEdge

from sw.errors import HardwareError

__all__ = ["AxiLitePort", "BusError"]

TIMEOUT_CLOCKS = 1000


class BusError(HardwareError):
    """An access had a response other than OKAY, or no response."""


class AxiLitePort:
    """One access at a time on pins named `<prefix>_awaddr` and so on. Costs a handful of clocks per access."""

    def __init__(self, dut: Any, prefix: str, clock: Any) -> None:
        self._dut, self._prefix, self._clock = dut, prefix, clock
        for name in ("awvalid", "wvalid", "arvalid", "awprot", "arprot"):
            self._pin(name).value = 0
        self._pin("bready").value = 1
        self._pin("rready").value = 1

    def _pin(self, name: str) -> Any:
        return getattr(self._dut, f"{self._prefix}_{name}")

    async def _send(self, channel: str, **payload: int) -> None:
        for name, value in payload.items():
            self._pin(name).value = value
        self._pin(f"{channel}valid").value = 1
        for _ in range(TIMEOUT_CLOCKS):
            await RisingEdge(self._clock)
            if int(self._pin(f"{channel}ready").value):
                self._pin(f"{channel}valid").value = 0
                return
        raise BusError(f"{self._prefix}_{channel}ready stayed low for {TIMEOUT_CLOCKS} clocks")

    async def _receive(self, channel: str, what: str) -> None:
        for _ in range(TIMEOUT_CLOCKS):
            await RisingEdge(self._clock)
            if int(self._pin(f"{channel}valid").value):
                response = int(self._pin(f"{channel}resp").value)
                if response:
                    raise BusError(f"{what} was answered with response {response}")
                return
        raise BusError(f"{what} had no answer within {TIMEOUT_CLOCKS} clocks")

    async def write(self, address: int, value: int) -> None:
        """Raises BusError."""
        await self._send("aw", awaddr=address)
        await self._send("w", wdata=value, wstrb=0b1111)
        await self._receive("b", f"the write of {address:#x}")

    async def read(self, address: int) -> int:
        """Raises BusError."""
        await self._send("ar", araddr=address)
        await self._receive("r", f"the read of {address:#x}")
        return int(self._pin("rdata").value)
