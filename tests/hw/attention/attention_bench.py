"""Inside the simulator: chunks through the whole attention unit over a byte memory, against the golden machine."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from hw.attention.command import attend_command, descriptor
from hw.attention.rope_rows import rope_read
from hw.contract.kv_layout import KvLayout
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
LAYER, BASE = 0x1000, 0x10_0000
PORTS = range(CONFIG.ports)
LATE = 7
"""Clocks from the last beat of a write to the memory having it."""

CHUNKS = {
    "a sequence begins": {"slots": [0, 0], "positions": [0, 1]},
    "over the end of a block": {"slots": [0, 0], "positions": [63, 64]},
    "one column, another slot": {"slots": [1], "positions": [0]},
    "two sequences side by side": {"slots": [1, 0], "positions": [1, 65]},
    "every column": {"slots": [0] * CONFIG.columns, "positions": list(range(126, 126 + CONFIG.columns))},
    "several blocks": {"slots": [0], "positions": [200]},
}
"""The positions before those that a chunk appends keep what lies in memory: random codes and scales."""


def bits(layout, **fields) -> int:
    return layout.const(fields).as_value().value


class Memory:
    """Serves the reads of all ports and the writes of each from `stored`, the bytes of each port. Writes are late: a
    read before `write_idle` sees the old bytes."""

    def __init__(self, dut, stored: np.ndarray, stall: float) -> None:
        self.dut, self.width, self.bytes = dut, CONFIG.beat_bytes, stored
        self.requests = StreamMonitor(dut, "o_read", stall=stall, seed=1)
        self.answers = StreamDriver(dut, "i_beats", stall=stall, seed=2)
        self.writes = [StreamMonitor(dut, f"o_request_{n}", stall=stall, seed=3 + n) for n in PORTS]
        self.beats = [StreamMonitor(dut, f"o_write_{n}", stall=stall, seed=13 + n) for n in PORTS]
        self.asked, self.done = [0] * CONFIG.ports, [0] * CONFIG.ports
        self.tasks = [cocotb.start_soon(task) for task in (
            *(monitor.run() for monitor in (self.requests, *self.writes, *self.beats)),
            self.serve_reads(), self.count_writes(), *(self.serve_writes(n) for n in PORTS),
        )]

    async def serve_reads(self) -> None:
        layout = gather_request(CONFIG)
        served = 0
        while True:
            await self.requests.wait_for(served + 1, timeout_cycles=10**9)
            request = layout.from_bits(self.requests.received[served])
            start = request.address - BASE
            beats = self.bytes[:, start : start + request.beats * self.width].reshape(CONFIG.ports, -1, self.width)
            for beat in beats.swapaxes(0, 1):
                await self.answers.send([int.from_bytes(beat.tobytes(), "little")])
            served += 1

    async def count_writes(self) -> None:
        """`write_idle` falls in the clock after a request."""
        dut = self.dut
        dut.write_idle.value = 1
        while True:
            await RisingEdge(dut.clk)
            for n in PORTS:
                valid, ready = (getattr(dut, f"o_request_{n}__{name}").value for name in ("valid", "ready"))
                self.asked[n] += valid == 1 and ready == 1
            dut.write_idle.value = int(self.asked == self.done)

    async def serve_writes(self, port: int) -> None:
        used = 0
        while True:
            await self.writes[port].wait_for(self.done[port] + 1, timeout_cycles=10**9)
            request = write_request(CONFIG).from_bits(self.writes[port].received[self.done[port]])
            await self.beats[port].wait_for(used + request.beats)
            await ClockCycles(self.dut.clk, LATE)
            place = request.address - BASE
            for code in self.beats[port].received[used : used + request.beats]:
                beat = plain(write_beat(CONFIG).from_bits(code))
                for lane in range(self.width):
                    if beat["strobe"] >> lane & 1:
                        self.bytes[port, place + lane] = beat["data"][lane]
                place += self.width
            used += request.beats
            self.done[port] += 1


class Bench:
    """The unit with its memories, and a golden twin of the byte memory."""

    def __init__(self, dut, group: int, kv_heads: int, head_dim: int, stall: float) -> None:
        self.dut, self.group, self.kv_heads, self.head_dim, self.stall = dut, group, kv_heads, head_dim, stall
        self.half = head_dim // 2 // CONFIG.vector
        self.random = np.random.default_rng(61)
        self.head_stride = KvLayout(CONFIG, head_dim).head_bytes(256)
        self.slot_stride = LAYER + kv_heads * self.head_stride
        self.golden = np.zeros((CONFIG.ports, 2 * self.slot_stride), dtype=np.uint8)
        for slot in range(2):
            for g in range(kv_heads):
                head = self.head(slot, g)
                head.keys[...] = self.random.integers(-127, 128, head.keys.shape)
                head.values[...] = self.random.integers(-127, 128, head.values.shape)
                head.scales[...] = rnd(self.random.uniform(0.005, 0.02, head.scales.shape))
        self.bytes = self.golden.copy()
        angles = self.random.uniform(0, 7, size=(256, head_dim // 2))
        self.cos, self.sin = rnd(np.cos(angles)), rnd(np.sin(angles))
        self.softmax_scale = float(rnd(head_dim**-0.5 * np.log2(np.e)))
        self.q_base = CONFIG.residual_elements // CONFIG.vector
        self.k_base = self.q_base + group * kv_heads * 2 * self.half
        self.v_base = self.k_base + kv_heads * 2 * self.half + 3
        self.tasks = []

    async def reset(self, clocks: int) -> None:
        """Of the unit and of all that is connected to it; the bytes stay. The golden twin goes on from these."""
        dut = self.dut
        dut.rst.value = 1
        for task in self.tasks:
            task.cancel()
        for name in ("load_read_en", "load_rope_en"):
            getattr(dut, name).value = 0
        self.command = StreamDriver(dut, "i")
        self.output = StreamMonitor(dut, "o", stall=self.stall, seed=5)
        memory = Memory(dut, self.bytes, self.stall)
        self.tasks = [*memory.tasks, cocotb.start_soon(self.output.run())]
        self.golden[...] = self.bytes
        await ClockCycles(dut.clk, clocks)
        dut.rst.value = 0
        dut.kv_base.value, dut.slot_stride.value = BASE, self.slot_stride

    def head(self, slot: int, g: int) -> KvHead:
        start = slot * self.slot_stride + LAYER + g * self.head_stride
        return KvHead.view(CONFIG, self.golden[:, start : start + self.head_stride], self.head_dim)

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

    async def begin(self, slots: list[int], positions: list[int]) -> list[dict]:
        """Sends the command of a chunk, and returns its outputs according to golden."""
        dut, columns, group, kv_heads = self.dut, len(positions), self.group, self.kv_heads
        q = rnd(self.random.normal(size=(columns, kv_heads * group, self.head_dim)) * 2)
        k = rnd(self.random.normal(size=(columns, kv_heads, self.head_dim)) * 2)
        factors = rnd(self.random.uniform(1e-4, 3e-4, columns))
        v = rnd(self.random.integers(-10000, 10000, (columns, kv_heads, self.head_dim)) * factors[:, None, None])
        for column, position in enumerate(positions):
            await self.put(column, self.q_base, q[column])
            await self.put(column, self.k_base, k[column])
            await self.put(column, self.v_base, v[column])
            turns = [encode(part[position]).reshape(self.half, -1).tolist() for part in (self.cos, self.sin)]
            await self.load("rope", rope_read(CONFIG), (
                {"column": column, "word": n, "cos": turns[0][n], "sin": turns[1][n]} for n in range(self.half)
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
        await self.command.send([bits(
            attend_command(CONFIG), group=group, kv_heads=kv_heads, half_words=self.half, q_base=self.q_base,
            k_base=self.k_base, v_base=self.v_base, softmax_scale=int(encode(self.softmax_scale)),
            head_stride=self.head_stride, layer=LAYER,
        )])
        return expected

    async def run(self, slots: list[int], positions: list[int]) -> None:
        """One chunk; the bytes of the cache and all outputs are compared."""
        dut, before = self.dut, len(self.output.received)
        expected = await self.begin(slots, positions)
        while dut.done.value != 1:
            await RisingEdge(dut.clk)
        await self.output.wait_for(before + len(expected))
        await self.output.expect_silence(20)
        received = [plain(vector_word(CONFIG).from_bits(code)) for code in self.output.received[before:]]
        for column in range(len(positions)):  # those of a column come in order
            mine, wanted = ([word for word in words if word["column"] == column] for words in (received, expected))
            assert mine == wanted
        np.testing.assert_array_equal(self.bytes, self.golden)

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
                attend_head(turned[g * self.group : (g + 1) * self.group],
                            *self.head(slots[column], g).read(position + 1), self.softmax_scale)
                for g in range(self.kv_heads)
            ])
            words += [{"column": column, "index": index, "values": values}
                      for index, values in enumerate(encode(out).reshape(-1, CONFIG.vector).tolist())]
        return words


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(shape=bench_parameters()["shapes"])
async def chunks_equal_golden(dut, shape):
    """All chunks, one after the other over the same memory."""
    group, kv_heads, head_dim, stall = shape
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    bench = Bench(dut, group, kv_heads, head_dim, stall)
    await bench.reset(3)
    for name, chunk in CHUNKS.items():
        dut._log.info(name)
        await bench.run(**chunk)
