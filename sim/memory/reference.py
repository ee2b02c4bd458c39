"""How many bytes a memory gives per clock at most. This file runs the reader of reference.cpp on it.

The reader knows nothing of the accelerator. It has one stream for each port, of bursts as long as AXI allows, and asks
for as many as the port takes. What it gets is the denominator of the efficiency of a stream.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hw.contract.config import AccelConfig
from sim.memory.part import Part, memory_part
from sim.memory.top import SOURCES
from sim.model_cache import cached, name_of
from sim.verilate import compile_library

__all__ = ["CLOCKS", "WARM_UP_CLOCKS", "bytes_per_cycle", "broken_rule", "sequential_bytes_per_cycle", "staggered"]

LIBRARY = "reference.so"
SOURCE = Path(__file__).with_name("reference.cpp")
HEADERS = [path for path in SOURCES if path.suffix == ".h"]

PAGE = 4096
LONGEST_BEATS = 256
MOST_PORTS = 4
WARM_UP_CLOCKS, CLOCKS = 5_000, 100_000
"""At 250 MHz 400 us, of some 50 refreshes."""

APART = 64 << 20
"""Distance of the ports' streams."""

COMMANDS = ("activate", "precharge", "read", "write", "refresh")
"""In the order of dram_part.h."""


class _Pattern(ctypes.Structure):
    """As in reference.cpp."""

    _fields_ = [*((name, ctypes.c_int64) for name in ("ports", "word_bytes", "burst_bytes", "span", "kept", "writes",
                                                      "warm_up", "clocks")), ("bases", ctypes.c_int64 * MOST_PORTS)]


@cache
def _library() -> ctypes.CDLL:
    """Built once (sim/model_cache.py). Raises ToolError if g++ is missing or fails."""
    texts = {path.name: path.read_text() for path in (SOURCE, *HEADERS)}

    def build(folder: Path, log: Path) -> None:
        for name, text in texts.items():
            (folder / name).write_text(text)
        compile_library(folder, SOURCE.name, LIBRARY, log)

    library = ctypes.CDLL(str(cached(name_of("reference", texts), build, LIBRARY) / LIBRARY))
    library.reference_run.restype = library.reference_check.restype = ctypes.c_char_p
    return library


def _refuse(said: bytes) -> None:
    if said:
        raise RuntimeError(f"the model of the memory is wrong: {said.decode()}")


def staggered(part: Part, ports: int) -> list[int]:
    """Addresses of the ports' streams, that differ in their banks as far as there are some."""
    geometry = part.content["geometry"]
    return [port * (APART + (1 << geometry["bank_bit"])) for port in range(ports)]


def bytes_per_cycle(
    part: Part, config: AccelConfig, *, bases: Sequence[int] | None = None, burst_bytes: int | None = None,
    span: int = 0, kept: float = 1.0, writes: bool = False,
) -> list[float]:
    """Bytes that each port moves per clock.

    Args:
        part: the memory; the ports are those of the configuration.
        bases: first address of each port; default: `staggered`.
        burst_bytes: a power of two; default: as long as AXI allows.
        span: bursts lie at random within as many bytes from the base on; 0: one after the other.
        kept: without a span, the share of the bursts that are moved, above 0. The others are skipped, at random and
            the same ones on all ports.
        writes: write, instead of reading.

    Raises JobError if the memory does not fit the configuration.
    """
    part.check(config)
    word = config.beat_bytes
    places = (ctypes.c_int64 * MOST_PORTS)(*(staggered(part, config.ports) if bases is None else bases))
    pattern = _Pattern(config.ports, word, burst_bytes or min(PAGE, LONGEST_BEATS * word), span,
                       1024 if span else max(1, round(1024 * kept)), writes, WARM_UP_CLOCKS, CLOCKS, places)
    moved = (ctypes.c_int64 * MOST_PORTS)()
    _refuse(_library().reference_run(part.text().encode(), ctypes.byref(pattern), moved))
    return [bytes_ / CLOCKS for bytes_ in moved[: config.ports]]


def sequential_bytes_per_cycle(memory: str, config: AccelConfig) -> float:
    """Bytes per clock that the named memory gives to all ports of a configuration together, in sequential reads.

    That of `ideal` is a beat of every port: a fixed latency does not limit the rate.

    Raises JobError: there is no such memory, or it does not fit the configuration.
    """
    part = memory_part(memory)
    return float(config.stream_bytes) if part is None else sum(bytes_per_cycle(part, config))


def broken_rule(part: Part, commands: Sequence[tuple[str, int, int, int, int]]) -> str:
    """The rule of the part that the last of some commands to the DRAM breaks; empty if it breaks none.

    A command is its name, clock, bank group, bank (-1: all) and row. Raises RuntimeError if an earlier one breaks one.
    """
    numbers = [number for name, *rest in commands for number in (COMMANDS.index(name), *rest)]
    array = (ctypes.c_int64 * len(numbers))(*numbers)
    said = _library().reference_check(part.text().encode(), array, ctypes.c_int64(len(commands))).decode()
    if said.startswith(("command ", "the part ")):
        raise RuntimeError(f"the sequence is wrong before its end: {said}")
    return said
