"""Every edge of `hw/bounds.py` is as wide in the elaborated machine as its bound asks for; docs/numerics.md says so."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from amaranth.hdl import Fragment, Shape, Signal, UnusedElaboratable
from hypothesis import Phase, given, settings

from hw.accelerator import Accelerator
from hw.bounds import DOCUMENT, Edge, edges, write_table
from hw.contract.config import PRESETS, AccelConfig, ceil_div, preset
from hw.contract.payloads import acc_word
from tests.hw.configs import configs

TINY = preset("tiny")


def signals(fragment: Fragment, path: str = "") -> dict[str, Signal]:
    """The signals of an elaborated component by their path; those of the same name in a unit are as wide."""
    found: dict[str, Signal] = {}
    for statements in fragment.statements.values():
        for statement in statements:
            for signal in (*statement._lhs_signals(), *statement._rhs_signals()):
                known = found.setdefault(path + signal.name, signal)
                if len(signal) < len(known):
                    found[path + signal.name] = signal
    for part, name, _ in fragment.subfragments:
        found |= signals(part, f"{path}{name}.")
    return found


def shape_of(edge: Edge, config: AccelConfig, machine: dict[str, Signal]) -> tuple[int, bool]:
    """Bits of one element, and whether they are signed."""
    if edge.field:
        layout, name = edge.field
        shape: Any = layout(config)[name].shape
    else:
        shape = machine[edge.signal].shape()
    signed = getattr(shape, "elem_shape", shape)
    width = Shape.cast(shape).width
    assert width % edge.parts == 0, f"{edge.what}: {width} bits are not {edge.parts} elements"
    return width // edge.parts, Shape.cast(signed).signed or (edge.parts > 1 and edge.least < 0)


def too_narrow(config: AccelConfig) -> list[str]:
    """The edges whose signal does not hold their bound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        machine = signals(Fragment.get(Accelerator(config), None))
    found = []
    for edge in edges(config):
        width, signed = shape_of(edge, config, machine)
        if (edge.least < 0 and not signed) or width < edge.bits + (signed and edge.least >= 0):
            found.append(f"{edge.what}: {edge.least}..{edge.most} does not fit {width} bits")
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_presets_hold_their_bounds(name: str) -> None:
    assert not too_narrow(PRESETS[name])


@settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate])
@given(configs(ports=(1,), most_columns=3))
def test_any_configuration_holds_its_bounds(config: AccelConfig) -> None:
    assert not too_narrow(config)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(configs())
def test_the_longest_results_fit_a_column(config: AccelConfig) -> None:
    """Queries, keys and values one behind the other, or the FFN vector, each with the rows that pad its last block."""
    def blocks(elements: int) -> int:
        return ceil_div(elements, config.rows) * config.rows

    assert 2 * config.padded(config.max_hidden) + blocks(config.max_hidden) <= config.work_elements
    assert blocks(config.max_intermediate) <= config.work_elements
    assert config.residual_elements % config.vector == 0
    assert config.residual_elements + config.work_elements <= config.column_words * config.vector


def test_a_narrow_edge_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit less than the sums of the longest vector need."""
    monkeypatch.setattr(AccelConfig, "accumulator_bits", property(lambda c: (127 * c.max_k).bit_length()))
    assert too_narrow(TINY) == [
        f"{what}: -260096..260096 does not fit 18 bits" for what in ("BitLinear sum", "its accumulator")
    ]


def test_bits() -> None:
    def bits(most: int, least: int = 0) -> int:
        return Edge("", "", most, least).bits

    assert [bits(0), bits(1), bits(255), bits(256)] == [0, 1, 8, 9]
    assert [bits(127, -127), bits(127, -128), bits(127, -129), bits(128, -1), bits(0, -1)] == [8, 8, 9, 9, 1]


def test_the_table_is_that_of_the_presets() -> None:
    assert DOCUMENT.read_text() == write_table(), "run python -m hw.bounds"


def test_shape_of_an_element() -> None:
    assert shape_of(Edge("", "", 1, -1, field=(acc_word, "sums"), parts=2), TINY, {}) == (19, True)
