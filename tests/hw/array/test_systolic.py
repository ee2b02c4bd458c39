"""The array in Verilator, for several shapes; the cases are in `systolic_bench.py`."""

import pytest

from hw.array.systolic import SystolicArray
from hw.contract.config import preset
from sim.bench import run_bench

CONFIGS = {
    "tiny": preset("tiny"),
    "two_words_per_block": preset("tiny").replace(rows=4, inputs=10, columns=3, max_hidden=640, max_intermediate=640),
    "one_wide_column": preset("tiny").replace(port_bits=128, rows=4, inputs=20, columns=1, vector=4),
    "k_6912": preset("tiny").replace(max_intermediate=6912),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_systolic_array(name):
    config = CONFIGS[name]
    run_bench(SystolicArray(config), config, "tests.hw.array.systolic_bench")
