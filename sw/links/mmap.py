"""Registers and memory of an accelerator beside this processor on one chip: a UIO device and a u-dma-buf.

Registers are 32-bit words of a window that the kernel maps uncached. Memory is one contiguous buffer, mapped cached:
copies run at full speed and may have any alignment. The accelerator does not access the caches, so each copy is
synchronised with the driver's `sync_for_cpu` and `sync_for_device`, which also order it with register accesses.

If the UIO device has an interrupt, a pause ends with the run; otherwise the driver polls.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import ceil_div
from hw.contract.register_map import ADDRESS_BITS
from sw.errors import HardwareError
from sw.layout import ALIGNMENT
from sw.links.found import Found, Identity
from sw.links.interrupt import Interrupt
from sw.links.machine import piece_checksums
from sw.registers import read_build_id

__all__ = [
    "BUFFER_NAME", "CACHE_LINE_BYTES", "REGISTER_BYTES", "UIO_NAME", "DmaBuffer", "MmapBus", "connect", "find",
]

UIO_NAME = "bitnet"
"""Name of the UIO device, which is the name of its device-tree node."""

BUFFER_NAME = "bitnet-memory"
"""Name of the u-dma-buf, which is the `device-name` of its device-tree node."""

REGISTER_BYTES = 1 << ADDRESS_BITS
"""Size of the register window."""

CACHE_LINE_BYTES = 64
"""Line size of the Cortex-A53. Ranges are synchronised in whole cache lines."""

MAX_BUFFER_BYTES = (1 << 32) - 16
"""The kernel's driver takes ranges with offset and size of 32 bits, a multiple of 16."""

PAUSE_S = 0.0005
"""A pause in which nothing is expected, and every pause without an interrupt."""

INTERRUPT_PAUSE_S = 0.02
"""Longest pause with an interrupt, which comes at the end of a run: the tokens before it are seen this late at most."""


def _open(path: Path, flags: int) -> int:
    """Open a device file. Raises HardwareError if it is missing or this user may not open it."""
    try:
        return os.open(path, flags)
    except PermissionError as error:
        raise HardwareError(f"no permission to open {path}: run as root, or give your user access to it") from error
    except OSError as error:
        raise HardwareError(f"cannot open {path}: {error.strerror}") from error


def _number(path: Path, base: int = 0) -> int:
    """A number from a file of the kernel."""
    try:
        return int(path.read_text(), base)
    except (OSError, ValueError) as error:
        raise HardwareError(f"{path} does not hold a number: {error}") from error


def _map(path: Path, size: int) -> NDArray[np.uint8]:
    """A shared mapping of a device from its start; it lives as long as the array."""
    descriptor = _open(path, os.O_RDWR)
    try:
        return np.frombuffer(mmap.mmap(descriptor, size), dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise HardwareError(f"cannot map {size} bytes of {path}: {error}") from error
    finally:
        os.close(descriptor)


def _uio_device(name: str, root: Path) -> str | None:
    """The UIO device with the given name, such as `uio0`; None if there is none."""
    folders = sorted((root / "sys/class/uio").glob("uio*"))
    return next((folder.name for folder in folders if (folder / "name").read_text().strip() == name), None)


class DmaBuffer:
    """A u-dma-buf: `content` as this processor sees it, `address` and `size` in bytes as the accelerator does.

    Raises HardwareError: no such buffer, no permission, or larger than the driver can hand over in parts.
    """

    def __init__(self, name: str, root: Path) -> None:
        folder = root / "sys/class/u-dma-buf" / name
        if not folder.is_dir():
            raise HardwareError(
                f"there is no u-dma-buf named {name}: load the kernel module u-dma-buf and the board's overlay"
            )
        self.address, self.size = _number(folder / "phys_addr", 16), _number(folder / "size")
        if self.size > MAX_BUFFER_BYTES:
            raise HardwareError(f"u-dma-buf {name} has {self.size} bytes; it must stay below 4 GiB")
        self._for_cpu, self._for_device = (_open(folder / f"sync_for_{who}", os.O_WRONLY) for who in ("cpu", "device"))
        self.content = _map(root / "dev" / name, self.size)

    def for_cpu(self, offset: int, size: int) -> None:
        """Make data that the accelerator wrote visible to this processor."""
        self._sync(self._for_cpu, offset, size)

    def for_device(self, offset: int, size: int) -> None:
        """Make data that this processor wrote visible to the accelerator."""
        self._sync(self._for_device, offset, size)

    def _sync(self, descriptor: int, offset: int, size: int) -> None:
        """Write range and command to the driver as one word: offset in bits 63:32, size in 31:4 (a multiple of 16),
        direction in 3:2 (0: both), 1 in bit 0."""
        start = offset // CACHE_LINE_BYTES * CACHE_LINE_BYTES
        end = ceil_div(offset + size, CACHE_LINE_BYTES) * CACHE_LINE_BYTES
        try:
            os.pwrite(descriptor, f"{start << 32 | (end - start) | 1:#x}".encode(), 0)
        except OSError as error:
            raise HardwareError(f"u-dma-buf cannot synchronise {size} bytes at offset {offset}: {error}") from error


class MmapBus:
    """`sw.registers.Bus` by memory mapping. `base` is where an image may start: the buffer's first multiple of 64 KiB.

    `root` is the folder that holds /sys and /dev. Raises HardwareError, here and in every access, for a device that is
    missing, too small or closed to this user, and for memory outside of the buffer.
    """

    def __init__(self, uio: str = UIO_NAME, buffer: str = BUFFER_NAME, root: Path = Path("/")) -> None:
        device = _uio_device(uio, root)
        if device is None:
            raise HardwareError(f"there is no UIO device named {uio}: load the bitstream with the board's overlay")
        size = _number(root / "sys/class/uio" / device / "maps/map0/size")
        if size < REGISTER_BYTES:
            raise HardwareError(f"UIO device {uio} has a window of {size} bytes; the registers take {REGISTER_BYTES}")
        self._registers = _map(root / "dev" / device, REGISTER_BYTES).view("<u4")
        self.memory = DmaBuffer(buffer, root)
        interrupts = root / "sys/class/uio" / device / "device/of_node/interrupts"
        self._interrupt = Interrupt(root / "dev" / device) if interrupts.exists() else None
        self.base = ceil_div(self.memory.address, ALIGNMENT) * ALIGNMENT
        self.memory_bytes = self.memory.address + self.memory.size - self.base
        self._described = f"UIO device {device}, {self.memory_bytes:,} bytes of memory at {self.base:#x}"

    def describe(self) -> str:
        """Text with device and memory."""
        return self._described

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        """An aligned 32-bit load each: an item of a `uint32` array."""
        return [int(self._registers[address // 4]) for address in addresses]

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        """An aligned 32-bit store each."""
        for address, value in pairs:
            self._registers[address // 4] = value

    def _offset(self, address: int, size: int) -> int:
        offset = address - self.memory.address
        if offset < 0 or offset + size > self.memory.size:
            raise HardwareError(
                f"{size} bytes at {address:#x} are outside of the accelerator's memory of {self.memory.size} "
                f"bytes at {self.memory.address:#x}: increase the size of the u-dma-buf in the device-tree overlay"
            )
        return offset

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        """Copy a range of memory."""
        offset = self._offset(address, size)
        self.memory.for_cpu(offset, size)
        return self.memory.content[offset : offset + size].copy()

    async def write_memory(self, address: int, content: bytes) -> None:
        """Write to memory. Partial cache lines at both ends are first read from memory, then written back whole."""
        offset, size = self._offset(address, len(content)), len(content)
        self.memory.for_cpu(offset, size)
        self.memory.content[offset : offset + size] = np.frombuffer(content, dtype=np.uint8)
        self.memory.for_device(offset, size)

    async def checksums(self, address: int, size: int) -> list[int]:
        """Checksums of a copy of the range."""
        return piece_checksums(await self.read_memory(address, size))

    async def pause(self, clocks: int) -> None:
        """Pause until the run has ended, at most briefly whatever `clocks` is, as a poll takes a few microseconds."""
        if self._interrupt is None:
            await asyncio.sleep(PAUSE_S)
        else:
            await self._interrupt.wait(INTERRUPT_PAUSE_S if clocks else PAUSE_S)

    def close(self) -> None:
        """Close the interrupt. The mappings are released with the object."""
        if self._interrupt is not None:
            self._interrupt.close()


def find(root: Path = Path("/")) -> list[Found]:
    """The accelerator on this chip, if its overlay is loaded."""
    device = _uio_device(UIO_NAME, root)
    if device is None:
        return []
    at = f"/dev/{device}"
    try:
        with closing(MmapBus(root=root)) as bus:
            return [Found(at, Identity(asyncio.run(read_build_id(bus))))]
    except HardwareError as error:
        return [Found(at, problem=str(error))]


def connect() -> MmapBus:
    """The accelerator on this chip."""
    return MmapBus()
