"""A request on a machine with registers and memory, board or simulator alike: the protocol of docs/registers.md.

The bus is asynchronous, so that a simulator can let clocks pass inside `await`. No wait is endless: a run is given up
when the machine's own counters say that nothing moves, and a run that did not end by itself is aborted, so that the
machine is ready for the next one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.payloads import BATCH_ENTRY
from hw.contract.register_map import ERROR_SENTENCES, ID_MAGIC, ID_VERSION, ErrorCode, LogitsMode, find
from sw.errors import HardwareError
from sw.layout import Layout
from sw.model_plan import ModelPlan
from sw.requests import Batch, Request

__all__ = [
    "COUNTERS", "Bus", "JobResult", "abort", "check_identity", "execute", "patience", "read_build_id",
]

ABORT_PAUSES = 1000
"""Pauses that an abort may take; the memory ports answer what they owe in the meantime."""

PATIENCE_CLOCKS = 1_000_000
"""Clocks that a run may spend on anything but a long ATTEND without a beat of the packet stream."""

FROZEN_PAUSES = 10
"""Pauses in which a running machine may fail to count clocks, before its clock counts as dead."""

COUNTERS = (
    "STREAM_BUSY", "STREAM_STARVED", "STREAM_WAITING", "ARRAY_WAITING", "EMBED_BUSY", "NORM_BUSY", "MATMUL_BUSY",
    "ATTENTION_BUSY", "HEAD_BUSY",
)


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
        """Lets the machine run for a moment, some thousand clocks, before it is asked again."""
        ...


@dataclass
class JobResult:
    """What is known when a run has ended."""

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


async def _read_pair(bus: Bus, name: str) -> int:
    """The lower half first: that holds the upper one."""
    return await _read(bus, f"{name}_LO") | await _read(bus, f"{name}_HI") << 32


async def read_build_id(bus: Bus) -> int:
    """Raises HardwareError if nothing sensible answers."""
    identity = await _read(bus, "ID")
    if identity >> 16 != ID_MAGIC:
        raise HardwareError(f"no accelerator answers: its ID register reads {identity:#010x}")
    if identity & 0xFFFF != ID_VERSION:
        raise HardwareError(f"the accelerator has register map {identity & 0xFFFF}, this driver {ID_VERSION}")
    return await _read_pair(bus, "BUILD_ID")


async def check_identity(bus: Bus, config: AccelConfig) -> None:
    """Raises HardwareError if nothing sensible answers, or a machine of another build."""
    build_id = await read_build_id(bus)
    if build_id != config.build_id:
        raise HardwareError(
            f"the accelerator is build {build_id:016x}, preset {config.name} is {config.build_id:016x}: "
            "use the preset that it was built with"
        )


async def abort(bus: Bus) -> None:
    """Ends a run, clears its error, and returns when the machine is ready for the next one.

    Raises HardwareError if it does not get there, because its memory owes an answer that never comes.
    """
    await _write(bus, "CONTROL", 1 << 1)
    for _ in range(ABORT_PAUSES):
        if not await _read(bus, "STATUS"):
            return
        await bus.pause()
    raise HardwareError(
        "the accelerator did not come to rest after an abort, its memory still owes an answer: reset both"
    )


def patience(plan: ModelPlan, request: Request) -> int:
    """Clocks without a beat of the packet stream after which a run counts as hung.

    The longest healthy pause is an ATTEND of a full context: every query head of every column plays the cache of its KV
    head. A memory that does not answer is reported by the machine itself, long before.
    """
    cache_beats = plan.head_stride // plan.config.beat_bytes
    return PATIENCE_CLOCKS + plan.config.timeout_cycles + 4 * request.columns * plan.shape.heads * cache_beats


class _Progress:
    """Watches the counters of a run. Clocks are the machine's own, so that a slow bus is not taken for a hang."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._moved = self._since = self._clock = -1
        self._frozen = 0

    async def check(self, bus: Bus) -> None:
        """Raises HardwareError if the run hangs."""
        moved = await _read(bus, "STREAM_BUSY")
        if moved != self._moved:
            self._moved, self._since, self._frozen = moved, -1, 0
            return
        clock = await _read_pair(bus, "CYCLES")
        self._frozen = self._frozen + 1 if clock == self._clock else 0
        self._clock = clock
        if self._frozen > FROZEN_PAUSES:
            raise HardwareError("the accelerator says that it runs, but its counter of clocks stands still")
        if self._since < 0:
            self._since = clock
        if clock - self._since > self._patience:
            raise HardwareError(
                f"the accelerator hangs: for {clock - self._since} clocks it took nothing from the packet stream"
            )


async def _stop(bus: Bus, error: BaseException) -> None:
    """Aborts after an error; the error stays the one that is reported first."""
    try:
        await abort(bus)
    except Exception as second:
        if isinstance(error, HardwareError) and second is not error:  # a link that is given up says so again and again
            raise HardwareError(f"{error}; then {second}") from error


async def execute(
    bus: Bus, plan: ModelPlan, request: Request, result: JobResult, base: int = 0
) -> AsyncGenerator[int, None]:
    """Runs a checked request; yields its tokens as they come and fills `result` at the end. The plan's image is at
    `base`.

    A machine that is busy, or keeps the error of a run before, is aborted first. Every way out but the end of the run,
    closing this iterator included, aborts it.

    Raises HardwareError: another build, the sentence of the error code, or a run that hangs.
    """
    await check_identity(bus, plan.config)
    if await _read(bus, "STATUS") & ~(1 << 1):
        await abort(bus)
    layout = plan.layout(base)
    await _prepare(bus, plan, request, layout)
    try:
        await _write(bus, "CONTROL", 1)
        progress = _Progress(patience(plan, request))
        seen = done = 0
        while not done:
            await bus.pause()
            status = await _read(bus, "STATUS")
            busy, done, code = status & 1, status >> 1 & 1, status >> 8 & 31
            if code:
                raise HardwareError(_sentence(code, status >> 16 & 3))
            if not busy and not done:
                raise HardwareError("the accelerator did not start, or was aborted by somebody else")
            count = await _read(bus, "TOKEN_COUNT")
            if count > request.most_tokens:
                raise HardwareError(f"the accelerator counts {count} tokens; {request.most_tokens} were asked for")
            if count > seen:
                area = await bus.read_memory(layout.tokens + 4 * seen, 4 * (count - seen))
                seen = count
                for token in area.view("<u4"):
                    yield int(token)
            if not done:
                await progress.check(bus)
    except BaseException as error:
        await _stop(bus, error)
        raise
    result.cycles = await _read_pair(bus, "CYCLES")
    result.counters = {name.lower(): await _read(bus, name) for name in COUNTERS}
    rows = 0 if request.logits_mode is LogitsMode.NONE else request.heads(seen)
    if rows:
        area = await bus.read_memory(layout.logits, rows * layout.row_bytes)
        result.logits = list(area.view("<f4").reshape(rows, -1)[:, : plan.shape.vocab].copy())


def _sentence(code: int, port: int) -> str:
    """What STATUS says."""
    try:
        error = ErrorCode(code)
    except ValueError:
        return f"the accelerator stopped with error code {code}, which this driver does not know"
    where = f" It was memory port {port}." if port else ""
    return f"the accelerator stopped with {error.name}: {ERROR_SENTENCES[error]}{where}"


def _prompt(request: Request) -> tuple[bytes, dict[str, int]]:
    """What goes to the prompt area, and the registers that say how it is fed."""
    if isinstance(request, Batch):
        entries = (BATCH_ENTRY.const({"token": e.token, "position": e.position, "slot": e.slot})
                   for e in request.entries)
        content = b"".join(entry.as_bits().to_bytes(BATCH_ENTRY.size // 8, "little") for entry in entries)
        return content, {
            "BATCH": 1, "PROMPT_LENGTH": request.columns, "START_POSITION": 0, "SLOT": 0, "CHUNK": 0,
        }
    return np.array(request.prompt, dtype="<u4").tobytes(), {
        "BATCH": 0, "PROMPT_LENGTH": len(request.prompt), "START_POSITION": request.start_position,
        "SLOT": request.slot, "CHUNK": request.chunk,
    }


async def _prepare(bus: Bus, plan: ModelPlan, request: Request, layout: Layout) -> None:
    """The prompt into memory, and every register of a run."""
    config, shape, regions = plan.config, plan.shape, plan.regions
    content, registers = _prompt(request)
    end = layout.used_end(request)
    await bus.write_memory(layout.prompt, content)
    for name, value in (
        ("IMAGE_BASE", layout.image), ("KV_BASE", layout.kv), ("SLOT_STRIDE", plan.slot_stride),
        ("PROMPT_ADDRESS", layout.prompt), ("TOKENS_ADDRESS", layout.tokens), ("LOGITS_ADDRESS", layout.logits),
        ("READ_BASE", layout.image), ("READ_END", end), ("WRITE_BASE", layout.kv), ("WRITE_END", end),
    ):
        await _write_pair(bus, name, value)
    for name, value in (
        ("STREAM_OFFSET", regions["stream"].offset), ("STREAM_BEATS", regions["stream"].size // config.stream_bytes),
        ("HEAD_OFFSET", regions["head"].offset), ("HEAD_BEATS", regions["head"].size // config.stream_bytes),
        ("EMBED_OFFSET", regions["embed"].offset), ("EMBED_STRIDE", plan.embed_stride),
        ("ROPE_OFFSET", regions["rope"].offset), ("ROPE_STRIDE", plan.rope_stride),
        ("LOGITS_BEATS", layout.row_bytes // config.beat_bytes), ("CONTEXT", shape.context),
        ("MAX_NEW_TOKENS", min(request.max_new_tokens, shape.context)),
        ("VOCABULARY", shape.vocab),
        *registers.items(),
        ("END_COUNT", len(request.end_ids)), *((f"END_ID_{n}", token) for n, token in enumerate(request.end_ids)),
        ("LOGITS_MODE", request.logits_mode.value),
    ):
        await _write(bus, name, value)
