"""The LM head with a split head, the dot products and a memory of its rows: choices equal those of the golden model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from hw.contract.config import STRIPE_BYTES, AccelConfig, ceil_div
from hw.contract.high_plane import STEP, HighPlane, high_codes
from hw.contract.payloads import stream_beat
from hw.dot.block_dots import BlockDots
from hw.dot.interfaces import activation_word
from hw.logits.interfaces import best_row, head_scale, lm_head_command
from hw.logits.lm_head import LmHead
from sim.golden.number import encode
from sim.golden.split_head import Choice, logit_bounds, split_choice
from sw.pack import head_groups
from tests.hw.logits.head_bench import Head
from tests.hw.steps import Step, run_steps

__all__ = ["BASE", "SplitBench", "Trial", "check_split", "choice", "plane_beats"]

BASE = 3 * 4 * STRIPE_BYTES
"""Address of the region with the rows of int8."""


class SplitBench(wiring.Component):
    """LmHead and BlockDots, and behind `o_read` a memory with the rows, which answers some clocks later and with gaps.

    Args:
        head: the beats of the region `head`, with its packet's header.
        gaps: the memory gives a beat in one of so many clocks, on average.
    """

    def __init__(self, config: AccelConfig, head: NDArray[np.uint8], gaps: int = 1) -> None:
        self.config, self.head, self.gaps = config, head, gaps
        super().__init__({
            "i_activations": In(stream.Signature(activation_word(config))),
            "i_command": In(stream.Signature(lm_head_command(config))),
            "scale": In(head_scale(config)), "scale_en": In(1),
            "i_beats": In(stream.Signature(stream_beat(config))),
            "best": Out(best_row(config)), "best_valid": Out(1),
            "high": In(1), "guard": In(16), "clear_counts": In(1),
            "rows_listed": Out(32), "rows_rescored": Out(32), "heads_repeated": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lm_head = head = LmHead(self.config)
        m.submodules.dots = dots = BlockDots(self.config)
        wiring.connect(m, head.dots, dots.head)
        activations = self.i_activations
        for inner in (dots.i_activations, head.i_activations):
            m.d.comb += [inner.valid.eq(activations.valid), inner.payload.eq(activations.payload)]
        for name in ("i_command", "i_beats"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(head, name))
        m.d.comb += [
            activations.ready.eq(1), head.active.eq(1), head.base.eq(BASE),
            *(getattr(head, name).eq(getattr(self, name))
              for name in ("scale", "scale_en", "high", "guard", "clear_counts")),
            *(getattr(self, name).eq(getattr(head, name))
              for name in ("rows_listed", "rows_rescored", "heads_repeated")),
            self.best.eq(head.o_best.payload), self.best_valid.eq(head.o_best.valid),
        ]
        self._memory(m, head)
        return m

    def _memory(self, m: Module, head: LmHead) -> None:
        """Port n reads n stripes behind the address."""
        config, size = self.config, self.config.beat_bytes
        beats = self.head.reshape(-1, size)
        words = [int.from_bytes(beat.tobytes(), "little") for beat in beats]
        m.submodules.rows = rows = memory.Memory(shape=8 * size, depth=len(words), init=words)
        request, left = Signal.like(head.o_read.payload), Signal(16)
        place, wait, noise = Signal(32), Signal(8), Signal(16, init=1)
        m.d.sync += noise.eq(Cat(noise[1:], noise[0] ^ noise[2] ^ noise[3] ^ noise[5]))
        m.d.comb += [place.eq(request.address - BASE), head.o_read.ready.eq(left == 0)]
        ports = [rows.read_port(domain="comb") for _ in range(config.ports)]
        for n, port in enumerate(ports):
            m.d.comb += port.addr.eq((place + n * STRIPE_BYTES) // size)
        parts = Cat(port.data for port in ports)
        gap = (noise & (self.gaps - 1)) != 0 if self.gaps > 1 else Const(0)
        m.d.comb += [head.i_rows.payload.as_value().eq(parts), head.i_rows.valid.eq((left != 0) & (wait == 0) & ~gap)]
        with m.If(head.o_read.valid & head.o_read.ready):
            m.d.sync += [request.eq(head.o_read.payload), left.eq(head.o_read.payload.beats), wait.eq(noise[:5])]
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        # a beat that is offered stays: without `ready` the gap must not come
        with m.If(head.i_rows.valid & head.i_rows.ready):
            m.d.sync += [left.eq(left - 1), request.address.eq(request.address + size)]


@dataclass
class Trial:
    """Activations [k] of the value `hs`, and GUARD."""

    a16: NDArray[np.integer]
    hs: float
    guard: int


def plane_beats(config: AccelConfig, head: Head, dither: NDArray[np.integer]) -> list[list[int]]:
    """The payload of the high plane."""
    plane = HighPlane(config, head.rows.shape[1], len(head.rows))
    first = head_groups(plane.dither, (STEP - dither)[None], np.zeros(1, dtype=np.uint32))
    codes = high_codes(head.rows, dither)
    codes = np.pad(codes, ((0, 0), (0, plane.packed.hidden * 2 - codes.shape[1])))
    low, high = codes.reshape(len(codes), -1, 2, config.beat_bytes).swapaxes(0, 2).swapaxes(1, 2)
    packed = (low & 15 | high << 4).astype(np.int8).reshape(len(codes), -1)
    behind = head_groups(plane.packed, packed, head.scales.astype("<f4").view("<u4"))
    return np.concatenate([part.reshape(-1, config.stream_bytes) for part in (first, behind)]).tolist()


def region(config: AccelConfig, head: Head) -> NDArray[np.uint8]:
    """The bytes of the region `head`, striped, behind a header of ones."""
    beats = np.array(head.beats(config), dtype=np.uint8).reshape(-1, config.ports, config.beat_bytes)
    beats = np.concatenate([np.full((config.header_beats, *beats.shape[1:]), 255, dtype=np.uint8), beats])
    in_stripe = STRIPE_BYTES // config.beat_bytes
    behind = -len(beats) % in_stripe
    padded = np.pad(beats, ((0, behind), (0, 0), (0, 0)))
    return padded.reshape(-1, in_stripe, *beats.shape[1:]).swapaxes(1, 2).ravel()


def choice(config: AccelConfig, head: Head, dither: NDArray[np.integer], trial: Trial) -> Choice:
    """What the golden model chooses."""
    bounds = logit_bounds(trial.a16, trial.hs, high_codes(head.rows, dither), STEP - dither, head.scales, trial.guard)
    return split_choice(bounds, trial.a16, trial.hs, head.rows, head.scales, config.candidates)


def check_split(
    config: AccelConfig, head: Head, dither: NDArray[np.integer], trials: Sequence[Trial], *, stall: float = 0.0,
    seed: int = 0, gaps: int = 1, simulator: str = "pysim",
) -> list[Choice]:
    """Plays the trials, one after the other, on one head. Returns the choices, which are those of the golden model."""
    k, lanes = head.rows.shape[1], config.quantize_lanes
    command = {"columns": 1, "row_beats": ceil_div(k, config.beat_bytes), "m": len(head.rows)}
    plane, steps = plane_beats(config, head, dither), [Step(set={"clear_counts": 1}), Step(set={"clear_counts": 0})]
    counts = ["rows_listed", "rows_rescored", "heads_repeated"]
    for trial in trials:
        codes = np.pad(trial.a16, (0, -k % lanes)).reshape(-1, lanes).tolist()
        words = [{"index": n, "row": 0, "codes": part} for n, part in enumerate(codes)]
        scale = {"column": 0, "hs": int(encode(np.array(trial.hs)))}
        steps += [
            Step(set={"high": 1, "guard": trial.guard}, send={"i_activations": words}),
            Step(set={"scale_en": 1, "scale": scale}), Step(set={"scale_en": 0}),
            Step(send={"i_command": [command], "i_beats": plane}, until="best_valid"),
            Step(clocks=2, read=counts), Step(set={"high": 0}),
        ]
    # the rescored rows are no transfers of the bench; each has the latency of the memory, of the dots and of a logit
    silence = 600 + config.candidates * (2 * gaps * command["row_beats"] + 90)
    run = run_steps(SplitBench(config, region(config, head), gaps), steps, outputs=(), pulses={"best_valid": "best"},
                    stall=stall, seed=seed, silence=silence, simulator=simulator)
    choices = [choice(config, head, dither, trial) for trial in trials]
    for got, expected in zip(run.received["best_valid"], choices, strict=True):
        assert got["failed"] == (expected.token is None)
        if expected.token is not None:
            assert (got["column"], got["row"]) == (0, expected.token)
    totals = np.cumsum([[c.listed, c.rescored, c.token is None] for c in choices], axis=0)
    assert run.read == totals.tolist()
    return choices
