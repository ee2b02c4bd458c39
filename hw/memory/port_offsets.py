"""Where the area of each memory port starts, behind that of port 0."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Module, Signal, Value

from hw.contract.config import AccelConfig

__all__ = ["port_offsets"]


def port_offsets(m: Module, config: AccelConfig, stride: Value) -> list[Value]:
    """Registers with the multiples 0, 1, 2 and so on of `stride`, one per port, right once it was steady for P clocks.

    Each is a sum of the one before, as a product of this width would take multipliers."""
    offsets = [Signal(config.address_bits, name=f"port_offset_{n}") for n in range(config.ports)]
    for before, offset in pairwise(offsets):
        m.d.sync += offset.eq(before + stride)
    return [*offsets]
