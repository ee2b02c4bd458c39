"""The order of rows, blocks and jobs of attention, against a plain description of it."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest

from hw.attention.attention_control import AttentionControl
from hw.attention.interfaces import RowKind
from hw.contract.config import BLOCK_POSITIONS, PRESETS, AccelConfig, ceil_div
from hw.contract.kv_layout import KvLayout
from tests.hw.simulation import simulate
from tests.hw.streams import Sink, Source

KV_BASE, SLOT_STRIDE, HEAD_STRIDE, LAYER = 0x1_0000, 0x40_0000, 0x2_0000, 0x3000
Q_BASE, K_BASE, V_BASE = 16, 300, 400


@dataclass(frozen=True)
class Case:
    """One command: heads and the (slot, position) of every column."""

    config: AccelConfig
    head_dim: int
    group: int
    kv_heads: int
    columns: tuple[tuple[int, int], ...]


def passes(case: Case) -> list[list[tuple[int, int, int]]]:
    """The rows of each pass: (KV head, column, head of the group)."""
    result = []
    for g in range(case.kv_heads):
        slots = []
        for column, (slot, _) in enumerate(case.columns):
            if not column or slot != case.columns[column - 1][0]:
                slots.append([])
            slots[-1] += [(g, column, h) for h in range(case.group)]
        for rows in slots:
            result += [rows[n : n + case.config.query_rows] for n in range(0, len(rows), case.config.query_rows)]
    return result


def expected(case: Case) -> tuple[dict[str, list[Any]], list[bool]]:
    """What each stream gives, in order, and which reads wait for the writes of the command."""
    config, d = case.config, case.head_dim
    layout, words = KvLayout(config, d), d // config.vector
    beat = config.beat_bytes

    def row(kind: RowKind, column: int, base: int, place: int = 0, number: int = 0) -> dict[str, Any]:
        return {"kind": kind.value, "column": column, "base": base, "row": place, "bank": number & 1,
                "scale_bank": number & 3}

    def block(slot: int, g: int, number: int) -> int:
        return KV_BASE + slot * SLOT_STRIDE + LAYER + g * HEAD_STRIDE + number * layout.block_bytes

    rows, items, softmax, outputs, values = [], [], [], [], []
    places, appended = [], []
    for column, (slot, position) in enumerate(case.columns):
        for g in range(case.kv_heads):
            appended += [row(RowKind.KEY, column, K_BASE + g * words), row(RowKind.VALUE, column, V_BASE + g * words)]
            b, place = divmod(position, BLOCK_POSITIONS)
            places += [{"block": block(slot, g, b), "place": place, "value": kind} for kind in (0, 1)]
    reads: list[tuple[int, int]] = []
    owns: list[bool] = []  # of the blocks: the command appends to them
    late: list[bool] = []  # of the reads
    j = 0
    for number, members in enumerate(passes(case)):
        bases = [(g * case.group + h) * words for g, _, h in members]
        rows += [row(RowKind.QUERY, c, Q_BASE + base, n, number)
                 for n, ((_, c, _), base) in enumerate(zip(members, bases, strict=True))]
        rows += [] if number else appended
        slot, g = case.columns[members[0][1]][0], members[0][0]
        positions = [case.columns[c][1] for _, c, _ in members]
        first_own = min(position for other, position in case.columns if other == slot)
        count = positions[-1] // BLOCK_POSITIONS + 1
        for b in range(count):
            n = min(BLOCK_POSITIONS, positions[-1] + 1 - b * BLOCK_POSITIONS)
            groups = ceil_div(n, layout.group_positions)
            value_groups = ceil_div(n, config.kv_elements)
            at = block(slot, g, b)
            reads.append((at, groups * layout.key_group_beats))
            owns.append(b >= first_own // BLOCK_POSITIONS)
            late.append(owns[-1])
            items.append({"value": 0, "bank": j & 1, "operands": number & 1, "groups": groups})
            valid = [min(BLOCK_POSITIONS, max(0, p + 1 - b * BLOCK_POSITIONS)) for p in positions]
            softmax.append({
                "bank": j & 1, "record": j & 3, "scale_bank": number & 3, "items": value_groups * config.kv_elements,
                "sets": ceil_div(len(members), config.softmax_lanes), "first": b == 0, "last": b == count - 1,
                "valid": valid + [0] * (config.query_rows - len(valid)),
            })
            outputs.append({"bank": j & 1, "record": j & 3, "last": b == count - 1, "rows": len(members),
                            "words": layout.value_group_beats,
                            "targets": [(c, base) for (_, c, _), base in zip(members, bases, strict=True)]})
            value_read = (at + layout.keys_beats * beat, value_groups * layout.value_group_beats)
            values.append((value_read, {"value": 1, "bank": j & 1, "groups": value_groups}))
            if j:
                read, item = values[j - 1]
                reads.append(read)
                late.append(owns[j - 1])
                items.append(item)
            j += 1
    reads.append(values[-1][0])
    late.append(owns[-1])
    items.append(values[-1][1])
    return {"o_row": rows, "o_place": places, "o_read": reads, "o_item": items, "o_softmax": softmax,
            "o_output": outputs}, late


class Units:
    """What stands for the units: they take the commands, and report each step some clocks later."""

    def __init__(self, dut: AttentionControl, cases: list[Case], stall: float, seed: int) -> None:
        self.dut, self.cases, self.choose = dut, cases, random.Random(seed)
        self.sinks = {name: Sink(dut, name, stall, seed) for name in (
            "o_row", "o_place", "o_read", "o_item", "o_softmax", "o_output")}
        self.source = Source(dut, "i", stall, seed)
        self.late: dict[str, deque[int]] = {name: deque() for name in (
            "row_stored", "keys_done", "weights_done", "record_done", "values_done", "read_done", "outputs_done",
            "appended")}
        self.counts = dict.fromkeys(self.late, 0)
        self.rows = 0
        self.late_reads: list[bool] = []

    def soon(self, name: str, clock: int) -> None:
        last = self.late[name][-1] if self.late[name] else 0
        self.late[name].append(max(last, clock) + self.choose.randint(1, 30))

    async def run(self, ctx: Any) -> None:
        dut = self.dut
        clock = 0
        for case in self.cases:
            for sink in self.sinks.values():
                sink.received.clear()
            self.counts = dict.fromkeys(self.late, 0)
            ctx.set(dut.kv_base, KV_BASE)
            ctx.set(dut.slot_stride, SLOT_STRIDE)
            ctx.set(dut.columns, len(case.columns))
            for n, (slot, position) in enumerate(case.columns):
                ctx.set(dut.descriptors[n], {"slot": slot, "position": position})
            self.source.send([{
                "group": case.group, "kv_heads": case.kv_heads, "half_words": case.head_dim // 2 // case.config.vector,
                "q_base": Q_BASE, "k_base": K_BASE, "v_base": V_BASE, "softmax_scale": 0x123456,
                "head_stride": HEAD_STRIDE, "layer": LAYER,
            }])
            done, rows = False, len(case.columns) * case.kv_heads * 2
            self.rows, (_, self.late_reads) = rows, expected(case)
            for _ in range(60_000):
                for name, times in self.late.items():
                    now = bool(times) and times[0] <= clock
                    if now:
                        times.popleft()
                        self.counts[name] += 1
                    if name != "appended":
                        ctx.set(getattr(dut, name), now)
                ctx.set(dut.append_idle, self.counts["appended"] == rows)
                self.source.drive(ctx)
                for sink in self.sinks.values():
                    sink.drive(ctx)
                seen = {name: (ctx.get(sink.valid.value), ctx.get(sink.payload.value))
                        for name, sink in self.sinks.items()}
                ready, done = ctx.get(self.source.ready.value), bool(ctx.get(dut.done))
                await ctx.tick()
                clock += 1
                self.source.look(ctx, clock, ready)
                self.after(clock, seen)
                if done:
                    break
            assert done, "the command did not end"
            self.compare(case)

    def after(self, clock: int, seen: dict[str, tuple[int, int]]) -> None:
        """The answers to what was taken, and whether it may have been given."""
        for name, (valid, payload) in seen.items():
            if not self.sinks[name].look(clock, valid, payload):
                continue
            value = self.sinks[name].payload.plain(payload)
            counts = self.counts
            if name == "o_row" and value["kind"] == RowKind.QUERY.value:
                self.soon("row_stored", clock)
            elif name == "o_read" and self.late_reads[len(self.sinks[name].received) - 1]:
                assert counts["appended"] == self.rows, "a block is read before its new rows are written"
            elif name == "o_place":
                self.soon("appended", clock)
            elif name == "o_item" and not value["value"]:
                self.soon("keys_done", clock)
            elif name == "o_item":
                played = sum(self.item(p)["value"] for p in self.sinks["o_item"].received)
                assert counts["weights_done"] >= played, "values begin before their weights are there"
                assert played - counts["read_done"] <= 2, "values begin without a free bank"
                self.soon("values_done", clock)
            elif name == "o_softmax":
                assert counts["keys_done"] >= len(self.sinks[name].received), "a softmax begins without its scores"
                self.soon("weights_done", clock)
                self.soon("record_done", clock)
            elif name == "o_output":
                jobs = len(self.sinks[name].received)
                assert min(counts["values_done"], counts["record_done"]) >= jobs, "an output begins too early"
                self.soon("read_done", clock)
                if value["last"]:
                    self.soon("outputs_done", clock)

    def item(self, payload: int) -> dict[str, Any]:
        return self.sinks["o_item"].payload.plain(payload)

    def compare(self, case: Case) -> None:
        want, _ = expected(case)
        got = {name: [sink.payload.plain(p) for p in sink.received] for name, sink in self.sinks.items()}
        padded = ceil_div(case.head_dim, case.config.kv_elements) * case.config.kv_elements // case.config.vector
        for one in got["o_row"]:
            assert one.pop("padded_words") == padded
            assert one.pop("half_words") == case.head_dim // 2 // case.config.vector
            if one["kind"] != RowKind.QUERY.value:
                one |= {"row": 0, "bank": 0, "scale_bank": 0}
        for one in got["o_item"]:
            if one["value"]:
                del one["operands"]
        got["o_read"] = [(one["address"], one["beats"]) for one in got["o_read"]]
        for one in got["o_output"]:
            one["targets"] = list(zip(one.pop("column"), one.pop("base"), strict=True))[: one["rows"]]
        for name, payloads in want.items():
            assert got[name] == payloads, name


TINY, WIDE = PRESETS["tiny"].replace(columns=4), PRESETS["kv260"]
CASES = {
    "tiny": (TINY, [
        Case(TINY, 64, 2, 2, ((0, 0),)),
        Case(TINY, 64, 3, 1, ((1, 61), (1, 62), (1, 63), (1, 64))),
        Case(TINY, 16, 5, 3, ((2, 130), (2, 131))),
        Case(TINY, 96, 2, 1, ((2, 200), (0, 3), (1, 64))),
    ]),
    "wide": (WIDE, [
        Case(WIDE, 128, 4, 5, ((0, 255),)),
        Case(WIDE, 104, 4, 2, tuple((3, 60 + n) for n in range(8))),
        Case(WIDE, 64, 7, 1, ((0, 64), (1, 0), (2, 63))),
        Case(WIDE, 128, 16, 1, ((5, 17), (5, 18))),
    ]),
}


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", CASES)
def test_orders(name: str, stall: float) -> None:
    config, cases = CASES[name]
    dut = AttentionControl(config)
    simulate(dut, Units(dut, cases, stall, 3).run)
