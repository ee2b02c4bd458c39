"""This file delays what travels beside the data of a pipeline."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value

__all__ = ["delayed"]


def delayed(m: Module, value: Value, clocks: int, *, name: str) -> Value:
    """`value` as it was `clocks` steps ago, zero before. A call inside `m.If` counts only clocks that fulfil it."""
    for n in range(clocks):
        stage = Signal(len(value), name=f"{name}_{n + 1}")
        m.d.sync += stage.eq(value)
        value = stage
    return value
