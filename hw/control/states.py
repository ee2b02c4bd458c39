"""States that many sequences have: offer a payload until it is accepted, wait for an event."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, ValueLike

__all__ = ["offer_state", "wait_state"]


def offer_state(m: Module, name: str, port: Any, following: str) -> None:
    """A state of the FSM under construction: `port` is valid until its payload, which is assigned elsewhere, is
    accepted; then `following`. Takes one clock if the port is ready."""
    with m.State(name):
        m.d.comb += port.valid.eq(1)
        with m.If(port.ready):
            m.next = following


def wait_state(m: Module, name: str, event: ValueLike, following: str) -> None:
    """A state of the FSM under construction: it lasts until the clock in which `event` is high; then `following`."""
    with m.State(name):
        with m.If(event):
            m.next = following
