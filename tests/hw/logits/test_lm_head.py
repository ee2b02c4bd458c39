"""The LM head on the dot products of attention: best rows and written logits are those of the golden model, bit for
bit."""

from __future__ import annotations

import numpy as np
import pytest

from hw.contract.config import AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.logits.logit_reader import LogitReader
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, rnd
from tests.hw.logits.head_bench import Group, Head, check, random_group


def config(ports: int, port_bits: int, kv_bits: int, query_rows: int, columns: int, vector: int = 2) -> AccelConfig:
    return AccelConfig(name="head", ports=ports, port_bits=port_bits, rows=4, inputs=5 * ports * port_bits // 32,
                       columns=columns, vector=vector, query_rows=query_rows, kv_bits=kv_bits, max_hidden=256,
                       max_vocab=300, max_head_dim=16)


CONFIGS = {
    "8 rows a beat": config(1, 64, 8, 2, 2),
    "16 bit, two ports": config(2, 64, 16, 3, 4, vector=1),
    "one column": config(1, 128, 8, 1, 1, vector=4),
}
VERILATED = {
    "sets of two columns": config(1, 64, 16, 5, 8),
    "four ports": config(4, 128, 8, 4, 3, vector=4),
    "512 bit": config(1, 512, 16, 2, 2),
}


def most_columns(name: str) -> int:
    return (CONFIGS | VERILATED)[name].head_columns


def largest(k: int, columns: int) -> Group:
    """All largest codes; columns of both signs."""
    a16 = np.full((columns, k), 32767) * np.where(np.arange(columns) % 2, -1, 1)[:, None]
    return Group(a16, np.full(columns, 2.0**-20), [Head(np.array([[127] * k, [-127] * k]), np.array([1.0, 1.0]))])


def limits(columns: int) -> Group:
    """The product of the two scales rounds, saturates or vanishes before the sum comes in."""
    group = random_group(3, columns, 30, [8])
    group.hs[:] = float(rnd(1.9e-3))
    group.heads[0].scales[:] = [MAX_FLOAT, MIN_FLOAT, 2.0**120, 2.0**-117, 1.0, -1.0, 0.0, -MAX_FLOAT]
    return group


def zeros(columns: int) -> Group:
    """A row, a scale, the scale of a column and the activations of another one."""
    group = random_group(2, columns, 40, [6])
    head = group.heads[0]
    head.rows[1], head.scales[1], head.scales[4] = 0, 0.0, 0.0
    group.hs[0] *= -1
    group.hs[-1] = 0.0
    group.a16[columns // 2] = 0
    return group


def ties(columns: int) -> Group:
    """Equal rows in one block, on other ports, and in the next block: the lowest wins, whichever column."""
    group = random_group(4, columns, 20, [150])
    head = group.heads[0]
    head.scales[:] = 0.5
    for column, a16 in enumerate(group.a16):
        head.rows[[70 + column, 71 + columns + column, 149 - column]] = np.where(a16 < 0, -127, 127)
    return group


NAMED = {"largest codes": lambda n: largest(256, n), "scales at the limits": limits, "zeros": zeros, "ties": ties}


@pytest.mark.parametrize("case", NAMED)
@pytest.mark.parametrize("name", CONFIGS)
def test_named(name: str, case: str) -> None:
    check(CONFIGS[name], [NAMED[case](most_columns(name))], keep=True)


def test_largest_sum_of_the_longest_row() -> None:
    """Both ends of what the sums of a preset must hold."""
    preset = AccelConfig(name="tiny", max_vocab=4)
    group = largest(preset.max_hidden, 2)
    assert (group.heads[0].rows @ group.a16[0]).tolist() == [8522565632, -8522565632]
    check(preset, [group], keep=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_k_not_a_multiple_of_the_beat(name: str) -> None:
    """What the memory of the activations holds behind k does not count."""
    check(CONFIGS[name], [random_group(k, most_columns(name), k, [5]) for k in (1, 7, 8, 9, 15, 16, 17, 255, 256)])


ROWS = (1, 2, 3, 4, 5, 7, 9, 63, 64, 65)


@pytest.mark.parametrize("name", CONFIGS)
def test_m_not_a_multiple_of_the_group(name: str) -> None:
    """Rows behind m are consumed and dropped, whatever they hold: the next command finds its own beats."""
    check(CONFIGS[name], [random_group(m, most_columns(name), 20, [m, 3, m], padding=0x81) for m in ROWS])


def test_logits_of_any_rows_are_written() -> None:
    check(CONFIGS["8 rows a beat"], [random_group(3, 2, 9, ROWS, padding=0x81)], keep=True)


def test_padding_larger_than_all_logits() -> None:
    """A row behind the vocabulary is never the best one, and its word in memory is 0."""
    group = random_group(8, 2, 9, [5], padding=0x3F)
    group.a16[:] = np.abs(group.a16) + 1
    group.heads[0].rows[:] = -5
    check(CONFIGS["8 rows a beat"], [group], keep=True)


def test_most_rows() -> None:
    check(CONFIGS["8 rows a beat"], [random_group(6, 2, 3, [CONFIGS["8 rows a beat"].max_vocab])], keep=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_any_columns_of_a_group(name: str) -> None:
    """Groups after each other, of fewer columns than before and of more."""
    most = most_columns(name)
    check(CONFIGS[name], [random_group(n, n, 10 + n, [66]) for n in (most, 1, most)], keep=True)


@pytest.mark.parametrize(("k", "m"), [(100, 2), (100, 128), (100, 130), (8, 192), (16, 256)])
@pytest.mark.parametrize("name", CONFIGS)
def test_clocks(name: str, k: int, m: int) -> None:
    """A beat per clock as long as the sums of a block are read before the beats of the next one have come. The last
    best row comes when the sums of the last block have been read, `LogitReader.LATENCY` and a clock later."""
    dut, columns = CONFIGS[name], most_columns(name)
    layout = HeadLayout(dut, k, m)
    run = check(dut, [random_group(k, columns, k, [m])])
    ends, reads, beats = [run.clocks["i_command"][0] + 1], [0, 0], []
    dot_latency = 3 + dut.kv_elements - 1 + dut.kv_bytes - 1
    for first in range(0, layout.groups, layout.block_groups):
        groups = min(layout.block_groups, layout.groups - first)
        start = max(ends[-1] + 1, reads[-2] + 2)
        beats += range(start, start + groups * layout.group_beats)
        ends.append(beats[-1])
        start = max(beats[-1] + dot_latency + 2 + 2, reads[-1] + 1)
        reads.append(start + groups * layout.group_rows * columns - 1)
    assert run.clocks["i_beats"] == beats
    assert run.clocks["best_valid"] == [reads[-1] + LogitReader.LATENCY - columns + 1 + n for n in range(columns)]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", CONFIGS)
def test_random_with_stalls(name: str, seed: int, keep: bool) -> None:
    random = np.random.default_rng(seed)
    groups = [random_group([seed, n], int(random.integers(1, most_columns(name) + 1)), int(random.integers(1, 40)),
                           random.integers(1, 90, 2).tolist(), padding=0x7F) for n in range(2)]
    check(CONFIGS[name], groups, keep=keep, stall=(0.3, 0.7)[seed], seed=seed)


@pytest.mark.parametrize("name", VERILATED)
def test_verilated(name: str) -> None:
    """Edges of the ranges, of beats and of groups, more blocks than banks, and all of it with stalls."""
    dut, most = VERILATED[name], most_columns(name)
    groups = [*(case(most) for case in NAMED.values()), random_group(1, 1, 70, [1, 64, 130], padding=0x7F),
              random_group(2, most, 9, [2, 63, 65], padding=0x81)]
    for keep, stall in ((True, 0.5), (False, 0.0)):
        check(dut, groups, keep=keep, stall=stall, seed=1, simulator="verilator")
