"""Tests of a board's memory over its bus: data lines, address lines, random content, all memory.

Each test overwrites the memory that it tests and raises HardwareError if it fails. The order isolates the cause: a data
line first, then an address line, then single bits that no open or shorted line explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sw.errors import HardwareError
from sw.links.machine import PIECE_BYTES, MachineBus, piece_checksums
from sw.scrub import Progress

__all__ = ["address_lines", "data_lines", "everything", "random_blocks"]

STAMP_BYTES = 64
"""Bytes written at each tested address of the address-line test; no memory port splits a block of this alignment."""

RANDOM_BYTES = 1 << 14
REPEATS = 8
"""How many times the board reads a random block at full speed."""

SHOWN_BITS = 8


def _numbers(values: Sequence[int]) -> str:
    """Numbers as a list for a message, at most `SHOWN_BITS` of them."""
    shown = ", ".join(map(str, values[:SHOWN_BITS]))
    return f"{shown} and {len(values) - SHOWN_BITS} more" if len(values) > SHOWN_BITS else shown


def _wrong_bits(wrote: NDArray[np.uint8], found: NDArray[np.uint8], width: int) -> list[int]:
    """Bit numbers, within words of `width` bytes, that differ in at least one word."""
    differ = np.unpackbits((wrote ^ found).reshape(-1, width), axis=1, bitorder="little").any(axis=0)
    return [int(bit) for bit in np.flatnonzero(differ)]


async def data_lines(bus: MachineBus, width: int) -> str:
    """Test data lines: a walking one, then a walking zero, through words of `width` bytes.

    Each pattern takes 8 * width words; both together take 4 KiB for words of 16 bytes.
    """
    walking = np.packbits(np.eye(8 * width, dtype=np.uint8), axis=1, bitorder="little").reshape(-1)
    wrote = np.concatenate([walking, ~walking])
    await bus.write_memory(bus.base, wrote.tobytes())
    found = await bus.read_memory(bus.base, len(wrote))
    wrong = _wrong_bits(wrote, found, width)
    if wrong:
        values = np.unpackbits(found.reshape(-1, width), axis=1, bitorder="little")[:, wrong]
        how = "never change" if (values == values[0]).all() else "read back wrong"
        raise HardwareError(f"bits {_numbers(wrong)} of {8 * width} {how}: data lines of the memory are open or "
                            "shorted, or the memory is read too early or too late")
    return f"{8 * width} bits, walking one and walking zero"


async def address_lines(bus: MachineBus) -> str:
    """Test address lines: write a different stamp at offset 0 and at every power of two; none may overwrite another."""
    offsets = [0]
    while (step := STAMP_BYTES << len(offsets) - 1) + STAMP_BYTES <= bus.memory_bytes:
        offsets.append(step)
    stamps = np.random.default_rng(1).integers(0, 256, (len(offsets), STAMP_BYTES), dtype=np.uint8)
    for offset, stamp in zip(reversed(offsets), reversed(stamps), strict=True):  # lowest address last
        await bus.write_memory(bus.base + offset, stamp.tobytes())
    for offset, stamp in zip(offsets, stamps, strict=True):
        found = await bus.read_memory(bus.base + offset, STAMP_BYTES)
        if (found == stamp).all():
            continue
        where = f"address {bus.base + offset:#x}"
        others = [at for at, other in zip(offsets, stamps, strict=True) if (found == other).all()]
        if not others:
            raise HardwareError(f"{where} does not keep the data written to it: check supply and clock of the memory")
        bit = (offset ^ others[0]).bit_length() - 1
        raise HardwareError(f"{where} reads back the data of {bus.base + others[0]:#x}: address bit {bit} is open or "
                            f"shorted, or the memory is smaller than the {bus.memory_bytes:,} bytes that the board "
                            "reports")
    return f"{len(offsets) - 1} address bits, {bus.memory_bytes:,} bytes"


async def _compare(bus: MachineBus, address: int, wrote: NDArray[np.uint8]) -> None:
    """Make the board read a block `REPEATS` times. Raises HardwareError if it reads anything but `wrote`."""
    expected = piece_checksums(wrote)
    for repeat in range(REPEATS):
        if await bus.checksums(address, len(wrote)) == expected:
            continue
        found = await bus.read_memory(address, len(wrote))
        wrong = np.flatnonzero(found != wrote)
        if not len(wrong):
            raise HardwareError(f"{len(wrote)} bytes at {address:#x} were read wrong at full speed in attempt "
                                f"{repeat + 1} of {REPEATS}, and correctly afterwards: the read timing of the memory "
                                "is marginal; cool the memory, or build for a lower clock")
        bits = _wrong_bits(wrote[wrong], found[wrong], 1)
        raise HardwareError(f"{len(wrong)} of {len(wrote)} bytes at {address:#x} are wrong, the first at "
                            f"{address + wrong[0]:#x}, in bits {_numbers(bits)} of the byte: check the cells, refresh "
                            "and timing of the memory")


async def random_blocks(bus: MachineBus) -> str:
    """Test a random block at the start, middle and end of memory. All are written before the first is compared."""
    size = min(RANDOM_BYTES, bus.memory_bytes // 4)
    starts = [0, bus.memory_bytes // 2, bus.memory_bytes - size]
    blocks = np.random.default_rng(2).integers(0, 256, (len(starts), size), dtype=np.uint8)
    for start, block in zip(starts, blocks, strict=True):
        await bus.write_memory(bus.base + start, block.tobytes())
    for start, block in zip(starts, blocks, strict=True):
        await _compare(bus, bus.base + start, block)
    return f"{len(starts)} blocks of {size:,} bytes, each read {REPEATS} times at full speed"


async def everything(bus: MachineBus, progress: Progress) -> str:
    """Write random content to all memory, then read all of it. The speed of the bus determines the duration."""
    starts = range(0, bus.memory_bytes, PIECE_BYTES)

    def content(start: int) -> NDArray[np.uint8]:
        size = min(PIECE_BYTES, bus.memory_bytes - start)
        return np.random.default_rng(start).integers(0, 256, size, dtype=np.uint8)

    for start in starts:
        await bus.write_memory(bus.base + start, content(start).tobytes())
        progress(start + PIECE_BYTES, bus.memory_bytes)
    for start in starts:
        await _compare(bus, bus.base + start, content(start))
    return f"{bus.memory_bytes:,} bytes"
