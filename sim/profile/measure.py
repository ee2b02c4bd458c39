"""Measures a model on the simulated accelerator: a token behind a long context, a prompt, several sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.register_map import CAUSES
from sim.memory.part import memory_part
from sim.memory.reference import sequential_bytes_per_cycle
from sim.profile.required import macs_per_cycle, required_bytes, ternary_macs
from sim.profile.runs import opened, prompt_of, run, token_at, tokens_at
from sw.errors import JobError
from sw.image import ModelImage
from sw.links.link import RunStats

__all__ = ["BUSY", "Profile", "Wanted", "measure"]

BUSY = ("stream", "matmul", "norm", "attention", "lm_head", "embed")
"""Units whose `_busy` counters are reported."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is measured: a token at position `context`, a prompt of `prompt_tokens` from position 0, and one token of
    each of `sequences` sequences at position `context`."""

    memory: str
    context: int
    prompt_tokens: int
    sequences: int

    def check(self, config: AccelConfig) -> None:
        """Raises JobError if there is no such memory, it does not fit the ports, or there are fewer columns."""
        part = memory_part(self.memory)
        if part:
            part.check(config)
        if not 1 <= self.sequences <= config.columns:
            raise JobError(f"sequences must be 1 to {config.columns}, the columns of preset {config.name}, not "
                           f"{self.sequences}")

    @property
    def positions(self) -> int:
        """Positions that the KV slots must have."""
        return max(self.context + 1, self.prompt_tokens)


@dataclass(frozen=True)
class Profile:
    """`result` is what can be written as JSON. `samples` are all counters over the time of the decoded token, by name;
    none if they were not asked for."""

    result: dict[str, Any]
    samples: Sequence[dict[str, int]]


def measure(
    image: ModelImage, wanted: Wanted, *, sampled: bool = False, told: Callable[[str], None] = lambda what: None
) -> Profile:
    """Run the simulated accelerator on an image with `wanted.sequences` slots of `wanted.positions` positions. `told`
    is called with what begins.

    Raises:
        JobError: as `Wanted.check`.
        HardwareError, ToolError: the simulation failed.
    """
    wanted.check(image.plan.config)
    config, plan = image.plan.config, image.plan
    bandwidth = sequential_bytes_per_cycle(wanted.memory, config)
    told("the cache, and the simulator, whose first build takes a minute or two")
    with opened(image, wanted.memory, wanted.context) as link:
        told("a token")
        link.sampled = sampled
        token = run(link, token_at(plan, wanted.context))
        samples, link.sampled = link.samples, False
        together = token
        if wanted.sequences > 1:
            told(f"{wanted.sequences} sequences")
            together = run(link, tokens_at(plan, wanted.context, wanted.sequences))
        told("a prompt")
        whole = run(link, prompt_of(plan, wanted.prompt_tokens))
    runs = [token, whole, *([together] if wanted.sequences > 1 else [])]
    return Profile({
        "preset": config.name,
        "design_hash": config.design_hash,
        "model": asdict(plan.shape),
        "memory": {"name": wanted.memory, "sequential_bytes_per_cycle": bandwidth},
        "decode": _decode(image, wanted, token, bandwidth),
        "prefill": _prefill(image, wanted, whole, bandwidth),
        "sequences": {"count": wanted.sequences, "cycles_per_pass": together.cycles,
                      "speedup": wanted.sequences * token.cycles / together.cycles},
        "stalls": _stalls(token),
        "roofline": _roofline(image, wanted, bandwidth, token, whole, together),
        "simulated_cycles_per_second": sum(one.cycles for one in runs) / sum(one.seconds for one in runs),
    }, samples)


def _stalls(run: RunStats) -> dict[str, int]:
    """Clocks without a beat of the packet stream, by cause."""
    return {name: run.counters[name] for name in CAUSES if name != "stream_busy"}


def _busy(run: RunStats) -> dict[str, int]:
    return {name: run.counters[f"{name}_busy"] for name in BUSY}


def _decode(image: ModelImage, wanted: Wanted, run: RunStats, bandwidth: float) -> dict[str, Any]:
    """The whole token: all layers and the LM head."""
    needed = required_bytes(image.plan, wanted.context)
    return {
        "cached_positions": wanted.context,
        "cycles_per_token": run.cycles,
        "required_bytes": needed,
        "stream_efficiency": needed / (bandwidth * run.cycles),
        "busy_cycles": _busy(run),
    }


def _prefill(image: ModelImage, wanted: Wanted, run: RunStats, bandwidth: float) -> dict[str, Any]:
    """`cycles` are those of all passes over the layers, without the LM head, which the first new token needs too."""
    macs, cycles = ternary_macs(image.plan) * wanted.prompt_tokens, run.cycles - run.counters["lm_head_busy"]
    return {
        "prompt_tokens": wanted.prompt_tokens,
        "cycles": cycles,
        "first_token_cycles": run.cycles,
        "ternary_macs": macs,
        "array_utilization": macs / (macs_per_cycle(image.plan.config, bandwidth) * cycles),
        "busy_cycles": _busy(run),
        "stalls": _stalls(run),
    }


def _roofline(
    image: ModelImage, wanted: Wanted, bandwidth: float, token: RunStats, whole: RunStats, together: RunStats
) -> dict[str, Any]:
    """The limits of array and memory, and each run: ternary multiply-accumulates per required byte and per clock."""
    config, plan = image.plan.config, image.plan
    macs, alone, cached = ternary_macs(plan), required_bytes(plan, 0), required_bytes(plan, wanted.context)

    def point(tokens: int, needed: int, cycles: int) -> dict[str, float]:
        return {"macs_per_byte": tokens * macs / needed, "macs_per_cycle": tokens * macs / cycles}

    passes = ceil_div(wanted.prompt_tokens, config.columns)
    return {
        "roof": {"bytes_per_cycle": bandwidth, "macs_per_cycle": config.lanes * config.columns},
        "points": {
            "one token": point(1, cached, token.cycles),
            f"{wanted.sequences} sequences": point(
                wanted.sequences, alone + wanted.sequences * (cached - alone), together.cycles),
            "prompt": point(wanted.prompt_tokens, passes * alone, whole.cycles),
        },
    }
