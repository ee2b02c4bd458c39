"""The dot products equal NumPy over blocks of keys and values laid out as `KvLayout` says and of rows of the LM head
laid out as `HeadLayout` says, beat by beat and bank by bank."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.head_layout import HeadLayout
from hw.contract.kv_layout import KvLayout
from hw.dot.block_dots import BlockDots
from hw.dot.clients import attention_dots, head_dots
from hw.dot.interfaces import activation_word, weight_word
from hw.dot.read_ports import READ_LATENCY
from tests.hw.logits.head_bench import Group, activation_words, random_group
from tests.hw.steps import Run, Step, run_steps

LARGEST = 131071


def config(ports: int, port_bits: int, kv_bits: int, query_rows: int, vector: int, max_head_dim: int) -> AccelConfig:
    return AccelConfig(name="dots", ports=ports, port_bits=port_bits, rows=vector,
                       inputs=5 * ports * port_bits // 8 // vector, vector=vector, query_rows=query_rows,
                       kv_bits=kv_bits, max_head_dim=max_head_dim, max_hidden=200)


class Dots(wiring.Component):
    """The unit with a `ready` of its weights and activations, which is no port of a unit that is always ready."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        ready = {"weights": Out(stream.Signature(weight_word(config)))}
        super().__init__({
            "attention": In(wiring.Signature(dict(attention_dots(config).members) | ready)),
            "head": In(head_dots(config)),
            "i_activations": In(stream.Signature(activation_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = BlockDots(self.config)
        for client, members in (("attention", ("query", "item", "beats", "scores", "values", "scales")),
                                ("head", ("item", "beats", "sums", "scales"))):
            for name in members:
                wiring.connect(m, wiring.flipped(getattr(getattr(self, client), name)),
                               getattr(getattr(unit, client), name))
        attention, head = self.attention, self.head
        for outer, inner in ((attention.weights, unit.attention.weights), (self.i_activations, unit.i_activations)):
            m.d.comb += [inner.valid.eq(outer.valid), inner.payload.eq(outer.payload), outer.ready.eq(1)]
        m.d.comb += [
            unit.attention.shape.eq(attention.shape), attention.keys_done.eq(unit.attention.keys_done),
            attention.values_done.eq(unit.attention.values_done), unit.head.active.eq(head.active),
            unit.head.row_beats.eq(head.row_beats), head.done.eq(unit.head.done),
        ]
        return m


@dataclass
class Block:
    """One block: codes of queries [D, head_dim], of the keys and values of 64 positions [64, head_dim], weights
    [64, D], scales [64, 2], of which the first `count` positions are valid."""

    count: int
    queries: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    scales: np.ndarray


def random_block(config: AccelConfig, head_dim: int, count: int, random: np.random.Generator) -> Block:
    """Codes beyond the valid positions are any bytes."""
    limit, rows = 2 ** (config.kv_bits - 1) - 1, config.query_rows
    keys, values = (random.integers(-limit, limit + 1, (64, head_dim)) for _ in range(2))
    keys[count:], values[count:] = -limit - 1, random.integers(-limit - 1, limit + 1, (64 - count, head_dim))
    weights = random.integers(0, LARGEST + 1, (64, rows))
    weights[count:] = 0
    scales = random.integers(0, 2**32, (64, 2), dtype=np.uint32)
    return Block(count, random.integers(-LARGEST, LARGEST + 1, (rows, head_dim)), keys, values, weights, scales)


def extreme_block(config: AccelConfig, head_dim: int, random: np.random.Generator) -> Block:
    """All largest codes, with both signs, over all positions."""
    block, limit = random_block(config, head_dim, 64, random), 2 ** (config.kv_bits - 1) - 1
    signs = np.where(np.arange(head_dim) % 3, 1, -1)
    block.queries[:] = LARGEST * signs
    block.keys[:] = limit * signs * np.where(np.arange(64) % 2, 1, -1)[:, None]
    block.values[:], block.weights[:] = limit * signs, LARGEST
    return block


def bytes_of(config: AccelConfig, codes: np.ndarray) -> np.ndarray:
    """Elements [beats, ports, E] as bytes of beats."""
    small = np.ascontiguousarray(codes.astype(np.int8 if config.kv_bits == 8 else np.int16))
    return small.view(np.uint8).reshape(len(codes), -1)


def key_beats(config: AccelConfig, block: Block) -> tuple[int, list[list[int]]]:
    """Groups of the keys of a block and their beats: scales, then rows of keys."""
    ports, pairs, elements = config.ports, config.kv_pairs, config.kv_elements
    groups = ceil_div(block.count, ports * pairs)
    padded = np.zeros((64, ceil_div(block.keys.shape[1], elements) * elements), dtype=int)
    padded[:, : block.keys.shape[1]] = block.keys
    beats: list[list[int]] = []
    for first in range(0, groups * ports * pairs, ports * pairs):
        scales = block.scales[first : first + ports * pairs].reshape(pairs, ports, 2).swapaxes(0, 1)
        beats.append(np.ascontiguousarray(scales).view(np.uint8).ravel().tolist())
        for row in range(first, first + ports * pairs, ports):
            codes = padded[row : row + ports].reshape(ports, -1, elements).swapaxes(0, 1)
            beats += bytes_of(config, codes).tolist()
    return groups, beats


def value_beats(config: AccelConfig, block: Block) -> tuple[int, list[list[int]]]:
    """Groups of the values of a block and their beats, transposed."""
    ports, elements = config.ports, config.kv_elements
    groups = ceil_div(block.count, elements)
    padded = np.zeros((64, ceil_div(block.values.shape[1], ports) * ports), dtype=int)
    padded[:, : block.values.shape[1]] = block.values
    beats: list[list[int]] = []
    for first in range(0, groups * elements, elements):
        beats += bytes_of(config, padded[first : first + elements].T.reshape(-1, ports, elements)).tolist()
    return groups, beats


def query_words(config: AccelConfig, block: Block, bank: int) -> list[dict[str, Any]]:
    """The queries of a block, padded to whole beats."""
    head_dim, elements, vector = block.queries.shape[1], config.kv_elements, config.vector
    words = []
    for row, codes in enumerate(np.pad(block.queries, ((0, 0), (0, -head_dim % elements)))):
        for index, word in enumerate(codes.reshape(-1, vector).tolist()):
            words.append({"codes": word, "index": index, "row": row, "bank": bank})
    return words


def weight_words(config: AccelConfig, block: Block, bank: int) -> list[dict[str, Any]]:
    """The weights of all positions of the groups of values that are played."""
    lanes = config.softmax_lanes
    positions = ceil_div(block.count, config.kv_elements) * config.kv_elements
    return [
        {"bank": bank, "position": position, "set": row // lanes,
         "codes": np.pad(weights[row : row + lanes], (0, max(0, row + lanes - len(weights)))).tolist()}
        for position, weights in enumerate(block.weights[:positions]) for row in range(0, len(weights), lanes)
    ]


@dataclass
class Plan:
    """Steps of a run and what they are to give, read by read."""

    steps: list[Step] = field(default_factory=list)
    expected: list[Any] = field(default_factory=list)

    def read(self, port: str, addresses: list[dict[str, int]], members: tuple[str, ...], expected: list[Any]) -> None:
        """Reads one after the other, a clock each; the first result is there in the third."""
        late = [None] * READ_LATENCY
        for address, value in zip([*addresses, *late], [*late, *expected], strict=True):
            self.steps.append(Step(
                set={f"{port}.{name}": number for name, number in (address or {}).items()},
                read=[f"{port}.{member}" for member in members]))
            self.expected.append(value)


def score_reads(config: AccelConfig, block: Block, bank: int, plan: Plan) -> None:
    lanes = config.softmax_lanes
    sums = block.queries @ block.keys.T
    sums = np.pad(sums, ((0, -len(sums) % lanes), (0, 0)))
    places = list(itertools.product(range(block.count), range(len(sums) // lanes)))
    plan.read("attention.scores", [{"bank": bank, "position": position, "set": part} for position, part in places],
              ("sums",), [[sums[part * lanes : (part + 1) * lanes, position].tolist()] for position, part in places])
    plan.read("attention.scales", [{"bank": bank, "position": position} for position in range(block.count)],
              ("key", "value"), (block.scales[: block.count] >> 7).tolist())


def value_reads(config: AccelConfig, block: Block, bank: int, plan: Plan) -> None:
    sums = block.weights[: block.count].T @ block.values[: block.count]
    sums = np.pad(sums, ((0, 0), (0, -sums.shape[1] % config.ports)))
    places = list(itertools.product(range(len(sums)), range(sums.shape[1] // config.ports)))
    plan.read("attention.values", [{"bank": bank, "row": row, "word": word} for row, word in places], ("sums",),
              [[sums[row, word * config.ports :][: config.ports].tolist()] for row, word in places])


def attention_steps(config: AccelConfig, head_dim: int, blocks: list[Block], plan: Plan) -> list[int]:
    """The keys of each block with the values of the one before, while the next operands are written. Returns the beats
    of each item."""
    layout = KvLayout(config, head_dim)
    sizes = ("key_beats", "key_group_beats", "keys_beats", "value_group_beats", "values_beats")
    plan.steps.append(Step(
        set={"attention.shape": {name: getattr(layout, name) for name in sizes}, "head.active": 0},
        send={"attention.query": query_words(config, blocks[0], 0)}))
    counts = []
    for number in range(len(blocks) + 1):
        bank, items, beats = number % 2, [], []
        sends: dict[str, list[Any]] = {}
        if number < len(blocks):
            groups, beats = key_beats(config, blocks[number])
            items = [{"value": 0, "bank": bank, "operands": bank, "groups": groups}]
            sends["attention.weights"] = weight_words(config, blocks[number], bank)
            counts.append(len(beats))
        if number + 1 < len(blocks):
            sends["attention.query"] = query_words(config, blocks[number + 1], 1 - bank)
        if number:
            groups, more = value_beats(config, blocks[number - 1])
            items.append({"value": 1, "bank": 1 - bank, "operands": bank, "groups": groups})
            beats = beats + more
            counts.append(len(more))
        plan.steps += [Step(send={"attention.item": items, "attention.beats": beats, **sends}),
                       Step(clocks=dot_latency(config) + 4)]
        if number < len(blocks):
            score_reads(config, blocks[number], bank, plan)
        if number:
            value_reads(config, blocks[number - 1], 1 - bank, plan)
    return counts


def dot_latency(config: AccelConfig) -> int:
    """`RowDots.latency`."""
    return 3 + config.kv_elements - 1 + config.kv_bytes - 1


PULSES = {f"{name}.valid": f"{name}.bank" for name in ("attention.keys_done", "attention.values_done", "head.done")}


def play(config: AccelConfig, plan: Plan, stall: float, seed: int, simulator: str) -> Run:
    run = run_steps(Dots(config), plan.steps, outputs=(), pulses=PULSES, stall=stall, seed=seed, simulator=simulator)
    assert len(run.read) == len(plan.expected)
    for number, (read, expected) in enumerate(zip(run.read, plan.expected, strict=True)):
        assert expected is None or equal(read, expected), f"read {number}: {read}, not {expected}"
    return run


def equal(read: list[Any], expected: list[Any]) -> bool:
    """Sums of rows that are no columns of a group are None, and may be anything."""
    if isinstance(expected, list):
        return all(equal(a, b) for a, b in zip(read, expected, strict=True))
    return expected is None or read == expected


def check(config: AccelConfig, head_dim: int, blocks: list[Block], stall: float, simulator: str = "pysim") -> None:
    plan = Plan()
    counts = attention_steps(config, head_dim, blocks, plan)
    run = play(config, plan, stall, head_dim, simulator)
    ends = [run.clocks["attention.beats"][end - 1] for end in itertools.accumulate(counts)]
    keys, values = ends[:1] + ends[1:-1:2], ends[2::2] + ends[-1:]
    latency = dot_latency(config) + 2
    assert run.clocks["attention.keys_done.valid"] == [end + latency for end in keys]
    assert run.clocks["attention.values_done.valid"] == [end + latency for end in values]
    assert run.received["attention.keys_done.valid"] == run.received["attention.values_done.valid"] == [
        number % 2 for number in range(len(blocks))]
    assert not run.clocks["head.done.valid"]
    if not stall:  # a beat per clock, from the keys to the values too
        starts = [0, *itertools.accumulate(counts[:1] + [a + b for a, b in zip(counts[1:-1:2], counts[2::2],
                                                                              strict=True)] + counts[-1:])]
        for start, end in itertools.pairwise(starts):
            clocks = run.clocks["attention.beats"][start:end]
            assert clocks == list(range(clocks[0], clocks[0] + len(clocks)))


def head_steps(config: AccelConfig, group: Group, plan: Plan) -> list[int]:
    """The rows of a head, two blocks at a time; their sums with each column and their scales. Returns the beats of each
    block."""
    head, lanes = group.heads[0], config.softmax_lanes
    layout = head.layout(config)
    words = [word for n, a16 in enumerate(group.a16) for word in activation_words(config, n, a16)]
    plan.steps.append(Step(set={"head.active": 1, "head.row_beats": layout.row_beats}, send={"i_activations": words}))
    beats, sums = head.beats(config), group.a16 @ head.rows.T
    sums = [[*column, *[None] * (-len(group.a16) % lanes)] for column in sums.T.tolist()]
    scales = head.scales.astype("<f4").view("<u4") >> 7
    firsts = list(range(0, layout.groups, layout.block_groups))
    counts = [min(layout.block_groups, layout.groups - first) * layout.group_beats for first in firsts]
    for pair in range(0, len(firsts), 2):
        blocks = list(enumerate(firsts[pair : pair + 2]))
        items = [{"value": 0, "bank": bank, "operands": 1, "groups": counts[pair + bank] // layout.group_beats}
                 for bank, _ in blocks]
        size = sum(counts[pair : pair + 2])
        plan.steps += [Step(send={"head.item": items, "head.beats": beats[:size]}),
                       Step(clocks=dot_latency(config) + 4)]
        beats = beats[size:]
        for bank, first in blocks:
            start = first * layout.group_rows
            rows = range(start, min(layout.vocab, start + 64))
            places = list(itertools.product(rows, range(len(sums[0]) // lanes)))
            plan.read("head.sums", [{"bank": bank, "position": row % 64, "set": part} for row, part in places],
                      ("sums",), [[sums[row][part * lanes : (part + 1) * lanes]] for row, part in places])
            on_port = [(row % 64 // config.ports, row % config.ports) for row in rows]
            for odd, member in enumerate(("key", "value")):
                chosen = [(row, n // 2 * config.ports + port)
                          for row, (n, port) in zip(rows, on_port, strict=True) if n % 2 == odd]
                plan.read("head.scales", [{"bank": bank, "position": place} for _, place in chosen], (member,),
                          [[int(scales[row])] for row, _ in chosen])
    assert not beats
    return counts


def check_head(config: AccelConfig, groups: list[Group], stall: float, simulator: str = "pysim") -> None:
    """Groups one after the other; between them keys and values, since both use the same memories."""
    plan, counts, attended = Plan(), [], []
    for number, group in enumerate(groups):
        counts.append(head_steps(config, group, plan))
        if number + 1 < len(groups):
            attended += attention_steps(config, 16, random_blocks(config, 16, (EXTREME, 9)), plan)
    run = play(config, plan, stall, len(groups), simulator)
    blocks = [count for group in counts for count in group]
    ends = list(itertools.accumulate(blocks))
    clocks = run.clocks["head.beats"]
    assert run.clocks["head.done.valid"] == [clocks[end - 1] + dot_latency(config) + 2 for end in ends]
    assert run.received["head.done.valid"] == [n % 2 for group in counts for n in range(len(group))]
    assert len(run.clocks["attention.beats"]) == sum(attended)
    if not stall:  # a beat per clock, from block to block too
        for group in counts:
            for pair in range(0, len(group), 2):
                size = sum(group[pair : pair + 2])
                assert clocks[:size] == list(range(clocks[0], clocks[0] + size))
                clocks = clocks[size:]


def random_blocks(config: AccelConfig, head_dim: int, counts: tuple[int, ...]) -> list[Block]:
    random = np.random.default_rng(head_dim)
    return [random_block(config, head_dim, count, random) if count else extreme_block(config, head_dim, random)
            for count in counts]


EXTREME = 0  # as the count of a block: whole, of the largest codes
CASES = {
    "E = 8": (config(1, 64, 8, 2, 1, 64), 16, (EXTREME, 1, 9)),
    "groups of two values": (config(4, 64, 16, 1, 1, 16), 8, (33, 5, 10)),
    "E = 64": (config(1, 512, 8, 1, 1, 64), 16, (33, 3)),
}
VERILATED = {
    "E = 4, 16 bit": (config(1, 64, 16, 4, 2, 24), 16, (EXTREME, 7, 13)),
    "sets of two rows of five": (config(2, 64, 8, 5, 4, 104), 104, (64, 3, 17)),
    "D = 8, P = 4": (config(4, 64, 16, 8, 4, 128), 128, (EXTREME, 37, 64)),
    "E = 16": (config(1, 128, 8, 2, 2, 128), 96, (63, EXTREME, 20)),
}


HEADS = {
    "E = 8": (config(1, 64, 8, 2, 1, 64), (2, 1)),
    "E = 8, P = 2, 16 bit": (config(2, 128, 16, 3, 1, 16), (3, 2)),
}
VERILATED_HEADS = {
    "E = 4, 16 bit": (config(1, 64, 16, 4, 2, 24), (4, 1)),
    "sets of two rows of five": (config(2, 64, 8, 5, 4, 104), (5, 2)),
    "P = 4": (config(4, 64, 16, 2, 4, 32), (1, 2)),
    "E = 64": (config(1, 512, 8, 2, 1, 64), (1, 2)),
}


def head_groups_of(config: AccelConfig, columns: tuple[int, ...], rows: int) -> list[Group]:
    """Rows of the most beats, largest codes first, of one and of some; `rows` of them at most."""
    size, longest = config.beat_bytes, HeadLayout.longest(config).hidden
    shapes = [(longest, 10), (1, 1), (size, 64), (3 * size - 1, rows)]
    groups = [random_group(n, columns[n % len(columns)], k, [m]) for n, (k, m) in enumerate(shapes)]
    groups[0].a16[:] = 32767 * np.where(np.arange(len(groups[0].a16)) % 2, -1, 1)[:, None]
    groups[0].heads[0].rows[:] = np.where(np.arange(10) % 3, 127, -127)[:, None]
    return groups


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", CASES)
def test_sums_and_scales(name: str, stall: float) -> None:
    dut, head_dim, counts = CASES[name]
    check(dut, head_dim, random_blocks(dut, head_dim, counts), stall)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", HEADS)
def test_rows_of_the_head(name: str, stall: float) -> None:
    dut, columns = HEADS[name]
    check_head(dut, head_groups_of(dut, columns, 17), stall)


@pytest.mark.parametrize("name", VERILATED)
def test_verilated(name: str) -> None:
    dut, head_dim, counts = VERILATED[name]
    for stall in (0.0, 0.4):
        check(dut, head_dim, random_blocks(dut, head_dim, counts), stall, "verilator")


@pytest.mark.parametrize("name", VERILATED_HEADS)
def test_rows_of_the_head_verilated(name: str) -> None:
    """With more blocks than banks too."""
    dut, columns = VERILATED_HEADS[name]
    for stall in (0.0, 0.4):
        check_head(dut, head_groups_of(dut, columns, 130), stall, "verilator")
