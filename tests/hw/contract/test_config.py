"""A configuration that cannot be built is refused by a ConfigError of one sentence, and nothing else happens."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.contract.config import CHOICES, RANGES, AccelConfig, ConfigError, preset

TINY = preset("tiny")
NUMBERS = [field.name for field in dataclasses.fields(AccelConfig)][1:]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "fraction": ({"rows": 2.0}, "rows must be an integer, not 2.0"),
    "truth": ({"ports": True}, "ports must be an integer, not True"),
    "text": ({"columns": "2"}, "columns must be an integer, not '2'"),
    "negative lanes": ({"rows": -2, "inputs": -20}, "rows \\* inputs must be"),
    "no lanes": ({"rows": 0}, "rows \\* inputs must be"),
    "words shorter than a vector": ({"rows": 40, "inputs": 1}, "inputs must be at least vector, but 1 is less than 2"),
    "a row block that is no whole words": ({"rows": 5, "inputs": 8}, "rows must be a multiple of vector"),
    "no hidden": ({"max_hidden": 0}, "max_hidden must be 1 to 65535, not 0"),
    "k beyond the header": ({"max_intermediate": 1 << 16}, "max_intermediate must be 1 to 65535, not 65536"),
    "tokens beyond a row index": ({"max_vocab": (1 << 24) + 1}, "max_vocab must be 1 to 16777216"),
    "positions beyond a row index": ({"max_positions": (1 << 24) + 1}, "max_positions must be 1 to 16777216"),
    "group beyond its counter": ({"max_group": 256}, "max_group must be 1 to 255, not 256"),
    "head too long": ({"max_head_dim": 1025}, "max_head_dim must be 16 to 1024, not 1025"),
    "head below its unit": ({"max_head_dim": 15}, "max_head_dim must be 16 to 1024, not 15"),
    "no query row": ({"query_rows": 0}, "query_rows must be 1 to 16, not 0"),
    "nothing in flight": ({"outstanding": 0}, "outstanding must be 1 to 256, not 0"),
    "no patience": ({"timeout_cycles": 0}, "timeout_cycles must be 1 to 4294967295, not 0"),
    "address": ({"address_bits": 65}, "address_bits must be 36 to 64, not 65"),
    "fifo": ({"burst_beats": 256, "stream_fifo_beats": 511}, "stream_fifo_beats must hold two bursts of 256, not 511"),
    "choice": ({"kv_bits": 12}, "kv_bits must be 8 or 16, not 12"),
    "port": ({"port_bits": 32}, "port_bits must be 64, 128, 256 or 512, not 32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    changes, sentence = REFUSED[name]
    with pytest.raises(ConfigError, match=sentence):
        TINY.replace(**changes)


def near(name: str) -> st.SearchStrategy[Any]:
    """Values about the ends of a field, and far from them."""
    ends = [*CHOICES.get(name, ()), *RANGES.get(name, ()), getattr(TINY, name)]
    values = st.sampled_from([value + step for value in ends for step in (-1, 0, 0, 1)])
    return values | st.integers(-(1 << 70), 1 << 70) | st.sampled_from([None, 1.0, True, "1", [1]])


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(NUMBERS), st.none(), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: near(name) for name in names})))
def test_built_or_refused(changes: dict[str, Any]) -> None:
    """What is accepted has bounds, a work area for its longest vectors, and a build id."""
    try:
        config = TINY.replace(**changes)
    except ConfigError:
        return
    derived = [name for name, value in vars(AccelConfig).items() if isinstance(value, property)]
    assert "word_bits" in derived
    assert all(getattr(config, name) is not None for name in derived)
    assert config.build_id
