"""Signature of the AXI4 port of a memory: as in `hw.memory.axi`, but with the memory's width."""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["memory_port"]


def memory_port(address_bits: int, data_bits: int) -> wiring.Signature:
    """All five channels, seen from the master. Bursts are INCR, beats are whole words, answers come in order."""
    address = {"id": Out(1), "addr": Out(address_bits), "len": Out(8), "size": Out(3), "burst": Out(2),
               "valid": Out(1), "ready": In(1)}
    return wiring.Signature({
        **{f"ar{name}": member for name, member in address.items()},
        **{f"aw{name}": member for name, member in address.items()},
        "rid": In(1), "rdata": In(data_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1),
        "wdata": Out(data_bits), "wstrb": Out(data_bits // 8), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
        "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
    })
