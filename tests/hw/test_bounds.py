"""Every bound that a unit declares fits its signal in the elaborated machine; docs/numerics.md lists them all."""

from __future__ import annotations

from functools import cache

import pytest
from amaranth.hdl import Fragment, Module, Shape, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Out
from hypothesis import Phase, given, settings

from hw.array import systolic
from hw.bound import Bound, Bounds, bounded
from hw.bounds import DOCUMENT, PROGRAM, collected, document, with_options
from hw.contract.config import PRESETS, AccelConfig, ceil_div, preset
from hw.contract.tables import END, mark
from hw.watch import Synthesis
from tests.hw.configs import configs

TINY = preset("tiny")


@cache
def documented() -> set[str]:
    """The names in the table of docs/numerics.md."""
    rows = DOCUMENT.read_text().split(mark(PROGRAM))[1].split(END)[0].splitlines()[2:]
    return {row.split("|")[1].strip() for row in rows}


def names(bounds: Bounds) -> set[str]:
    return {bound.what for bound in bounds.shapes}


def check(config: AccelConfig) -> None:
    """All bounds are declared, and their signals are wide enough; without options those of these are missing."""
    bounds, most = collected(config), collected(with_options(config))
    assert names(bounds) <= names(most) <= documented()
    if with_options(config).candidates:
        assert names(most) == documented()
    assert not bounds.too_narrow()
    assert not most.too_narrow()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_hold_their_bounds(name: str) -> None:
    check(PRESETS[name])


@settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate])
@given(configs(ports=(1,), most_columns=3))
def test_any_configuration_holds_its_bounds(config: AccelConfig) -> None:
    check(config)


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
    assert collected(TINY).too_narrow() == [
        f"{what}: -260096..260096 does not fit signed(18)"
        for what in ("BitLinear sum", "accumulator of a BitLinear sum")
    ]


def test_a_missing_declaration_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systolic, "bounded", lambda *_: None)
    assert documented() - names(collected(with_options(TINY))) == {"row block credits", "BitLinear sum"}


class Unit(wiring.Component):
    """A counter, and a payload whose field holds two elements, with bounds of -8 to 8."""

    def __init__(self, counter: Shape, element: Shape) -> None:
        self.counter = counter
        fields = data.StructLayout({"elements": data.ArrayLayout(element, 2), "last": 1})
        super().__init__({"o": Out(stream.Signature(fields))})

    def elaborate(self, platform: object) -> Module:
        counter = Signal(self.counter)
        bounded(platform, counter, "counter", "8", 8)
        bounded(platform, self.o.payload.elements[1], "element", "8", 8, -8)
        return Module()


@pytest.mark.parametrize(("counter", "element", "found"), [
    (unsigned(4), signed(5), []),
    (signed(5), signed(6), []),
    (unsigned(3), signed(5), ["counter: 0..8 does not fit unsigned(3)"]),
    (signed(4), signed(5), ["counter: 0..8 does not fit signed(4)"]),
    (unsigned(4), signed(4), ["element: -8..8 does not fit signed(4)"]),
    (unsigned(4), unsigned(9), ["element: -8..8 does not fit unsigned(9)"]),
])
def test_a_signal_of_one_bit_less_is_found(counter: Shape, element: Shape, found: list[str]) -> None:
    bounds = Bounds()
    Fragment.get(Unit(counter, element), bounds)
    assert bounds.too_narrow() == found


def test_the_narrowest_of_several_instances_counts() -> None:
    bounds, m = Bounds(), Module()
    m.submodules += [Unit(unsigned(4), signed(5)), Unit(unsigned(3), signed(5)), Unit(unsigned(4), signed(5))]
    Fragment.get(m, bounds)
    assert names(bounds) == {"counter", "element"}
    assert bounds.too_narrow() == ["counter: 0..8 does not fit unsigned(3)"]


@pytest.mark.parametrize("bound", [Bound("a", "8", 9), Bound("a", "8", 8, -1), Bound("a", "2^3", 8)])
def test_a_name_stands_for_one_bound(bound: Bound) -> None:
    bounds = Bounds()
    bounded(bounds, Signal(9), "a", "8", 8)
    with pytest.raises(ValueError, match="two bounds are called 'a'"):
        bounds.add(bound, signed(9))


@pytest.mark.parametrize("platform", [None, Synthesis()])
def test_other_platforms_collect_nothing(platform: object) -> None:
    """Even two bounds of one name are no error."""
    for most in (1, 2):
        bounded(platform, Signal(), "a", "1", most)


def test_bits() -> None:
    def bits(most: int, least: int = 0) -> int:
        return Bound("", "", most, least).bits

    assert [bits(0), bits(1), bits(255), bits(256)] == [0, 1, 8, 9]
    assert [bits(127, -127), bits(127, -128), bits(127, -129), bits(128, -1), bits(0, -1)] == [8, 8, 9, 9, 1]


def test_the_table_is_that_of_the_presets() -> None:
    assert DOCUMENT.read_text() == document(), "run python -m hw.bounds"
