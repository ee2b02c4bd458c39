"""The LM head with shortlists: the records that it writes are those of the golden model, byte for byte, and what is
chosen and written without them stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hw.contract.config import AccelConfig
from sim.golden.number import rnd
from tests.hw.logits.head_bench import Group, Head, check, random_group


def config(ports: int, port_bits: int, query_rows: int, columns: int, vector: int = 2) -> AccelConfig:
    return AccelConfig(name="lists", ports=ports, port_bits=port_bits, rows=4, inputs=5 * ports * port_bits // 32,
                       columns=columns, vector=vector, query_rows=query_rows, max_hidden=256, max_vocab=300,
                       max_head_dim=16, shortlist=64)


CONFIGS = {
    "64 bit": config(1, 64, 2, 2),
    "one column, 128 bit": config(1, 128, 1, 1, vector=4),
}
VERILATED = {
    "three columns of five": config(1, 64, 3, 5),
    "four ports": config(4, 128, 4, 3, vector=4),
    "512 bit": config(1, 512, 2, 2),
}


def groups(name: str, seed: int) -> list[Group]:
    """Vocabularies around the length of a list and around a block of rows."""
    columns = (CONFIGS | VERILATED)[name].head_columns
    return [random_group(seed, columns, 40, (1, 63, 64, 65)),
            random_group(seed + 1, max(1, columns - 1), 64, (200, 300))]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_records(name: str, stall: float) -> None:
    check(CONFIGS[name], groups(name, 3), keep=True, listing=True, stall=stall, seed=1, simulator="verilator")


@pytest.mark.parametrize("name", VERILATED)
def test_records_verilated(name: str) -> None:
    for seed in range(3):
        check(VERILATED[name], groups(name, 10 * seed), keep=True, listing=True, stall=0.2 * seed, seed=seed,
              simulator="verilator")


def special(name: str) -> Head:
    """Heads for activations of 1, whose logits are as their scales say."""
    count = 150
    rows, scales = np.zeros((count, 16), dtype=int), np.full(count, 1e-3)
    rows[:, 0] = 100
    if name == "zeros":
        rows[:] = 0
    elif name == "one huge scale":
        scales[77] = 1e6
    elif name == "ties at the 64th place":
        rows[:, 0] = [120 - n // 3 for n in range(count)]
    elif name == "ties at the 64th place, from the lowest logit up":
        rows[:, 0] = [-120 + n // 3 for n in range(count)]
    elif name == "rising":
        rows[:, 0], scales = 127, np.geomspace(1e-3, 1e3, count)
    return Head(rows, rnd(scales))


@pytest.mark.parametrize("name", ["equal", "zeros", "one huge scale", "ties at the 64th place", "rising",
                                  "ties at the 64th place, from the lowest logit up"])
def test_special_rows(name: str) -> None:
    a16 = np.zeros((2, 16), dtype=int)
    a16[:, 0] = [1000, -1000]
    check(CONFIGS["64 bit"], [Group(a16, rnd(np.array([1e-3, 2e-3])), [special(name)])], keep=True, listing=True,
          simulator="verilator")


def test_an_outlier_activation() -> None:
    random = np.random.default_rng(4)
    a16 = random.integers(-3, 4, (2, 40))
    a16[:, 17] = 32767
    group = random_group(4, 2, 40, (130,))
    check(CONFIGS["64 bit"], [replace(group, a16=a16)], keep=True, listing=True, simulator="verilator")


@pytest.mark.parametrize("keep", [False, True])
def test_without_lists(keep: bool) -> None:
    """A machine that can make lists writes rows, or nothing, when none are wanted, and lists again behind them."""
    name = "64 bit"
    check(CONFIGS[name], groups(name, 6), keep=keep, stall=0.2, simulator="verilator")
