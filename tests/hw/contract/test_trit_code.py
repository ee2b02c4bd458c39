"""The trit code: every byte and every quintuple. This file tests `hw.contract.trit_code` and `sw.weights`."""

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


def test_every_byte_follows_the_rules():
    """Distinct codes; the signs are the bits of the byte that the docstring names, the escape means two zeros."""
    assert len(set(ENCODE.tolist())) == 243
    for byte, trits in enumerate(DECODE.tolist()):
        group = byte & 7 if byte >> 5 == 7 else byte >> 5
        signs = (byte >> 3 & 1, byte >> 4 & 1, group >> 2, byte & 1, byte >> 1 & 1)
        assert all((trit < 0) == sign for trit, sign in zip(trits, signs, strict=True) if trit)
        assert (trits[3:] == [0, 0]) == (byte >> 5 == 7)


def test_bytes_that_the_packer_does_not_write():
    unused = set(range(256)) - set(ENCODE.tolist())
    assert len(unused) == 13
    assert {byte for byte in unused if not DECODE[byte].any()} == {0xE7, 0xEF, 0xF7, 0xFF, 0xFE}
    assert not DECODE[[byte for byte in unused if byte >> 3 == 0b11011], :3].any()


def test_known_bytes():
    """Written down, so that a change of the code is noticed: it makes every image that exists unreadable."""
    known = {"00000": 0xE0, "+++++": 0x64, "-----": 0xBF, "+0-0+": 0xB0, "-+00-": 0x8B, "0++00": 0xEA}
    values = {"+": 1, "0": 0, "-": -1}
    for trits, byte in known.items():
        assert encode_trits(np.array([values[trit] for trit in trits])).tolist() == [byte], trits


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
