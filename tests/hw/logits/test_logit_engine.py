# amaranth: UnusedElaboratable=no
"""LogitEngine equals the golden logits, bit for bit and in the order of the rows."""

import numpy as np
import pytest

from hw.contract.config import ceil_div, preset
from hw.dot.scaled_sum import ScaledSum
from hw.logits.logit_engine import LogitEngine
from sim.golden.logits import lm_head_logits
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import assert_equal, random_codes, stream
from tests.hw.logits.packets import head_payload
from tests.hw.steps import Step, run_stream

TINY = preset("tiny").replace(max_hidden=256, max_vocab=300)
CONFIGS = {
    "tiny": TINY,
    "one_element_per_clock": TINY.replace(vector=1),
    "wide": TINY.replace(port_bits=128, rows=4, inputs=20, vector=4),
}


class Column:
    """Activations of one column, a head, and the logits the golden model gets from them."""

    def __init__(self, a16, hs, rows, scales):
        self.a16, self.hs, self.rows, self.scales = np.asarray(a16), hs, np.asarray(rows), np.asarray(scales)

    @classmethod
    def random(cls, seed, k, m):
        random = np.random.default_rng(seed)
        return cls(
            random.integers(-32767, 32768, k), float(rnd(random.uniform(1e-6, 1e-3))),
            random.integers(-127, 128, (m, k)), rnd(random.uniform(1e-3, 1e-2, m)),
        )

    def command(self):
        m, k = self.rows.shape
        return {"k": k, "m": m, "hs": int(encode(self.hs))}

    def expected(self):
        codes = encode(lm_head_logits(self.a16, self.hs, self.rows, self.scales)).tolist()
        assert 1 << 24 not in codes, "there is no negative zero"
        return [{"row": n, "logit": code, "last": n == len(codes) - 1} for n, code in enumerate(codes)]


def run(config, a16, columns, *, padding=0, **options):
    """Writes the activations, then runs all heads over them."""
    # What an earlier and longer vector has left behind must not count.
    values = np.full(ceil_div(config.max_hidden, config.vector) * config.vector, 32767)
    values[: len(a16)] = a16
    written = [{"index": n, "codes": codes} for n, codes in enumerate(values.reshape(-1, config.vector).tolist())]
    received, log = run_stream(LogitEngine(config), {
        "i_command": [column.command() for column in columns],
        "i_beats": [beat for column in columns for beat in head_payload(config, column.rows, column.scales, padding)],
    }, prepare=[Step(send={"i_activations": written})], **options)
    assert received == [word for column in columns for word in column.expected()]
    return log


def test_scaled_sum_equals_golden():
    random = np.random.default_rng(4)
    sums = random.integers(-(2**33) + 1, 2**33, 3000) >> random.integers(0, 33, 3000)
    a, b = random_codes(random, 3000, 90, 130), random_codes(random, 3000, 90, 130)
    expected = encode(rnd(rnd(sums) * rnd(decode(a) * decode(b))))
    assert ScaledSum.LATENCY == 6
    assert_equal(stream(ScaledSum(34), "verilator", i=sums, a=a, b=b), expected, sums, a, b)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_largest_codes(name, sign):
    config = CONFIGS[name]
    k = config.max_hidden
    a16 = np.full(k, 32767 * sign)
    run(config, a16, [Column(a16, 2.0**-20, [[127] * k, [-127] * k], [1.0, 1.0])])


def test_largest_sum_of_the_longest_row():
    """Both ends of what 34 bits of a preset's accumulator must hold."""
    config = preset("tiny").replace(max_vocab=4)
    a16 = np.full(config.max_hidden, -32767)
    column = Column(a16, 2.0**-20, [[127] * config.max_hidden, [-127] * config.max_hidden], [1.0, 1.0])
    assert (column.rows @ a16).tolist() == [-8522565632, 8522565632]
    run(config, a16, [column])


@pytest.mark.parametrize("name", CONFIGS)
def test_all_zero_activations(name):
    config = CONFIGS[name]
    column = Column.random(1, 40, 5)
    column.a16 = np.zeros(40, dtype=np.int64)
    run(config, column.a16, [column])


def test_zero_rows_and_scales():
    column = Column.random(2, 40, 6)
    column.rows[1], column.scales[1], column.scales[4], column.hs = 0, 0.0, 0.0, -column.hs
    run(TINY, column.a16, [column])


def limits():
    """The product of the two scales rounds, saturates or vanishes before the sum comes in."""
    column = Column.random(3, 30, 8)
    column.hs = float(rnd(1.9e-3))
    column.scales = np.array([MAX_FLOAT, MIN_FLOAT, 2.0**120, 2.0**-117, 1.0, -1.0, 0.0, -MAX_FLOAT])
    return column


def test_scales_at_the_limits():
    run(TINY, limits().a16, [limits()])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("k", [1, 7, 8, 9, 15, 16, 17, 255, 256])
def test_k_not_a_multiple_of_the_beat(name, k):
    """Neither what pads a row nor what the memory holds behind k counts."""
    column = Column.random(k, k, 5)
    run(CONFIGS[name], column.a16, [column], padding=0x7F)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 7, 9])
def test_m_not_a_multiple_of_the_group(name, m):
    """Rows behind m are consumed and dropped: the next command finds its own beats."""
    first, second = Column.random(m, 20, m), Column.random(m + 100, 20, 3)
    second.a16 = first.a16
    run(CONFIGS[name], first.a16, [first, second], padding=0x81)


def test_most_rows():
    column = Column.random(6, 3, TINY.max_vocab)
    run(TINY, column.a16, [column])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("k", [5, 100])
def test_cycles(name, k):
    """One beat per clock; a logit `latency` clocks after the last beat of its row."""
    config = CONFIGS[name]
    group, row_beats = config.beat_bytes // 4, ceil_div(k, config.beat_bytes)
    column = Column.random(k, k, 6 * group)
    log = run(config, column.a16, [column])
    start = log["i_command"][0] + 1
    assert log["i_beats"] == list(range(start, start + 6 * (1 + group * row_beats)))
    ends = [g * (1 + group * row_beats) + (r + 1) * row_beats for g in range(6) for r in range(group)]
    assert log["o"] == [start + end + LogitEngine(config).latency for end in ends]


def test_verilated():
    """Edges of the ranges, of the beat and of the group, then a stalled run of random columns."""
    k = TINY.max_hidden
    largest = np.full(k, -32767)
    run(TINY, largest, [Column(largest, 2.0**-20, [[127] * k, [-127] * k], [1.0, 1.0])], simulator="verilator")
    columns = [limits(), *(Column.random([m, 30], 30, m) for m in (1, 2, 3, 9))]
    for column in columns:
        column.a16 = columns[0].a16
    run(TINY, columns[0].a16, columns, padding=0x7F, simulator="verilator")
    run(TINY, columns[0].a16, columns, padding=0x81, stall=0.5, seed=1, simulator="verilator")


def test_latency():
    assert {name: LogitEngine(config).latency for name, config in CONFIGS.items()} == {
        "tiny": 13, "one_element_per_clock": 13, "wide": 14,
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", CONFIGS)
def test_random_with_stalls(name, seed):
    random = np.random.default_rng(100 + seed)
    k = int(random.integers(1, 120))
    columns = [Column.random([seed, n], k, int(random.integers(1, 14))) for n in range(4)]
    for column in columns:
        column.a16 = columns[0].a16
    run(CONFIGS[name], columns[0].a16, columns, stall=(0.2, 0.5, 0.8)[seed % 3], seed=seed)
