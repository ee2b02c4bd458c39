"""Faults: the first one is kept, and everything stands in reset until the memory has answered after an abort."""

from __future__ import annotations

import random

import pytest

from hw.contract.register_map import ErrorCode
from hw.control.faults import Faults
from hw.memory.axi import AxiError
from tests.hw.steps import Step, run_steps

READ, WRITE = list(AxiError), [code for code in AxiError if code.name != "LAST"]
OUTPUTS = ("clear", "running", "busy", "done", "error", "port", "irq")
QUIET = {"abort": 0, "read_error": 0, "error_port": 0, "write_error": 0, "memory_idle": 1, "stream_error": 0,
         "run_busy": 0, "run_done": 0, "run_error": 0, "interrupt_enable": 0}


class Model:
    """What docs/faults.md says, clock by clock."""

    def __init__(self) -> None:
        self.fault = self.port = self.irq = 0
        self.aborting = False

    def outputs(self, i: dict[str, int]) -> list[int]:
        faulty = self.fault != 0
        running = bool(i["run_busy"]) and not faulty
        return [int(faulty or bool(i["abort"]) or self.aborting), int(running), int(running or self.aborting),
                int(bool(i["run_done"]) or faulty), self.fault or i["run_error"], self.port, self.irq]

    def clock(self, i: dict[str, int]) -> None:
        self.irq = int((i["run_done"] or self.fault != 0) and i["interrupt_enable"])
        if i["abort"]:
            self.fault, self.port, self.aborting = 0, 0, True
            return
        if not self.fault and not self.aborting:
            if i["read_error"]:
                self.fault, self.port = i["read_error"], i["error_port"]
            elif i["write_error"]:
                self.fault, self.port = 8 + i["write_error"], i["error_port"]
            else:
                self.fault = i["stream_error"]
        if i["memory_idle"]:
            self.aborting = False


def check(clocks: list[dict[str, int]], simulator: str = "pysim") -> None:
    model, expected, steps = Model(), [], []
    for changes in clocks:
        inputs = QUIET | changes
        expected.append(model.outputs(inputs))
        model.clock(inputs)
        steps.append(Step(set=inputs, read=OUTPUTS))
    assert run_steps(Faults(), steps, outputs=[], simulator=simulator).read == expected


def error_of(
    read: AxiError = AxiError.NONE, write: AxiError = AxiError.NONE, stream: ErrorCode = ErrorCode.NONE
) -> dict[str, int]:
    return {"read_error": read.value, "write_error": write.value, "stream_error": stream.value, "error_port": 2}


@pytest.mark.parametrize("first", [
    *(error_of(read=code) for code in READ[1:]), *(error_of(write=code) for code in WRITE[1:]),
    error_of(stream=ErrorCode.BAD_OPCODE), error_of(stream=ErrorCode.HEADER_CRC),
    error_of(AxiError.TIMEOUT, AxiError.DECODE, ErrorCode.BAD_OPCODE),
], ids=str)
def test_the_first_error_stays_until_an_abort_has_ended(first: dict[str, int]) -> None:
    later = error_of(AxiError.RANGE, AxiError.RANGE, ErrorCode.HEADER_CRC)
    busy = {"memory_idle": 0}
    check([{"run_busy": 1}, {"run_busy": 1} | first | busy, *[later | busy] * 3, {"abort": 1} | first | busy,
           *[first | busy] * 4, {}, {}, {"run_busy": 1}, {"run_done": 1}])


def test_an_error_of_a_run_resets_nothing() -> None:
    for code in (ErrorCode.CONTEXT_FULL, ErrorCode.BAD_PARAMETER, ErrorCode.BAD_TOKEN):
        check([{"run_busy": 1}, *[{"run_done": 1, "run_error": code.value}] * 3, {"abort": 1}, {}, {}])


def test_the_interrupt_of_a_run_and_of_a_fault() -> None:
    """It follows `done` a clock later, into the clock after a start or an abort; not where it is not enabled."""
    enabled = {"interrupt_enable": 1}
    steps = [enabled | {"run_busy": 1}, enabled | {"run_done": 1}, {"run_done": 1}, enabled | {"run_done": 1},
             enabled | {"run_busy": 1}, enabled | {"run_busy": 1} | error_of(read=AxiError.TIMEOUT), enabled, enabled,
             enabled | {"abort": 1}, enabled, enabled]
    check(steps)
    found = run_steps(Faults(), [Step(set=QUIET | step, read=("irq",)) for step in steps], outputs=[]).read
    assert [irq for (irq,) in found] == [0, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("simulator", ["pysim", "verilator"])
def test_anything_at_any_time(simulator: str) -> None:
    choose = random.Random(1)
    clocks = []
    for _ in range(2000):
        clocks.append({
            "abort": int(choose.random() < 0.05), "memory_idle": int(choose.random() < 0.4),
            "read_error": choose.choice(READ).value if choose.random() < 0.04 else 0, "error_port": choose.randrange(4),
            "write_error": choose.choice(WRITE).value if choose.random() < 0.04 else 0,
            "stream_error": choose.choice([16, 20]) if choose.random() < 0.04 else 0,
            "run_busy": choose.getrandbits(1), "run_done": choose.getrandbits(1),
            "run_error": choose.choice([0, 0, 17, 18, 19]), "interrupt_enable": choose.getrandbits(1),
        })
    check(clocks, simulator)
