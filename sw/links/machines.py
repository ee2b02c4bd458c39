"""Connection to boards, and search for them, by the name of the backend. Used by sessions, `boards` and `doctor`."""

from __future__ import annotations

from hw.contract.config import ConfigError
from sw.links.found import Found
from sw.links.machine import MachineBus

__all__ = ["connect", "find"]


def connect(backend: str, port: str) -> MachineBus:
    """Connect to the accelerator of a backend; `port` is for serial. Raises HardwareError if none answers."""
    match backend:
        case "mmap":
            from sw.links import mmap

            return mmap.connect()
        case "serial":
            from sw.links import serial

            return serial.connect(port)
    raise ConfigError(f"no machine is reached by backend {backend!r}: use mmap or serial")


def find(backend: str) -> list[Found]:
    """All ports or devices where an accelerator of a backend may be, with the identity of what answers."""
    match backend:
        case "mmap":
            from sw.links import mmap

            return mmap.find()
        case "serial":
            from sw.links import serial

            return serial.find()
    raise ConfigError(f"no machine is reached by backend {backend!r}: use mmap or serial")
