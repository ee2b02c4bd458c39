"""Scrub: check that the image in the accelerator's memory still equals the packed image."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sw.errors import HardwareError
from sw.image import ModelImage

__all__ = ["Progress", "scrub"]

Progress = Callable[[int, int], None]
"""Called with the bytes done so far and the total."""

CHUNK_BYTES = 1 << 22
"""Bytes that are read at a time."""


def scrub(
    read_memory: Callable[[int, int], NDArray[np.uint8]], image: ModelImage, base: int, progress: Progress
) -> None:
    """Compare the CRC-32 of each region of the image at byte `base` of the accelerator's memory with the image's table.

    `read_memory(address, size)` returns bytes of the accelerator's memory.

    Raises:
        HardwareError: a region differs; the message gives region, position and value of the first wrong byte.
    """
    total, done = sum(region.area for region in image.plan.regions.values()), 0
    for region in image.plan.regions.values():
        crc = 0
        place = ""
        for start in range(region.offset, region.offset + region.area, CHUNK_BYTES):
            packed = image.memory[start : min(start + CHUNK_BYTES, region.offset + region.area)]
            found = read_memory(base + start, len(packed))
            crc = zlib.crc32(found.data, crc)
            differ = np.flatnonzero(found != packed)
            if len(differ) and not place:
                at = int(differ[0])
                place = (f"byte {start + at - region.offset} of it, at {base + start + at:#x}, is {found[at]:#04x}, "
                         f"not {packed[at]:#04x}")
            done += len(packed)
            progress(done, total)
        if crc != image.crcs[region.name]:
            raise HardwareError(
                f"region {region.name} of the image is damaged in the accelerator's memory: "
                f"{place or 'the file has changed as well'}; load the image again"
            )
