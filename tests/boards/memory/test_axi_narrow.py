# amaranth: UnusedElaboratable=no
"""AxiNarrow: no byte changes, no clock is lost, errors and refusals."""

from __future__ import annotations

import pytest

from boards.memory.axi_narrow import AxiNarrow
from hw.contract.config import AccelConfig, ConfigError, preset
from sim.bench import run_bench


@pytest.mark.parametrize("data_bits", [16, 32, 64])
@pytest.mark.filterwarnings("default")
def test_between_foreign_agents(data_bits: int) -> None:
    config = preset("ulx3s")
    component = AxiNarrow(config, address_bits=16, data_bits=data_bits)
    run_bench(component, config, "tests.boards.memory.narrow_bench", parameters={"data_bits": data_bits})


@pytest.mark.parametrize("config, data_bits, sentence", [
    (AccelConfig(name="long", burst_beats=128), 16, "set burst_beats to 64 at most"),
    (AccelConfig(name="odd"), 24, "not a power of two times the memory's 24 bits"),
    (AccelConfig(name="wide"), 128, "not a power of two times the memory's 128 bits"),
])
def test_refusals(config: AccelConfig, data_bits: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        AxiNarrow(config, address_bits=16, data_bits=data_bits)
