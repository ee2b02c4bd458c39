"""Tests of a board's memory over its bus: data lines, address lines, random content, all of it.

Each overwrites what it tests and raises HardwareError with what is wrong, from the nearest cause on: a data line, then
an address line, then single bits that nobody can name a line for.
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
"""What is written at each place of the test of address lines: an alignment that no memory splits."""

RANDOM_BYTES = 1 << 14
REPEATS = 8
"""How often the board reads a random block, at its own speed, before it is compared."""

SHOWN_BITS = 8


def _numbers(values: Sequence[int]) -> str:
    """A list for a sentence, cut where it is long."""
    shown = ", ".join(map(str, values[:SHOWN_BITS]))
    return f"{shown} and {len(values) - SHOWN_BITS} more" if len(values) > SHOWN_BITS else shown


def _wrong_bits(wrote: NDArray[np.uint8], found: NDArray[np.uint8], width: int) -> list[int]:
    """Bits of a word of `width` bytes that differ in any word."""
    differ = np.unpackbits((wrote ^ found).reshape(-1, width), axis=1, bitorder="little").any(axis=0)
    return [int(bit) for bit in np.flatnonzero(differ)]


async def data_lines(bus: MachineBus, width: int) -> str:
    """A one that walks through words of `width` bytes of zeros, then a zero through ones.

    8 * width words of each; 4 KiB at 16 bytes.
    """
    walking = np.packbits(np.eye(8 * width, dtype=np.uint8), axis=1, bitorder="little").reshape(-1)
    wrote = np.concatenate([walking, ~walking])
    await bus.write_memory(bus.base, wrote.tobytes())
    found = await bus.read_memory(bus.base, len(wrote))
    wrong = _wrong_bits(wrote, found, width)
    if wrong:
        values = np.unpackbits(found.reshape(-1, width), axis=1, bitorder="little")[:, wrong]
        how = "never change" if (values == values[0]).all() else "are not what was written"
        raise HardwareError(f"bits {_numbers(wrong)} of {8 * width} {how}: data lines of the memory are open or "
                            "shorted, or it is read too early or too late")
    return f"{8 * width} bits, a one and a zero through all of them"


async def address_lines(bus: MachineBus) -> str:
    """A different stamp at the start and at every power of two behind it; none may overwrite another."""
    offsets = [0]
    while (step := STAMP_BYTES << len(offsets) - 1) + STAMP_BYTES <= bus.memory_bytes:
        offsets.append(step)
    stamps = np.random.default_rng(1).integers(0, 256, (len(offsets), STAMP_BYTES), dtype=np.uint8)
    for offset, stamp in zip(reversed(offsets), reversed(stamps), strict=True):  # the lowest one wins
        await bus.write_memory(bus.base + offset, stamp.tobytes())
    for offset, stamp in zip(offsets, stamps, strict=True):
        found = await bus.read_memory(bus.base + offset, STAMP_BYTES)
        if (found == stamp).all():
            continue
        where = f"address {bus.base + offset:#x}"
        others = [at for at, other in zip(offsets, stamps, strict=True) if (found == other).all()]
        if not others:
            raise HardwareError(f"{where} does not keep what was written")
        bit = (offset ^ others[0]).bit_length() - 1
        raise HardwareError(f"{where} reads as {bus.base + others[0]:#x}: address bit {bit} is open or shorted, or "
                            "there is less memory than the board says")
    return f"{len(offsets) - 1} address bits, {bus.memory_bytes:,} bytes"


async def _compare(bus: MachineBus, address: int, wrote: NDArray[np.uint8]) -> None:
    """Lets the board read a content `REPEATS` times; raises HardwareError where it is not what was written."""
    expected = piece_checksums(wrote)
    for repeat in range(REPEATS):
        if await bus.checksums(address, len(wrote)) == expected:
            continue
        found = await bus.read_memory(address, len(wrote))
        wrong = np.flatnonzero(found != wrote)
        if not len(wrong):
            raise HardwareError(f"{len(wrote)} bytes at {address:#x} read wrong at full speed, attempt {repeat + 1} of "
                                f"{REPEATS}, and right afterwards: reads of the memory are marginal; cool it, or build "
                                "for a lower clock")
        bits = _wrong_bits(wrote[wrong], found[wrong], 1)
        raise HardwareError(f"{len(wrong)} of {len(wrote)} bytes at {address:#x} are wrong, the first at "
                            f"{address + wrong[0]:#x}, in bits {_numbers(bits)} of the byte: cells, refresh or timing "
                            "of the memory")


async def random_blocks(bus: MachineBus) -> str:
    """A random block at the start, in the middle and at the end; all are written before the first is compared."""
    size = min(RANDOM_BYTES, bus.memory_bytes // 4)
    starts = [0, bus.memory_bytes // 2, bus.memory_bytes - size]
    blocks = np.random.default_rng(2).integers(0, 256, (len(starts), size), dtype=np.uint8)
    for start, block in zip(starts, blocks, strict=True):
        await bus.write_memory(bus.base + start, block.tobytes())
    for start, block in zip(starts, blocks, strict=True):
        await _compare(bus, bus.base + start, block)
    return f"{len(starts)} blocks of {size:,} bytes, each read {REPEATS} times at full speed"


async def everything(bus: MachineBus, progress: Progress) -> str:
    """Random content in all of the memory, then all of it read; as long as the link takes to write so much."""
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
