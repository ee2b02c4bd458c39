"""The LM head with the dot products that it shares, on any heads: all that it gives equals the golden model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from hw.contract.config import BLOCK_POSITIONS, AccelConfig, ceil_div
from hw.contract.head_layout import HeadLayout
from hw.contract.payloads import stream_beat, write_beat, write_request
from hw.contract.shortlist import record_beats
from hw.dot.block_dots import BlockDots
from hw.dot.interfaces import activation_word
from hw.logits.interfaces import best_row, head_scale, lm_head_command, logits_row
from hw.logits.lm_head import LmHead
from sim.golden.logits import argmax, lm_head_logits
from sim.golden.number import encode, rnd
from sim.golden.shortlist import record
from sw.head_payload import head_groups
from tests.hw.steps import Run, Step, run_steps

__all__ = [
    "ADDRESSES", "Group", "Head", "HeadBench", "activation_words", "check", "random_group", "random_head",
    "scale_steps", "written",
]

ADDRESSES = [0x1000 + (n << 20) for n in range(16)]
"""Of the rows of memory of the columns."""


class HeadBench(wiring.Component):
    """LmHead and BlockDots, with a `ready` for each stream that is always ready, and the best rows as a pulse."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_activations": In(stream.Signature(activation_word(config))),
            "i_command": In(stream.Signature(lm_head_command(config))),
            "scale": In(head_scale(config)), "scale_en": In(1),
            "i_beats": In(stream.Signature(stream_beat(config))),
            "best": Out(best_row(config)), "best_valid": Out(1),
            "keep": In(1), "listing": In(1),
            "i_row": In(stream.Signature(logits_row(config))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o_write": Out(stream.Signature(write_beat(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.head = head = LmHead(self.config)
        m.submodules.dots = dots = BlockDots(self.config)
        wiring.connect(m, head.dots, dots.head)
        for outer, inner in ((self.i_activations, dots.i_activations), (self.i_row, head.i_row)):
            m.d.comb += [inner.valid.eq(outer.valid), inner.payload.eq(outer.payload), outer.ready.eq(1)]
        for name in ("i_command", "i_beats", "o_request", "o_write"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(head, name))
        m.d.comb += [
            head.active.eq(1), head.keep.eq(self.keep), head.scale.eq(self.scale), head.scale_en.eq(self.scale_en),
            *([head.listing.eq(self.listing)] if self.config.shortlist else []),
            self.idle.eq(head.idle), self.best.eq(head.o_best.payload), self.best_valid.eq(head.o_best.valid),
        ]
        return m


@dataclass
class Head:
    """Rows [m, k] with scales [m]; `padding` is in every byte of the rows behind them."""

    rows: NDArray[np.integer]
    scales: NDArray[np.float64]
    padding: int = 0

    def layout(self, config: AccelConfig) -> HeadLayout:
        return HeadLayout(config, self.rows.shape[1], self.rows.shape[0])

    def beats(self, config: AccelConfig) -> list[list[int]]:
        layout = self.layout(config)
        behind = layout.groups * layout.group_rows - layout.vocab
        rows = np.pad(self.rows, ((0, behind), (0, 0)), constant_values=np.uint8(self.padding).astype(np.int8))
        bits = np.pad(self.scales.astype("<f4").view("<u4"), (0, behind), constant_values=self.padding * 0x1010101)
        return head_groups(layout, rows, bits).reshape(-1, config.stream_bytes).tolist()


@dataclass
class Group:
    """Columns of activations [columns, k] of the values `hs`, and the heads that they meet, one after the other."""

    a16: NDArray[np.integer]
    hs: NDArray[np.float64]
    heads: Sequence[Head]

    def command(self, config: AccelConfig, head: Head) -> dict[str, int]:
        layout = head.layout(config)
        return {"columns": len(self.a16), "row_beats": layout.row_beats, "m": layout.vocab}

    def logits(self, head: Head) -> NDArray[np.float64]:
        """[columns, m]."""
        return np.stack([lm_head_logits(a, float(hs), head.rows, head.scales)
                         for a, hs in zip(self.a16, self.hs, strict=True)])


def random_head(random: np.random.Generator, m: int, k: int, padding: int = 0) -> Head:
    return Head(random.integers(-127, 128, (m, k)), rnd(random.uniform(1e-3, 1e-2, m)), padding)


def random_group(seed: Any, columns: int, k: int, counts: Sequence[int], padding: int = 0) -> Group:
    """Heads with so many rows each."""
    random = np.random.default_rng(seed)
    return Group(random.integers(-32767, 32768, (columns, k)), rnd(random.uniform(1e-6, 1e-3, columns)),
                 [random_head(random, m, k, padding) for m in counts])


def activation_words(config: AccelConfig, row: int, a16: NDArray[np.integer]) -> list[dict[str, Any]]:
    """What an earlier and longer vector has left behind comes first, since it must not count."""
    lanes = config.quantize_lanes
    longest = np.full(ceil_div(config.max_hidden, lanes) * lanes, 32767)
    longest[: len(a16)] = a16
    return [{"index": n, "row": row, "codes": codes} for n, codes in enumerate(longest.reshape(-1, lanes).tolist())]


def scale_steps(hs: NDArray[np.float64]) -> list[Step]:
    steps = [Step(set={"scale_en": 1, "scale": {"column": n, "hs": int(code)}})
             for n, code in enumerate(encode(hs).tolist())]
    return [*steps, Step(set={"scale_en": 0})]


def power_scale(column: int) -> float:
    """The scale of the logits of a column in the sum of its shortlist, a float32."""
    return float(np.float32(np.log2(np.e) / (0.3 + 0.7 * column)))


def steps_of(config: AccelConfig, group: Group, keep: bool, listing: bool, silence: int) -> list[Step]:
    """With `keep` the heads wait for each other, since the rows of the next one are announced then."""
    words = [word for n, a16 in enumerate(group.a16) for word in activation_words(config, n, a16)]
    modes = {"keep": int(keep), "listing": int(listing)}
    steps = [Step(set=modes, send={"i_activations": words}), *scale_steps(group.hs)]
    commands = [group.command(config, head) for head in group.heads]
    beats = [head.beats(config) for head in group.heads]
    if not keep:
        together = [beat for payload in beats for beat in payload]
        return [*steps, Step(send={"i_command": commands, "i_beats": together}), Step(clocks=silence)]
    announced = [{"column": n, "address": address} for n, address in enumerate(ADDRESSES[: len(group.a16)])]
    if config.shortlist:
        for row in announced:
            row["scale"] = int(np.float32(power_scale(row["column"])).view(np.uint32))
    for command, payload in zip(commands, beats, strict=True):
        steps += [Step(send={"i_row": announced}), Step(send={"i_command": [command], "i_beats": payload}),
                  Step(until="idle")]
    return steps


def written(
    config: AccelConfig, logits: NDArray[np.float64], addresses: Sequence[int]
) -> tuple[list[dict[str, int]], list[dict[str, Any]]]:
    """Requests and beats of the logits of the columns of a group [columns, m], whose rows of memory are there."""
    requests, beats, words = [], [], config.port_bits // 32
    for first in range(0, logits.shape[1], BLOCK_POSITIONS):
        for column, part in enumerate(logits[:, first : first + BLOCK_POSITIONS]):
            data = np.pad(part, (0, -len(part) % words)).astype("<f4").view(np.uint8).reshape(-1, config.beat_bytes)
            requests.append({"address": addresses[column] + 4 * first, "beats": len(data)})
            beats += [{"data": row, "strobe": (1 << config.beat_bytes) - 1} for row in data.tolist()]
    return requests, beats


def written_lists(
    config: AccelConfig, logits: NDArray[np.float64], addresses: Sequence[int]
) -> tuple[list[dict[str, int]], list[dict[str, Any]]]:
    """As `written`, of the shortlists."""
    beats = record_beats(config)
    content = [np.frombuffer(record(row, power_scale(n)).ljust(beats * config.beat_bytes, b"\0"), dtype=np.uint8)
               for n, row in enumerate(logits)]
    data = np.concatenate(content).reshape(-1, config.beat_bytes).tolist()
    return [{"address": addresses[n], "beats": beats} for n in range(len(logits))], [
        {"data": row, "strobe": (1 << config.beat_bytes) - 1} for row in data]


def check(
    config: AccelConfig, groups: Sequence[Group], *, keep: bool = False, listing: bool = False, stall: float = 0.0,
    seed: int = 0,
    simulator: str = "pysim",
) -> Run:
    """Plays groups one after the other. With `keep` and `listing` shortlists are written, not logits."""
    most = max(len(group.a16) for group in groups)
    silence = 2 * BLOCK_POSITIONS * most + config.beat_bytes + 60  # sums of two blocks are read
    if listing:
        silence += BLOCK_POSITIONS * most * 70  # each of a block enters its list
    steps = [step for group in groups for step in steps_of(config, group, keep, listing, silence)]
    run = run_steps(HeadBench(config), steps,
                    outputs=("o_request", "o_write"), pulses={"best_valid": "best"}, stall=stall, seed=seed,
                    silence=silence, simulator=simulator)
    logits = [group.logits(head) for group in groups for head in group.heads]
    for codes in map(encode, logits):
        assert 1 << 24 not in codes, "there is no negative zero"
    assert run.received["best_valid"] == [
        {"column": n, "row": argmax(row), "logit": int(encode(row[argmax(row)])),
         **({"failed": 0} if config.candidates else {})}
        for one in logits for n, row in enumerate(one)]
    write = written_lists if listing else written
    expected = [write(config, one, ADDRESSES) for one in logits] if keep else []
    assert run.received["o_request"] == [request for requests, _ in expected for request in requests]
    assert run.received["o_write"] == [beat for _, beats in expected for beat in beats]
    return run
