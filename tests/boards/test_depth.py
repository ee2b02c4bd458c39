"""Levels of small netlists, and the limit on the units of the preset kv260 as they were measured last."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from boards.area import RESULT, TARGETS, UNITS, mapped, measured
from boards.depth import LIMIT, longest

OVER = {"vectors": 10.6, "attention.rows": 10.5, "attention.control": 9.8}
"""Units whose depth is beyond LIMIT, with what they had when they were measured: to be made shorter, and never longer.
The path of `vectors` goes from Quantize through the address adder of the scratchpad, that of `attention.rows` from the
row buffer, a block RAM, through the quantisation of a query, that of `attention.control` into a multiplier of an
address."""

OUTPUTS = ("O", "CO", "Q", "P", "DOUT", "DOUTADOUT")

Cell = tuple[str, dict[str, list[int]], dict[str, str]]


def flip_flop(d: int, q: int) -> Cell:
    return "FDRE", {"D": [d], "Q": [q]}, {}


def lut(i: int, o: int) -> Cell:
    return "LUT2", {"I0": [i], "O": [o]}, {}


def chain(i: int, o: int, length: int, kind: str = "CARRY8", start: str = "S") -> list[Cell]:
    """A sum of `length` cells, from the lowest bit to the highest."""
    carries = [1000 + n for n in range(length)]
    first: Cell = (kind, {start: [i], "CO": [carries[0]]}, {})
    middle: list[Cell] = [(kind, {"CI": [a], "CO": [b]}, {}) for a, b in pairwise(carries)]
    return [first, *middle, (kind, {"CI": [carries[-1]], "O": [o]}, {})]


def dsp(i: int, o: int, **registers: str) -> Cell:
    return "DSP48E2", {"A": [i], "P": [o]}, registers


def levels(folder: Path, cells: list[Cell]) -> float:
    written: dict[str, Any] = {
        str(n): {"type": kind, "parameters": parameters, "connections": ports,
                 "port_directions": {port: "output" if port in OUTPUTS else "input" for port in ports}}
        for n, (kind, ports, parameters) in enumerate(cells)}
    file = folder / "flat.json"
    file.write_text(json.dumps({"modules": {"top": {"attributes": {"top": "1"}, "cells": written},
                                            "LUT2": {"attributes": {"blackbox": "1"}, "cells": {}}}}))
    return longest(file).levels


@pytest.mark.parametrize(("cells", "expected"), [
    ([flip_flop(1, 2), flip_flop(2, 3)], 0),
    ([flip_flop(1, 2), lut(2, 3), lut(3, 4), flip_flop(4, 5)], 2),
    ([flip_flop(1, 2), lut(2, 3), flip_flop(3, 4), lut(4, 5), lut(5, 6), lut(6, 7), flip_flop(7, 8)], 3),
    ([flip_flop(1, 2), lut(2, 3), *chain(3, 4, 1), flip_flop(4, 5)], 1.8),
    ([flip_flop(1, 2), lut(2, 3), *chain(3, 4, 5), flip_flop(4, 5)], 2.0),
    ([flip_flop(1, 2), lut(2, 3), *chain(3, 4, 5, "CARRY4", "CYINIT"), flip_flop(4, 5)], 2.0),
    ([flip_flop(1, 2), dsp(2, 3), flip_flop(3, 4)], 6),
    ([lut(1, 2), dsp(2, 3, AREG="1", MREG="1", PREG="1"), flip_flop(3, 4)], 1),
    ([dsp(1, 2, AREG="1", MREG="1", PREG="0"), lut(2, 3), flip_flop(3, 4)], 4),
    ([("RAMB36E2", {"ADDRARDADDR": [1], "DOUTADOUT": [2]}, {"DOA_REG": "0"}), lut(2, 3)], 3.5),
    ([("RAMB36E2", {"ADDRARDADDR": [1], "DOUTADOUT": [2]}, {"DOA_REG": "1"}), lut(2, 3)], 1),
    ([flip_flop(1, 2), ("RAM32M16", {"ADDRA": [2], "DIA": [1], "DOUT": [3]}, {}), lut(3, 4)], 2.3),
])
def test_levels(cells: list[Cell], expected: float, tmp_path: Path) -> None:
    assert levels(tmp_path, cells) == expected


def test_a_loop(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="combinational loop"):
        levels(tmp_path, [lut(1, 2), lut(2, 1)])


def test_a_unit_as_it_is(tmp_path: Path) -> None:
    """The record is what Yosys makes of it today, and below the limit."""
    target = TARGETS["kv260"]
    mapped("rope_rows", target, tmp_path)
    found, recorded = measured(target, tmp_path), json.loads(RESULT.read_text())["kv260"]["rope_rows"]
    assert found["depth"]["levels"] <= LIMIT
    assert (found["used"], found["inside"]) == (recorded["used"], recorded["inside"])


def test_elements_beside_their_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Yosys ends with an error on ports of two lanes, such as `a[0]` and `a[1]` beside `a`, unless these are hidden."""
    monkeypatch.setitem(UNITS, "rope", "hw.attention.rope:Rope")
    kv260 = TARGETS["kv260"]
    target = replace(kv260, config=kv260.config.replace(vector=2))
    mapped("rope", target, tmp_path)
    assert measured(target, tmp_path)["used"]["DSP"] == 4


@pytest.mark.parametrize(("name", "record"), json.loads(RESULT.read_text())["kv260"].items())
def test_recorded_units_keep_the_limit(name: str, record: dict[str, Any]) -> None:
    assert name in UNITS
    assert record["depth"]["levels"] <= OVER.get(name, LIMIT)
