"""A request on a machine with registers and memory, board or simulator alike: the protocol of docs/registers.md.

No wait is endless: a run is given up when the machine's own counters say that nothing moves, and a run that did not
end by itself is aborted, so that the machine is ready for the next one. Registers are written and read in lists: over
a serial line a list takes no more waiting than a single register.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from hw.contract.payloads import BATCH_ENTRY
from hw.contract.record import record_bytes
from hw.contract.register_map import COUNTERS, ERROR_SENTENCES, ErrorCode, LogitsMode
from sw.errors import HardwareError
from sw.layout import Layout
from sw.model_plan import ModelPlan
from sw.pace import Liveness, Pace, patience
from sw.registers import Bus, Machine, abort
from sw.requests import Batch, HeadAgain, Request
from sw.shortlist import Shortlist, logit_scale
from sw.split_head import HeadCounts

__all__ = ["JobResult", "execute"]

PROGRESS = ("busy", "done", "error", "error_port", "token_count", "last_token", "cycles", "stream_busy")
"""What every look at a run reads, STATUS first: everything read after a `done` is final."""

HEAD_COUNTS = tuple(one.name for one in fields(HeadCounts))
"""What is read besides the counters at the end of a run that reads the high plane."""


@dataclass
class JobResult:
    """What is known when a run has ended. `heads` is None if its tokens were not chosen from a high plane."""

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    lists: list[Shortlist] = field(default_factory=list)
    cycles: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    heads: HeadCounts | None = None


@dataclass(frozen=True)
class _Look:
    """Values at a moment of a run: those of PROGRESS, perhaps others too. `last_token` is number `token_count`."""

    values: dict[str, int]

    @classmethod
    async def at(cls, machine: Machine, final: Collection[str]) -> _Look:
        """Read in one list, with the values of `final`. Where the run may have ended, these are all counters: they cost
        less line than a list of their own costs waiting."""
        return cls(await machine.read(*PROGRESS, *final))

    def __getitem__(self, name: str) -> int:
        return self.values[name]

    def check(self, request: Request) -> None:
        """Raises HardwareError: the sentence of the error code, or something that no run shows."""
        if self["error"]:
            raise HardwareError(_sentence(self["error"], self["error_port"]))
        if not (self["busy"] or self["done"]):
            raise HardwareError("the accelerator did not start, or another program aborted it: end that "
                                "program and run again")
        if self["token_count"] > request.most_tokens:
            raise HardwareError(
                f"the accelerator counts {self['token_count']} tokens; {request.most_tokens} were asked for: run "
                "`bitnet-fpga doctor --board NAME`")

    async def tokens_after(self, bus: Bus, layout: Layout, seen: int) -> list[int]:
        """Those behind the first `seen`: from memory if there are several."""
        new = self["token_count"] - seen
        if new <= 0:
            return []
        if new == 1:
            return [self["last_token"]]
        area = await bus.read_memory(layout.tokens + 4 * seen, 4 * new)
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
    content, fed = _prompt(request)
    final = (*COUNTERS, *(HEAD_COUNTS if request.reads_high_plane else ()))
    if content:
        await bus.write_memory(layout.prompt, content)
    try:
        await machine.start(_registers(plan, request, layout) | fed)
        liveness, pace = Liveness(patience(plan, request)), Pace(machine, plan, request)
        seen, wait = 0, pace.clocks(0, 0, 0)
        while True:
            await bus.pause(wait)
            look = await _Look.at(machine, final if pace.due(seen) == request.most_tokens else ())
            look.check(request)
            for token in await look.tokens_after(bus, layout, seen):
                yield token
            seen = max(seen, look["token_count"])
            if look["done"]:
                break
            liveness.check(look["cycles"], look["stream_busy"])
            wait = pace.clocks(seen, look["cycles"], look["stream_busy"])
    except BaseException as error:
        await _stop(bus, error)
        raise
    pace.learn(seen, look["cycles"], look["stream_busy"])
    result.cycles = look["cycles"]
    counters = look.values if look.values.keys() >= COUNTERS.keys() else await machine.read(*final)
    result.counters = {name: counters[name] for name in COUNTERS if name != "cycles"}
    if request.reads_high_plane:
        result.heads = HeadCounts(**{name: counters[name] for name in HEAD_COUNTS})
    area = await _logits(bus, layout, request, seen)
    if request.logits_mode is LogitsMode.BEST:
        at = request.temperatures
        result.lists = [Shortlist.from_record(record.tobytes(), plan.shape.vocab, at[n % len(at)])
                        for n, record in enumerate(area)]
    else:
        result.logits = list(area.view("<f4")[:, : plan.shape.vocab].copy())
    machine.ended(look["cycles"])


async def _logits(bus: Bus, layout: Layout, request: Request, made: int) -> NDArray[np.uint8]:
    """Rows of logits, or shortlists, that a run has left in memory, [rows, bytes]."""
    size = layout.logits_bytes(request.logits_mode)
    count = request.logit_rows(made) if size else 0
    if isinstance(request, HeadAgain):
        rows = [await bus.read_memory(layout.logits + n * size, size) for n in request.wanted]
        return np.stack(rows)
    if not count:
        return np.zeros((0, size), np.uint8)
    return (await bus.read_memory(layout.logits, count * size)).reshape(count, size)


def _sentence(code: int, port: int) -> str:
    """What STATUS says."""
    try:
        error = ErrorCode(code)
    except ValueError:
        return (f"the accelerator stopped with error code {code}, which this driver does not know: use host software "
                "and bitstream of the same commit")
    where = f" at memory port {port}" if port else ""
    return f"the accelerator stopped with {error.name}{where}: {ERROR_SENTENCES[error]}"


def _prompt(request: Request) -> tuple[bytes, dict[str, int]]:
    """Content of the prompt area, and the registers that say how it is fed."""
    if isinstance(request, HeadAgain):
        return b"", {"batch": 0, "prompt_length": 0, "start_position": 0, "slot": 0, "chunk": 0}
    if isinstance(request, Batch):
        entries = [record_bytes(BATCH_ENTRY, {"token": e.token, "position": e.position, "slot": e.slot,
                                              "scale": logit_scale(temperature)})
                   for e, temperature in zip(request.entries, request.temperatures, strict=True)]
        return b"".join(entries), {
            "batch": 1, "prompt_length": request.columns, "start_position": 0, "slot": 0, "chunk": 0,
        }
    return np.array(request.prompt, dtype="<u4").tobytes(), {
        "batch": 0, "prompt_length": len(request.prompt), "start_position": request.start_position,
        "slot": request.slot, "chunk": request.chunk,
    }


def _registers(plan: ModelPlan, request: Request, layout: Layout) -> dict[str, int]:
    """Values of the registers for a run, but for those that `_prompt` gives."""
    config, shape, regions = plan.config, plan.shape, plan.regions
    end = layout.used_end(request)
    return {
        "image_base": layout.image, "kv_base": layout.kv, "slot_stride": plan.slot_stride,
        "kv_port_stride": plan.kv_port_stride,
        "prompt_address": layout.prompt, "tokens_address": layout.tokens, "logits_address": layout.logits,
        "read_base": layout.image, "read_end": end, "write_base": layout.kv, "write_end": end,
        "stream_offset": regions["stream"].offset, "stream_beats": regions["stream"].size // config.stream_bytes,
        "lm_head_offset": regions["head"].offset, "lm_head_beats": regions["head"].size // config.stream_bytes,
        "embed_offset": regions["embed"].offset, "embed_stride": plan.embed_stride,
        "rope_offset": regions["rope"].offset, "rope_stride": plan.rope_stride,
        "logits_beats": (layout.logits_bytes(request.logits_mode) or layout.row_bytes) // config.beat_bytes,
        "context": shape.context,
        "max_new_tokens": min(request.max_new_tokens, shape.context), "vocabulary": shape.vocab,
        "end_count": len(request.end_ids), **{f"end_id_{n}": token for n, token in enumerate(request.end_ids)},
        "logits_mode": request.logits_mode.value, "interrupt_enable": 1,
        **(_listing(request) if config.shortlist else {}),
        **(_splitting(plan, request) if config.candidates else {}),
    }


def _listing(request: Request) -> dict[str, int]:
    """Values of the registers that machines with shortlists have."""
    again = isinstance(request, HeadAgain)
    return {"head_again": int(again), "logit_scale": logit_scale(request.temperatures[0] if not again else 1.0)}


def _splitting(plan: ModelPlan, request: Request) -> dict[str, int]:
    """Values of the registers that machines with a split head have; the image need not have its high plane."""
    high = plan.regions.get("high")
    return {"guard": request.guard, "high_offset": high.offset if high else 0,
            "high_beats": high.size // plan.config.stream_bytes if high else 0}
