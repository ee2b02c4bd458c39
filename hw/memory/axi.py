"""AXI4 port signatures and the names of their pins in Verilog.

A port is a flat `wiring.Signature` with the member names of the AXI4 standard in lower case. Every master has a
single-bit ID. Bursts are always INCR, one full beat per transfer, normal bufferable memory (AxCACHE 0b0011), no locks,
no quality of service: these pins are constants of the master or left out, as the standard allows.

Pin names: Amaranth flattens a port `m_axi_0` with a member `araddr` to `m_axi_0__araddr`. Vendor tools find an AXI
interface by its names only when they read `m_axi_0_araddr`, so code that writes the Verilog of a top-level component
passes every port through `pin_name`, which undoes the doubled underscore of AXI members and leaves all others alone.
"""

from __future__ import annotations

import re

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import BOUNDARY_BYTES, AccelConfig

__all__ = [
    "BURST_INCR", "CACHE_NORMAL", "RESPONSE_OKAY", "RESPONSE_SLVERR", "AxiError",
    "axi_read_signature", "axi_signature", "axi_write_signature", "beat_size", "burst_request", "page_window",
    "pin_name",
]

BURST_INCR = 0b01
"""AxBURST: incrementing addresses."""

CACHE_NORMAL = 0b0011
"""AxCACHE: normal, non-cacheable, bufferable memory."""

RESPONSE_OKAY, RESPONSE_SLVERR = 0b00, 0b10
"""RRESP and BRESP: done; an error of the slave."""


class AxiError(enum.Enum, shape=3):
    """First error of a memory engine, stored until reset or a completed abort.

    SLAVE: response SLVERR. DECODE: response DECERR. LAST: RLAST came early or late. UNEXPECTED: a response without a
    request. TIMEOUT: an answer of the port was outstanding, and the port was inactive for `timeout_cycles`. RANGE: a
    burst outside of the window, which was not issued.
    """

    NONE = 0
    SLAVE = 1
    DECODE = 2
    LAST = 3
    UNEXPECTED = 4
    TIMEOUT = 5
    RANGE = 6


def _address_members(prefix: str, config: AccelConfig) -> dict[str, wiring.Member]:
    return {
        f"{prefix}id": Out(1),
        f"{prefix}addr": Out(config.address_bits),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(2),
        f"{prefix}cache": Out(4),
        f"{prefix}prot": Out(3),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def _read_members(config: AccelConfig) -> dict[str, wiring.Member]:
    return _address_members("ar", config) | {
        "rid": In(1),
        "rdata": In(config.port_bits),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write_members(config: AccelConfig) -> dict[str, wiring.Member]:
    return _address_members("aw", config) | {
        "wdata": Out(config.port_bits),
        "wstrb": Out(config.beat_bytes),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(1),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


def axi_read_signature(config: AccelConfig) -> wiring.Signature:
    """AR and R of an AXI4 master."""
    return wiring.Signature(_read_members(config))


def axi_write_signature(config: AccelConfig) -> wiring.Signature:
    """AW, W and B of an AXI4 master."""
    return wiring.Signature(_write_members(config))


def axi_signature(config: AccelConfig) -> wiring.Signature:
    """All five channels of an AXI4 master."""
    return wiring.Signature(_read_members(config) | _write_members(config))


def burst_request(config: AccelConfig, beat_bits: int) -> data.StructLayout:
    """A contiguous region: byte address (multiple of the beat) and number of beats."""
    return data.StructLayout({"address": unsigned(config.address_bits), "beats": unsigned(beat_bits)})


def page_window(config: AccelConfig) -> wiring.Member:
    """An input: bursts may go to the pages from `base` up to the one before `end`. All pages where it is not connected.

    A page has BOUNDARY_BYTES. As no burst crosses pages, no comparison needs the length of a burst.
    """
    bits = config.address_bits - exact_log2(BOUNDARY_BYTES)
    return In(data.StructLayout({"base": unsigned(bits), "end": unsigned(bits + 1)}), init={"end": 1 << bits})


def beat_size(config: AccelConfig) -> int:
    """AxSIZE of a full beat, also the number of address bits inside a beat."""
    return exact_log2(config.beat_bytes)


_AXI_PIN = re.compile(r"(.+?)__((?:aw|ar)(?:id|addr|len|size|burst|cache|prot|valid|ready)"
                      r"|w(?:data|strb|last|valid|ready)|b(?:id|resp|valid|ready)|r(?:id|data|resp|last|valid|ready))")


def pin_name(flat: str) -> str:
    """Verilog pin of a flattened Amaranth port: `m_axi_0__araddr` becomes `m_axi_0_araddr`; other names stay."""
    match = _AXI_PIN.fullmatch(flat)
    return f"{match[1]}_{match[2]}" if match else flat
