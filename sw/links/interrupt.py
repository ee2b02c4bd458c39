"""The interrupt of a UIO device: waiting for it lets the processor sleep until a run of the accelerator has ended."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sw.errors import HardwareError

__all__ = ["Interrupt"]

WORD_BYTES = 4
"""A write of 1 enables the interrupt; after one, which disables it, a read returns how many there have been."""


class Interrupt:
    """`path` is the device file. The interrupt is a level, so one that came before `wait` enabled it is not lost; one
    that nobody waited for ends the next `wait` early.

    Raises HardwareError, here and in `wait`, for a device that cannot be opened or has no interrupt.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise HardwareError(f"cannot open {path} for its interrupt: {error.strerror}") from error

    async def wait(self, timeout_s: float) -> bool:
        """Enable the interrupt and wait until it comes, or until the time is over; whether it came."""
        if self._descriptor is None:
            raise HardwareError(f"the accelerator at {self._path} was closed: open it again")
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        try:
            os.write(self._descriptor, (1).to_bytes(WORD_BYTES, sys.byteorder))
            loop.add_reader(self._descriptor, came.set)
            try:
                async with asyncio.timeout(timeout_s):
                    await came.wait()
                os.read(self._descriptor, WORD_BYTES)
            except TimeoutError:
                return False
            finally:
                loop.remove_reader(self._descriptor)
        except OSError as error:
            raise HardwareError(f"the interrupt of {self._path} failed: {error.strerror}; load the board's overlay "
                                "again") from error
        return True

    def close(self) -> None:
        """Close the device. May be called again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
