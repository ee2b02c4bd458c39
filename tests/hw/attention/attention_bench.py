"""Inside the simulator: chunks through the whole attention unit over a byte memory, against the golden machine."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from hw.attention.attention_control import attend_command, descriptor
from hw.attention.rope_rows import rope_read
from hw.contract.config import BLOCK_POSITIONS, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import gather_request, vector_word, write_beat, write_request
from hw.memory.scratchpad import scratchpad_read
from sim.agents.stream import StreamDriver, StreamMonitor
from sim.bench import bench_config, bench_parameters
from sim.golden.attention import KvHead, attend_head, rope
from sim.golden.number import encode, rnd
from tests.hw.streams import plain
from tests.hw.with_memories import load_layout

CONFIG = bench_config()
HEAD_DIM, LAYER, BASE = 32, 0x1000, 0x10_0000
HALF = HEAD_DIM // 2 // CONFIG.vector
LATE = 7
"""Clocks from the last beat of a write to the memory having it."""

CHUNKS = {
    "a sequence begins": {"slots": [0, 0], "positions": [0, 1]},
    "over the end of a block": {"slots": [0, 0], "positions": [15, 16]},
    "one column, another slot": {"slots": [1], "positions": [0]},
    "two sequences side by side": {"slots": [1, 0], "positions": [1, 17]},
    "three blocks": {"slots": [0], "positions": [40]},
}


LAST = {"slots": [0], "positions": [CONFIG.max_positions - 1]}
"""Played for a single head only: it reads all blocks, most of which hold zeros, so that l is as large as it gets."""


def bits(layout, **fields) -> int:
    return layout.const(fields).as_value().value


class Memory:
    """Bytes behind the gather and write streams. Writes are late: a read before `write_idle` sees the old bytes."""

    def __init__(self, dut, size: int, stall: float) -> None:
        self.dut, self.width = dut, CONFIG.beat_bytes
        self.bytes = np.zeros(size, dtype=np.uint8)
        self.requests = StreamMonitor(dut, "o_gather", stall=stall, seed=1)
        self.answers = StreamDriver(dut, "i_gather", stall=stall, seed=2)
        self.writes = StreamMonitor(dut, "o_request", stall=stall, seed=3)
        self.beats = StreamMonitor(dut, "o_write", stall=stall, seed=4)
        self.asked = self.done = 0
        for monitor in (self.requests, self.writes, self.beats):
            cocotb.start_soon(monitor.run())
        for task in (self.serve_reads, self.count_writes, self.serve_writes):
            cocotb.start_soon(task())

    async def serve_reads(self) -> None:
        layout = gather_request(CONFIG)
        served = 0
        while True:
            await self.requests.wait_for(served + 1, timeout_cycles=10**9)
            request = layout.from_bits(self.requests.received[served])
            for n in range(request.beats):
                start = request.address - BASE + n * self.width
                lanes = int.from_bytes(self.bytes[start : start + self.width].tobytes(), "little")
                await self.answers.send([lanes | (n == request.beats - 1) << 8 * self.width])
            served += 1

    async def count_writes(self) -> None:
        """`write_idle` falls in the clock after a request."""
        dut = self.dut
        dut.write_idle.value = 1
        while True:
            await RisingEdge(dut.clk)
            self.asked += dut.o_request__valid.value == 1 and dut.o_request__ready.value == 1
            dut.write_idle.value = int(self.asked == self.done)

    async def serve_writes(self) -> None:
        used = 0
        while True:
            await self.writes.wait_for(self.done + 1, timeout_cycles=10**9)
            request = write_request(CONFIG).from_bits(self.writes.received[self.done])
            await self.beats.wait_for(used + request.beats)
            await ClockCycles(self.dut.clk, LATE)
            place = request.address - BASE
            for code in self.beats.received[used : used + request.beats]:
                beat = plain(write_beat(CONFIG).from_bits(code))
                for lane in range(self.width):
                    if beat["strobe"] >> lane & 1:
                        self.bytes[place + lane] = beat["data"][lane]
                place += self.width
            used += request.beats
            self.done += 1


class Bench:
    """The unit with its memories, and a golden twin of the byte memory."""

    def __init__(self, dut, group: int, kv_heads: int, stall: float) -> None:
        self.dut, self.group, self.kv_heads = dut, group, kv_heads
        self.random = np.random.default_rng(61)
        self.head_stride = ceil_div(CONFIG.max_positions, BLOCK_POSITIONS) * CONFIG.kv_block_bytes(HEAD_DIM)
        self.slot_stride = LAYER + kv_heads * self.head_stride
        self.memory = Memory(dut, 2 * self.slot_stride, stall)
        self.golden = self.memory.bytes.copy()
        angles = self.random.uniform(0, 7, size=(CONFIG.max_positions, HEAD_DIM // 2))
        self.cos, self.sin = rnd(np.cos(angles)), rnd(np.sin(angles))
        self.softmax_scale = float(rnd(HEAD_DIM**-0.5 * np.log2(np.e)))
        self.q_base = CONFIG.residual_elements // CONFIG.vector
        self.k_base = self.q_base + group * kv_heads * 2 * HALF
        self.v_base = self.k_base + kv_heads * 2 * HALF + 3
        self.command = StreamDriver(dut, "i")
        self.output = StreamMonitor(dut, "o", stall=stall, seed=5)
        cocotb.start_soon(self.output.run())

    def head(self, slot: int, g: int) -> KvHead:
        start = slot * self.slot_stride + LAYER + g * self.head_stride
        return KvHead.view(CONFIG, self.golden[start : start + self.head_stride], HEAD_DIM)

    async def load(self, name: str, port, words) -> None:
        layout = load_layout(port)
        enable, word_port = getattr(self.dut, f"load_{name}_en"), getattr(self.dut, f"load_{name}")
        for word in words:
            word_port.value = bits(layout, **word)
            enable.value = 1
            await RisingEdge(self.dut.clk)
        enable.value = 0

    async def put(self, column: int, base: int, rows: np.ndarray) -> None:
        """Rows of a column into the scratchpad."""
        await self.load("read", scratchpad_read(CONFIG), (
            {"addr": column * CONFIG.column_words + base + n, "data": values}
            for n, values in enumerate(encode(rows).reshape(-1, CONFIG.vector).tolist())
        ))

    async def run(self, slots: list[int], positions: list[int]) -> None:
        """One chunk; the bytes of the cache and all outputs are compared."""
        dut, columns, group, kv_heads = self.dut, len(positions), self.group, self.kv_heads
        q = rnd(self.random.normal(size=(columns, kv_heads * group, HEAD_DIM)) * 2)
        k = rnd(self.random.normal(size=(columns, kv_heads, HEAD_DIM)) * 2)
        factors = rnd(self.random.uniform(1e-4, 3e-4, columns))
        v = rnd(self.random.integers(-10000, 10000, (columns, kv_heads, HEAD_DIM)) * factors[:, None, None])
        for column, position in enumerate(positions):
            await self.put(column, self.q_base, q[column])
            await self.put(column, self.k_base, k[column])
            await self.put(column, self.v_base, v[column])
            turns = [encode(part[position]).reshape(HALF, -1).tolist() for part in (self.cos, self.sin)]
            await self.load("rope", rope_read(CONFIG), (
                {"column": column, "word": n, "cos": turns[0][n], "sin": turns[1][n]} for n in range(HALF)
            ))
        entry = descriptor(CONFIG)
        width = len(entry.const({}).as_value())
        dut.columns.value = columns
        dut.descriptors.value = sum(
            bits(entry, slot=slot, position=position) << width * n
            for n, (slot, position) in enumerate(zip(slots, positions, strict=True))
        )
        dut.factors.value = sum(code << FLOAT_BITS * n for n, code in enumerate(encode(factors).tolist()))
        expected = self.expected(slots, positions, q, k, v, factors)
        before = len(self.output.received)
        await self.command.send([bits(
            attend_command(CONFIG), group=group, kv_heads=kv_heads, half_words=HALF,
            row_beats=HEAD_DIM * CONFIG.kv_bytes // CONFIG.beat_bytes, q_base=self.q_base, k_base=self.k_base,
            v_base=self.v_base, softmax_scale=int(encode(self.softmax_scale)), head_stride=self.head_stride,
            layer=LAYER,
        )])
        while dut.done.value != 1:
            await RisingEdge(dut.clk)
        await self.output.wait_for(before + len(expected))
        await self.output.expect_silence(20)
        received = [plain(vector_word(CONFIG).from_bits(code)) for code in self.output.received[before:]]
        assert received == expected
        np.testing.assert_array_equal(self.memory.bytes, self.golden)

    def expected(self, slots, positions, q, k, v, factors) -> list[dict]:
        """What the golden machine appends to its cache, and then reads from it."""
        for column, position in enumerate(positions):
            for g in range(self.kv_heads):
                key = rope(k[column, g], self.cos[position], self.sin[position])
                self.head(slots[column], g).append(position, key, v[column, g], CONFIG.kv_bits, float(factors[column]))
        words = []
        for column, position in enumerate(positions):
            turned = rope(q[column], self.cos[position], self.sin[position])
            out = np.concatenate([
                attend_head(turned[g * self.group : (g + 1) * self.group], self.head(slots[column], g), position,
                            self.softmax_scale)
                for g in range(self.kv_heads)
            ])
            words += [{"column": column, "index": index, "values": values}
                      for index, values in enumerate(encode(out).reshape(-1, CONFIG.vector).tolist())]
        return words


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(shape=bench_parameters()["shapes"])
async def chunks_equal_golden(dut, shape):
    """All chunks, one after the other over the same memory."""
    group, kv_heads, stall = shape
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for name in ("load_read_en", "load_rope_en"):
        getattr(dut, name).value = 0
    bench = Bench(dut, group, kv_heads, stall)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    dut.kv_base.value = BASE
    dut.slot_stride.value = bench.slot_stride
    chunks = CHUNKS | ({"the last position": LAST} if group * kv_heads == 1 else {})
    for name, chunk in chunks.items():
        dut._log.info(name)
        await bench.run(**chunk)
