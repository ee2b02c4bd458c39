"""What is counted in the design is what its units declare."""

from __future__ import annotations

from hw.contract.config import preset
from hw.inventory import RamBlock, inventory


def test_ulx3s() -> None:
    """A small preset, which is elaborated in seconds."""
    config = preset("ulx3s")
    found = inventory(config)
    scratchpad, = (one for one in found.memories if one.unit == "vectors.scratchpad")
    assert (scratchpad.depth, scratchpad.ultra_ram) == (config.columns * config.column_words, True)
    fifo, = (one for one in found.memories if one.unit == "memory.read_0.stream_store.fifo")
    assert (fifo.width, fifo.depth) == (config.port_bits + 1, config.stream_fifo_beats)
    activations = [one for one in found.memories if one.unit.startswith("vectors.array.column_")
                   and one.depth == config.activation_words]
    assert [one.width for one in activations] == [8 * config.inputs] * config.columns
    assert found.multiplications[8, 18] == config.kv_elements * config.query_rows
    assert (9, 16) not in found.multiplications, "the LM head has no multipliers of its own"


def test_primitives_cover_the_memory() -> None:
    memory = RamBlock("unit", width=65, depth=512, reads=1, ultra_ram=False)
    assert [memory.primitives(name) for name in ("DP16KD", "RAMB36", "URAM288")] == [2, 1, 1]
    deep = RamBlock("unit", width=25, depth=8320, reads=2, ultra_ram=False)
    assert [deep.primitives(name) for name in ("DP16KD", "RAMB36", "URAM288")] == [
        2 * 3 * 5, 3 * 5, 2 * 3]  # of 2,048 x 9 bits, and of 4,096 x 72
