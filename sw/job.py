"""A job on a machine with registers and memory, board or simulator alike: the protocol of docs/registers.md.

The bus is asynchronous, so that a simulator can let clocks pass inside `await`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hw.config import AccelConfig, ceil_div
from hw.control.register_map import ERROR_SENTENCES, ID_MAGIC, ID_VERSION, ErrorCode, LogitsMode, find
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.requests import Job

__all__ = ["Bus", "JobResult", "Layout", "abort", "check_identity", "execute"]

ALIGNMENT = 1 << 16
COUNTERS = ("STREAM_BUSY", "STREAM_STARVED", "ARRAY_WAITING", "STREAM_WAITING", "ATTENTION_BUSY", "HEAD_BUSY")


class Bus(Protocol):
    """Registers and memory of a machine."""

    async def read(self, address: int) -> int:
        """A 32-bit register."""
        ...

    async def write(self, address: int, value: int) -> None:
        """A 32-bit register."""
        ...

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        """Bytes of memory."""
        ...

    async def write_memory(self, address: int, content: bytes) -> None:
        """Bytes of memory."""
        ...

    async def pause(self) -> None:
        """Lets the machine run before it is asked again. Raises HardwareError when it has run for too long."""
        ...


@dataclass(frozen=True)
class Layout:
    """Where things lie in the machine's memory: the image at `image`, everything else behind it."""

    image: int
    kv: int
    prompt: int
    tokens: int
    logits: int
    end: int
    logits_beats: int

    @classmethod
    def of(cls, config: AccelConfig, image: ModelImage) -> Layout:
        """Areas start at multiples of 64 KiB; there is room for the logits of every position."""

        def after(start: int, size: int) -> int:
            return ceil_div(start + size, ALIGNMENT) * ALIGNMENT

        shape = image.shape
        kv = after(0, len(image.memory))
        prompt = after(kv, shape.sequences * shape.slot_stride(config))
        tokens = after(prompt, 4 * shape.context)
        logits = after(tokens, 4 * shape.context)
        beats = ceil_div(4 * shape.vocab, config.beat_bytes)
        end = after(logits, shape.context * beats * config.beat_bytes)
        return cls(0, kv, prompt, tokens, logits, end, beats)


@dataclass
class JobResult:
    """What is known when a job has ended."""

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    cycles: int = 0
    counters: dict[str, int] = field(default_factory=dict)


async def _write(bus: Bus, name: str, value: int) -> None:
    await bus.write(find(name).address, value)


async def _write_pair(bus: Bus, name: str, value: int) -> None:
    await _write(bus, f"{name}_LO", value & 0xFFFFFFFF)
    await _write(bus, f"{name}_HI", value >> 32)


async def _read(bus: Bus, name: str) -> int:
    return await bus.read(find(name).address)


async def check_identity(bus: Bus, config: AccelConfig) -> None:
    """Raises HardwareError if nothing sensible answers, or a machine of another build."""
    identity = await _read(bus, "ID")
    if identity >> 16 != ID_MAGIC:
        raise HardwareError(f"no accelerator answers: its ID register reads {identity:#010x}")
    if identity & 0xFFFF != ID_VERSION:
        raise HardwareError(f"the accelerator has register map {identity & 0xFFFF}, this driver {ID_VERSION}")
    build_id = await _read(bus, "BUILD_ID_LO") | await _read(bus, "BUILD_ID_HI") << 32
    if build_id != config.build_id:
        raise HardwareError(
            f"the accelerator is build {build_id:016x}, preset {config.name} is {config.build_id:016x}: "
            "use the preset that it was built with"
        )


async def abort(bus: Bus) -> None:
    """Ends a run and clears its error."""
    await _write(bus, "CONTROL", 1 << 1)


async def execute(bus: Bus, config: AccelConfig, image: ModelImage, job: Job, result: JobResult) -> AsyncIterator[int]:
    """Runs a checked job; yields its tokens as they come and fills `result` at the end.

    Raises HardwareError with the sentence of the error code.
    """
    shape, layout = image.shape, Layout.of(config, image)
    await check_identity(bus, config)
    await bus.write_memory(layout.prompt, np.array(job.prompt, dtype="<u4").tobytes())
    for name, value in (
        ("IMAGE_BASE", layout.image), ("KV_BASE", layout.kv), ("SLOT_STRIDE", shape.slot_stride(config)),
        ("PROMPT_ADDRESS", layout.prompt), ("TOKENS_ADDRESS", layout.tokens), ("LOGITS_ADDRESS", layout.logits),
    ):
        await _write_pair(bus, name, value)
    regions = image.regions
    for name, value in (
        ("STREAM_OFFSET", regions["stream"].offset), ("STREAM_BEATS", regions["stream"].size // config.beat_bytes),
        ("HEAD_OFFSET", regions["head"].offset), ("HEAD_BEATS", regions["head"].size // config.beat_bytes),
        ("EMBED_OFFSET", regions["embed"].offset), ("EMBED_STRIDE", shape.embed_stride(config)),
        ("ROPE_OFFSET", regions["rope"].offset), ("ROPE_STRIDE", shape.rope_stride(config)),
        ("LOGITS_BEATS", layout.logits_beats), ("PROMPT_LENGTH", len(job.prompt)), ("START_POSITION", 0),
        ("SLOT", job.slot), ("CHUNK", job.chunk), ("MAX_NEW_TOKENS", job.max_new_tokens), ("CONTEXT", shape.context),
        ("END_COUNT", len(shape.eos)), *((f"END_ID_{n}", eos) for n, eos in enumerate(shape.eos)),
        ("LOGITS_MODE", LogitsMode.ALL.value if job.all_logits else LogitsMode.NONE.value),
        ("CONTROL", 1),
    ):
        await _write(bus, name, value)

    seen = done = 0
    while not done:
        await bus.pause()
        status = await _read(bus, "STATUS")
        done = status >> 1 & 1
        if status >> 8:
            error = ErrorCode(status >> 8 & 31)
            raise HardwareError(f"the accelerator stopped with {error.name}: {ERROR_SENTENCES[error]}")
        count = await _read(bus, "TOKEN_COUNT")
        if count > seen:
            area = await bus.read_memory(layout.tokens + 4 * seen, 4 * (count - seen))
            seen = count
            for token in area.view("<u4"):
                yield int(token)
    result.cycles = await _read(bus, "CYCLES_LO") | await _read(bus, "CYCLES_HI") << 32
    result.counters = {name.lower(): await _read(bus, name) for name in COUNTERS}
    if job.all_logits:
        stride = layout.logits_beats * config.beat_bytes
        rows = len(job.prompt) + max(seen - 1, 0)
        area = await bus.read_memory(layout.logits, rows * stride)
        result.logits = list(area.view("<f4").reshape(rows, -1)[:, : shape.vocab].copy())
