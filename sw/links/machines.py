"""Machines by the name of their link: what a session connects to, `boards` looks for, and `doctor` examines."""

from __future__ import annotations

from hw.contract.config import ConfigError
from sw.links.found import Found
from sw.links.machine import MachineBus

__all__ = ["connect", "find"]


def connect(backend: str, port: str) -> MachineBus:
    """The machine behind a link; `port` is for serial ones. Raises HardwareError where none answers."""
    match backend:
        case "mmap":
            from sw.links import mmap

            return mmap.connect()
        case "serial":
            from sw.links import serial

            return serial.connect(port)
    raise ConfigError(f"no machine is reached by backend {backend!r}: use mmap or serial")


def find(backend: str) -> list[Found]:
    """All places where a machine of that link may be, and what answers there."""
    match backend:
        case "mmap":
            from sw.links import mmap

            return mmap.find()
        case "serial":
            from sw.links import serial

            return serial.find()
    raise ConfigError(f"no machine is reached by backend {backend!r}: use mmap or serial")
