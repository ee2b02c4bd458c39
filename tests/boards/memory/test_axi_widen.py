# amaranth: UnusedElaboratable=no
"""AxiWiden: no byte changes, no clock is lost, errors and refusals."""

from __future__ import annotations

import pytest

from boards.memory.axi_widen import AxiWiden
from hw.contract.config import ConfigError, preset
from sim.bench import run_bench


@pytest.mark.parametrize("data_bits", [128, 256])
@pytest.mark.filterwarnings("default")
def test_between_foreign_agents(data_bits: int) -> None:
    config = preset("ulx3s")
    component = AxiWiden(config, address_bits=16, data_bits=data_bits)
    run_bench(component, config, "tests.boards.memory.widen_bench", parameters={"data_bits": data_bits})


@pytest.mark.parametrize("data_bits", [32, 64, 96, 192])
def test_refusals(data_bits: int) -> None:
    with pytest.raises(ConfigError, match=f"words of {data_bits} bits are not a power of two.* accelerator's 64 bits"):
        AxiWiden(preset("ulx3s"), address_bits=16, data_bits=data_bits)
