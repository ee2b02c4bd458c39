"""Delays for values that accompany the data of a pipeline."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal

__all__ = ["delayed"]


def delayed(m: Module, value: Any, clocks: int, *, name: str) -> Any:
    """`value` as it was `clocks` steps ago, zero before; its shape stays. A call inside `m.If` counts only clocks that
    fulfil it. Cost: `clocks` registers of the value's width."""
    for n in range(clocks):
        stage = Signal(value.shape(), name=f"{name}_{n + 1}")
        m.d.sync += stage.eq(value)
        value = stage
    return value
