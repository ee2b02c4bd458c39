"""The packed format, against a loop that follows its description, and the online quantisation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sw.ternary import count_padding, pack, quantize, unpack


def unpack_by_loop(packed: np.ndarray) -> np.ndarray:
    n, columns = packed.shape
    result = np.zeros((4 * n, columns), np.int8)
    for row in range(4 * n):
        for column in range(columns):
            code = (int(packed[row % n, column]) >> (2 * (row // n))) & 3
            result[row, column] = 0 if code == 3 else code - 1
    return result


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_unpack_follows_the_description(rows: int, columns: int, seed: int) -> None:
    packed = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    assert np.array_equal(unpack(packed), unpack_by_loop(packed))


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_pack_and_unpack_are_inverse(rows: int, columns: int, seed: int) -> None:
    trits = np.random.default_rng(seed).integers(-1, 2, (4 * rows, columns), dtype=np.int8)
    packed = pack(trits)
    assert packed.dtype == np.uint8
    assert packed.shape == (rows, columns)
    assert np.array_equal(unpack(packed), trits)
    assert count_padding(packed) == 0


def test_known_byte() -> None:
    assert unpack(np.array([[0b10_01_00_10]], np.uint8)).ravel().tolist() == [1, -1, 0, 1]


def test_padding_counts_as_zero() -> None:
    packed = np.array([[0xFF, 0b11_00_10_11, 0b01_10_01_10]], np.uint8)
    assert count_padding(packed) == 6
    assert unpack(packed)[:, 0].tolist() == [0, 0, 0, 0]


def test_pack_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        pack(np.zeros((3, 2), np.int8))
    with pytest.raises(ValueError, match="-1, 0 or 1"):
        pack(np.full((4, 2), 2, np.int8))
    with pytest.raises(ValueError, match="uint8 matrix"):
        unpack(np.zeros(4, np.uint8))


def test_quantize_by_hand() -> None:
    trits, scale = quantize(np.array([[0.5, -0.5, 1.0, -2.0], [0.25, 0.0, 1.75, -2.0]], np.float32))
    assert scale == 1.0
    assert trits.tolist() == [[0, 0, 1, -1], [0, 0, 1, -1]]  # a half rounds to even, -2 is clamped


def test_quantize_of_zeros_uses_the_smallest_scale() -> None:
    trits, scale = quantize(np.zeros((4, 4), np.float32))
    assert scale == 1e-5
    assert not trits.any()
