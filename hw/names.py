"""Names of signals from the variables they are assigned to, equal on every version of Python.

Amaranth finds the name of `x = Signal()` in the bytecode of the caller. Its `tracer.get_var_name` (0.5.10) does not
know the instructions that store two variables, or store one and load one. Python 3.13 has them wherever the next thing
after such a line is a local variable; the name is lost there, and Verilog has other bytes than on 3.11. The function
here takes its place with the first import of `hw`. It has the same rules for all of them, and one name for instructions
of one kind. Not covered: `x = Signal() if condition else None`, whose bytecode differs in more; the hashes of the
presets would differ. DRAM controllers are Migen's, whose own tracer is left as it is.
"""

from __future__ import annotations

import dis
import sys
from functools import cache
from types import CodeType
from typing import Any

from amaranth import tracer

__all__ = ["get_var_name", "install"]

_STORES = ("STORE_FAST", "STORE_NAME", "STORE_ATTR", "STORE_DEREF")
_PASSED = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_FAST", "LOAD_DEREF", "COPY", "BUILD_LIST", "EXTENDED_ARG")
"""May stand between a call and the store of its result: `a.b = Signal()`, `a = b = Signal()`, `a = [Signal()]`."""

_MUST = object()


@cache
def _targets(code: CodeType) -> dict[int, str]:
    """By the offset of a call, caches behind it included: the variable or attribute that its result is assigned to."""
    found: dict[int, str] = {}
    name, end = "", len(code.co_code)
    for step in reversed(list(dis.get_instructions(code))):
        if step.opname.startswith("CALL"):
            found |= dict.fromkeys(range(step.offset, end, 2), name)
            name = ""
        elif step.opname.startswith(_STORES):
            name = step.argval if isinstance(step.argval, str) else step.argval[0]  # of two, the first is stored first
        elif not step.opname.startswith(_PASSED):
            name = ""
        end = step.offset
    return found


def get_var_name(depth: int = 2, default: Any = _MUST) -> Any:
    """Name of the variable that the call which the caller's caller makes, or one `depth` frames up, is assigned to.

    Without such a variable it is the default. Raises tracer.NameNotFound without a default.
    """
    frame = sys._getframe(depth)
    name = _targets(frame.f_code).get(frame.f_lasti)
    if name:
        return name
    if default is _MUST:
        raise tracer.NameNotFound
    return default


def install() -> None:
    """Amaranth calls the function here from now on."""
    tracer.get_var_name = get_var_name
