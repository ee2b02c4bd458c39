"""PackActivations equals a reshape with zero padding; no word beyond the array's memory is written."""

import numpy as np
import pytest

from hw.norm.pack_activations import PackActivations
from tests.hw.norm.bench import CONFIGS, IDLE_CLOCKS, chance, run, send, split

LENGTHS = {"one_word": 1, "one_activation_word": 20, "tail": 57, "one_more": 21, "longest": 160}


def words(config, column, codes) -> list[dict]:
    rows = [[int(code) for code in row] for row in split(codes, config.vector)]
    return [{"column": column, "index": n, "codes": row, "last": n == len(rows) - 1} for n, row in enumerate(rows)]


def pack(config, vectors, stall=0.0) -> tuple[list, list[int]]:
    """Send (column, codes) one after the other; returns the writes and the clock of each `o_done`."""
    dut, writes, done = PackActivations(config), [], []
    count = sum(-(-len(codes) // config.vector) for _, codes in vectors)

    async def sender(ctx):
        await send(ctx, dut.i, [word for vector in vectors for word in words(config, *vector)], chance(5, stall))

    async def watcher(ctx):
        clock = 0
        while len(done) < len(vectors) or clock < done[-1] + IDLE_CLOCKS:
            await ctx.tick()
            clock += 1
            if ctx.get(dut.o_en):
                values = [ctx.get(dut.o.values[n]) for n in range(config.inputs)]
                writes.append((ctx.get(dut.o.column), ctx.get(dut.o.address), values))
            if ctx.get(dut.o_done):
                done.append(clock)
            assert clock < 20 * count + 100

    run(dut, sender, watcher)
    return writes, done


def expected(config, vectors) -> list:
    """Codes with the padding to V lanes, in words of Kc; words that the memory does not have are left out."""
    out = []
    for column, codes in vectors:
        padded = np.array(split(codes, config.vector)).ravel()
        for address, row in enumerate(split(padded, config.inputs)[: config.activation_words]):
            out.append((column, address, [int(code) for code in row]))
    return out


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_matches_reshape(name, stall):
    config, rng = CONFIGS[name], np.random.default_rng(11)
    lengths = [*LENGTHS.values(), *rng.integers(1, 161, 8).tolist()]
    vectors = [(n % config.columns, rng.integers(-127, 128, length)) for n, length in enumerate(lengths)]
    writes, _ = pack(config, vectors, stall)
    assert writes == expected(config, vectors)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    config = CONFIGS[name]
    codes = np.full(config.inputs * config.vector, -127)
    _, done = pack(config, [(0, codes)])
    assert done == [config.inputs]  # visible after the clock edge that takes the last word of codes


def test_word_beyond_the_memory_is_dropped():
    config = CONFIGS["quad"]
    vectors = [(1, np.full(160, 1)), (0, np.full(162, 1))]
    writes, done = pack(config, vectors)
    assert writes == expected(config, vectors)
    assert len(writes) == 2 * config.activation_words
    assert len(done) == 2
