"""The trit code: every byte and every quintuple. This file tests `hw.array.trit_code` and `sw.weights`."""

import itertools

import numpy as np
import pytest

from hw.contract.config import preset
from hw.contract.trit_code import DECODE, ENCODE, ZERO_BYTE, decode_bytes, encode_trits
from sim.golden.array import bitlinear_sums, unpack_matrix
from sw.weights import pack_matrix

QUINTUPLES = np.array(list(itertools.product((-1, 0, 1), repeat=5)), dtype=np.int8)


def test_every_quintuple_survives():
    assert np.array_equal(decode_bytes(encode_trits(QUINTUPLES)), QUINTUPLES)


def test_codes_are_distinct_and_unused_ones_are_zero():
    used = set(ENCODE.tolist())
    assert len(used) == 243
    assert not DECODE[[byte for byte in range(256) if byte not in used]].any()


def test_code_is_the_documented_one():
    for t0, t1, t2, t3, t4 in QUINTUPLES.tolist():
        three, two = (t0 + 1) + 3 * (t1 + 1) + 9 * (t2 + 1), (t3 + 1) + 3 * (t4 + 1)
        byte = three << 3 | two if two < 8 else (27 + (three >> 3)) << 3 | (three & 7)
        assert int(encode_trits(np.array([t0, t1, t2, t3, t4]))[0]) == byte


def test_zero_byte():
    assert not DECODE[ZERO_BYTE].any()


@pytest.mark.parametrize(
    ("trits", "message"), [([0, 0, 0, 0, 2], "trits must be -1, 0 or 1"), ([0, 0, 0], "multiple of 5, not 3")]
)
def test_refusals(trits, message):
    with pytest.raises(ValueError, match=message):
        encode_trits(np.array(trits))


@pytest.mark.parametrize(("m", "k"), [(1, 1), (2, 20), (3, 21), (7, 100)])
def test_matrix_survives_and_sums_are_exact(m, k):
    config = preset("tiny")
    random = np.random.default_rng(m * k)
    trits = random.integers(-1, 2, (m, k), dtype=np.int8)
    activations = random.integers(-128, 128, (3, k)).astype(np.int8)
    packed = pack_matrix(config, trits)
    assert np.array_equal(unpack_matrix(config, packed, k, m), trits)
    expected = activations.astype(np.int64) @ trits.T.astype(np.int64)
    assert np.array_equal(bitlinear_sums(config, activations, packed, k, m), expected)


def test_wrong_number_of_beats_is_refused():
    with pytest.raises(ValueError, match="expected 2 beats of 8 bytes, not 8 bytes"):
        unpack_matrix(preset("tiny"), bytes(8), 40, 2)
