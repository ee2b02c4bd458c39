"""A request on a machine with registers and memory, board or simulator alike: the protocol of docs/registers.md.

No wait is endless: a run is given up when the machine's own counters say that nothing moves, and a run that did not
end by itself is aborted, so that the machine is ready for the next one. Registers are written and read in lists: over
a serial line a list takes no more waiting than a single register.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hw.contract.payloads import BATCH_ENTRY
from hw.contract.record import record_bytes
from hw.contract.register_map import ERROR_SENTENCES, ErrorCode, LogitsMode
from sw.errors import HardwareError
from sw.layout import Layout
from sw.model_plan import ModelPlan
from sw.pace import Liveness, Pace, patience
from sw.registers import BUSY, DONE, Bus, Machine, abort, pair
from sw.requests import Batch, Request

__all__ = ["COUNTERS", "JobResult", "execute"]

COUNTERS = (
    "STREAM_BUSY", "STREAM_STARVED", "STREAM_WAITING", "ARRAY_WAITING", "EMBED_BUSY", "NORM_BUSY", "MATMUL_BUSY",
    "ATTENTION_BUSY", "HEAD_BUSY",
)


@dataclass
class JobResult:
    """What is known when a run has ended."""

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    cycles: int = 0
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Look:
    """A run at a moment. `newest` is the last of its tokens, if that is known. STATUS is read first: of a run that was
    over by then everything is final."""

    status: int
    tokens: int
    newest: int | None
    cycles: int
    counters: dict[str, int]

    @classmethod
    async def at(cls, machine: Machine) -> _Look:
        """One list. TOKEN_COUNT is read on both sides of LAST_TOKEN, which belongs to it if it stayed the same."""
        status, tokens, newest, again, low, *counters, high = await machine.read(
            ("STATUS", "TOKEN_COUNT", "LAST_TOKEN", "TOKEN_COUNT", "CYCLES_LO", *COUNTERS, "CYCLES_HI"))
        return cls(status, tokens, newest if again == tokens else None, low | high << 32,
                   dict(zip(COUNTERS, counters, strict=True)))

    @property
    def done(self) -> bool:
        """The run has ended."""
        return bool(self.status & DONE)

    @property
    def beats(self) -> int:
        """Taken from the packet stream."""
        return self.counters["STREAM_BUSY"]

    def check(self, request: Request) -> None:
        """Raises HardwareError: the sentence of the error code, or something that no run shows."""
        code = self.status >> 8 & 31
        if code:
            raise HardwareError(_sentence(code, self.status >> 16 & 3))
        if not self.status & (BUSY | DONE):
            raise HardwareError("the accelerator did not start, or was aborted by somebody else")
        if self.tokens > request.most_tokens:
            raise HardwareError(f"the accelerator counts {self.tokens} tokens; {request.most_tokens} were asked for")

    async def tokens_after(self, bus: Bus, layout: Layout, seen: int) -> list[int]:
        """Those that are new, from memory where they are not known."""
        if self.tokens == seen + 1 and self.newest is not None:
            return [self.newest]
        if self.tokens <= seen:
            return []
        area = await bus.read_memory(layout.tokens + 4 * seen, 4 * (self.tokens - seen))
        return [int(token) for token in area.view("<u4")]


async def _stop(bus: Bus, error: BaseException) -> None:
    """Aborts after an error; the error stays the one that is reported first."""
    try:
        await abort(bus)
    except Exception as second:
        if isinstance(error, HardwareError) and second is not error:  # a link that is given up says so again and again
            raise HardwareError(f"{error}; then {second}") from error


async def execute(
    machine: Machine, plan: ModelPlan, request: Request, result: JobResult, base: int = 0
) -> AsyncGenerator[int, None]:
    """Runs a checked request; yields its tokens as they come and fills `result` at the end. The plan's image is at
    `base`.

    A machine that is busy, or keeps the error of a run before, is aborted first. Every way out but the end of the run,
    closing this iterator included, aborts it.

    Raises HardwareError: another build, the sentence of the error code, or a run that hangs.
    """
    bus = machine.bus
    await machine.settle(plan.config)
    layout = plan.layout(base)
    content, registers = _prompt(request)
    await bus.write_memory(layout.prompt, content)
    try:
        await machine.start(_registers(plan, request, layout) | registers)
        liveness, pace = Liveness(patience(plan, request)), Pace(machine, plan, request)
        seen, wait = 0, pace.clocks(0, 0, 0)
        while True:
            await bus.pause(wait)
            look = await _Look.at(machine)
            look.check(request)
            for token in await look.tokens_after(bus, layout, seen):
                yield token
            seen = max(seen, look.tokens)
            if look.done:
                break
            liveness.check(look.cycles, look.beats)
            wait = pace.clocks(seen, look.cycles, look.beats)
    except BaseException as error:
        await _stop(bus, error)
        raise
    pace.learn(seen, look.cycles, look.beats)
    result.cycles, result.counters = look.cycles, {name.lower(): count for name, count in look.counters.items()}
    rows = 0 if request.logits_mode is LogitsMode.NONE else request.heads(seen)
    if rows:
        area = await bus.read_memory(layout.logits, rows * layout.row_bytes)
        result.logits = list(area.view("<f4").reshape(rows, -1)[:, : plan.shape.vocab].copy())
    machine.ended(look.cycles)


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
        entries = [record_bytes(BATCH_ENTRY, {"token": e.token, "position": e.position, "slot": e.slot})
                   for e in request.entries]
        return b"".join(entries), {
            "BATCH": 1, "PROMPT_LENGTH": request.columns, "START_POSITION": 0, "SLOT": 0, "CHUNK": 0,
        }
    return np.array(request.prompt, dtype="<u4").tobytes(), {
        "BATCH": 0, "PROMPT_LENGTH": len(request.prompt), "START_POSITION": request.start_position,
        "SLOT": request.slot, "CHUNK": request.chunk,
    }


def _registers(plan: ModelPlan, request: Request, layout: Layout) -> dict[str, int]:
    """What a run finds in the registers, but for those that `_prompt` gives."""
    config, shape, regions = plan.config, plan.shape, plan.regions
    end = layout.used_end(request)
    values: dict[str, int] = {}
    for name, value in (
        ("IMAGE_BASE", layout.image), ("KV_BASE", layout.kv), ("SLOT_STRIDE", plan.slot_stride),
        ("PROMPT_ADDRESS", layout.prompt), ("TOKENS_ADDRESS", layout.tokens), ("LOGITS_ADDRESS", layout.logits),
        ("READ_BASE", layout.image), ("READ_END", end), ("WRITE_BASE", layout.kv), ("WRITE_END", end),
    ):
        values |= pair(name, value)
    return values | {
        "STREAM_OFFSET": regions["stream"].offset, "STREAM_BEATS": regions["stream"].size // config.stream_bytes,
        "HEAD_OFFSET": regions["head"].offset, "HEAD_BEATS": regions["head"].size // config.stream_bytes,
        "EMBED_OFFSET": regions["embed"].offset, "EMBED_STRIDE": plan.embed_stride,
        "ROPE_OFFSET": regions["rope"].offset, "ROPE_STRIDE": plan.rope_stride,
        "LOGITS_BEATS": layout.row_bytes // config.beat_bytes, "CONTEXT": shape.context,
        "MAX_NEW_TOKENS": min(request.max_new_tokens, shape.context), "VOCABULARY": shape.vocab,
        "END_COUNT": len(request.end_ids), **{f"END_ID_{n}": token for n, token in enumerate(request.end_ids)},
        "LOGITS_MODE": request.logits_mode.value,
    }
