"""The packed format, against a loop that follows its description, and the online quantisation."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sw.ternary import TernaryMatrix, count_codes, from_master, from_packed, pack


def packed_matrix(packed: np.ndarray) -> TernaryMatrix:
    return from_packed((packed.shape[0], packed.shape[1]), lambda rows: packed[rows], 1.0)


def unpack(packed: np.ndarray) -> np.ndarray:
    matrix = packed_matrix(packed)
    return matrix.rows(0, matrix.shape[0])


def master(weights: np.ndarray) -> TernaryMatrix:
    return from_master((weights.shape[0], weights.shape[1]), lambda rows: weights[rows])


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
    assert count_codes(packed).padding == 0


def test_known_byte() -> None:
    assert unpack(np.array([[0b10_01_00_10]], np.uint8)).ravel().tolist() == [1, -1, 0, 1]


def test_padding_counts_as_zero() -> None:
    packed = np.array([[0xFF, 0b11_00_10_11, 0b01_10_01_10]], np.uint8)
    assert count_codes(packed) == packed_matrix(packed).counts
    assert count_codes(packed).padding == 6
    assert unpack(packed)[:, 0].tolist() == [0, 0, 0, 0]


def test_pack_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        pack(np.zeros((3, 2), np.int8))
    with pytest.raises(ValueError, match="-1, 0 or 1"):
        pack(np.full((4, 2), 2, np.int8))


def test_master_weights_by_hand() -> None:
    matrix = master(np.array([[0.5, -0.5, 1.0, -2.0], [0.25, 0.0, 1.75, -2.0]], np.float32))
    assert matrix.scale == 1.0
    # a half rounds to even, -2 is clamped
    assert matrix.rows(0, 2).tolist() == [[0, 0, 1, -1], [0, 0, 1, -1]]


def test_zeros_have_the_smallest_scale() -> None:
    matrix = master(np.zeros((4, 4), np.float32))
    assert matrix.scale == 1e-5
    assert not matrix.rows(0, 4).any()


def test_smallest_scale_still_decides() -> None:
    """Weights of 1e-7 are far below the smallest scale of 1e-5: none of them counts; one of 6e-6 does."""
    weights = np.full((8, 8), 1e-7, np.float32)
    weights[3, 3] = -6e-6
    assert np.argwhere(master(weights).rows(0, 8)).tolist() == [[3, 3]]


@given(st.integers(0, 2**32 - 1), st.integers(-20, 20))
def test_quotient_is_exact(seed: int, exponent: int) -> None:
    """Every float32 beside half the scale, against the definition in rational numbers."""
    random = np.random.default_rng(seed)
    weights = (random.standard_normal((6, 5)) * 2.0**exponent).astype(np.float32)
    for _ in range(3):  # the scale moves with the weights: put some on its half as it was
        weights[0, :4] = np.float32(master(weights).scale / 2)
    weights[0, 1] = np.nextafter(weights[0, 1], np.float32(9))
    weights[0, 2] = -np.nextafter(weights[0, 2], np.float32(9))
    weights[0, 3] = np.nextafter(weights[0, 3], np.float32(0))
    matrix = master(weights)
    scale = Fraction(matrix.scale)
    expected = [[max(-1, min(1, round(Fraction(float(w)) / scale))) for w in row] for row in weights]
    assert matrix.rows(0, 6).tolist() == expected
    exact = sum(Fraction(abs(float(w))) for row in weights for w in row) / 30
    assert abs(scale - max(exact, Fraction(1e-5))) <= exact / 2**50


@pytest.mark.parametrize("kind", ["packed", "master"])
def test_blocks_are_the_whole_in_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sw.ternary.BLOCK_ELEMENTS", 50)
    random = np.random.default_rng(5)
    if kind == "packed":
        matrix = packed_matrix(random.integers(0, 256, (9, 7), dtype=np.uint8))
    else:
        matrix = master(random.standard_normal((36, 7)).astype(np.float32))
    whole = matrix.rows(0, 36)
    for multiple, rows in ((1, [7] * 5 + [1]), (4, [8] * 4 + [4]), (10, [10, 10, 10, 6])):
        blocks = list(matrix.blocks(multiple))
        assert [len(block) for block in blocks] == rows
        assert np.array_equal(np.concatenate(blocks), whole)
