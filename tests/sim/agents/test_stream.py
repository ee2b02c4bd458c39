"""The stream agents report every broken rule; the cases are in stream_bench.py."""

from __future__ import annotations

import pytest

from hw.contract.config import preset
from sim.bench import BenchError, run_bench
from tests.sim.agents.faulty_stream import Fault, FaultyStream

BENCH = "tests.sim.agents.stream_bench"


def test_broken_rules_are_reported() -> None:
    run_bench(FaultyStream(), preset("tiny"), BENCH)


@pytest.mark.parametrize(
    "fault, message",
    [(Fault.VALID_FALLS, "o: valid fell before payload 2"), (Fault.PAYLOAD_CHANGES, "o: payload 2 changed")],
    ids=["valid falls", "payload changes"],
)
def test_a_broken_rule_fails_the_test_it_happens_in(fault: Fault, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        run_bench(FaultyStream(), preset("tiny"), BENCH, parameters={"fault": fault.name}, testcase="nobody_catches_it")


def test_without_a_fault_it_passes() -> None:
    run_bench(FaultyStream(), preset("tiny"), BENCH, parameters={"fault": "NONE"}, testcase="nobody_catches_it")
