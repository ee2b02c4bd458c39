"""Signals are called as the variables they are assigned to, whatever follows in the next line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from amaranth import tracer
from amaranth.hdl import Signal

import hw
from hw.names import get_var_name


class Holder:
    """Has an attribute."""

    signal: Signal


def test_names() -> None:
    """Each line in turn is followed by a local variable, another store, an attribute; Python 3.13 joins such pairs."""
    first = Signal()
    second = third = Signal()
    fourth = Signal(8)
    holder = Holder()
    holder.signal = Signal()
    listed = [Signal()]
    unlike = Signal.like(fourth)
    taken, given = Signal(), Signal(first.shape())
    found = [first, second, third, fourth, holder.signal, *listed, unlike]
    assert [signal.name for signal in found] == ["first", "second", "second", "fourth", "signal", "listed", "unlike"]
    assert {signal.name for signal in (taken, given)} == {"$signal", "given"}
    several = [Signal() for _ in range(2)]
    assert several[1].name == "$signal"


def test_far_names() -> None:
    """Beyond what one byte of code can count."""
    lines = [*(f"v{n} = {n}" for n in range(300)), "x300 = Signal()", "return x300"]
    source = "def far(Signal):\n" + "".join(f"    {line}\n" for line in lines)
    scope: dict[str, object] = {}
    exec(source, scope)
    assert scope["far"](Signal).name == "x300"  # pyright: ignore


def test_without_a_variable() -> None:
    def name() -> object:
        return get_var_name(depth=2)

    with pytest.raises(tracer.NameNotFound):
        str(name())
    found = name()
    assert found == "found"


def test_amaranth_is_told_with_the_first_import() -> None:
    program = "import hw.contract.config; from amaranth import tracer; print(tracer.get_var_name.__module__)"
    run = subprocess.run([sys.executable, "-c", program], cwd=Path(hw.__file__).parents[1], capture_output=True,
                         text=True, check=True)
    assert run.stdout.strip() == "hw.names"
