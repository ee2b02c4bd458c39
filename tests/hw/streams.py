"""A component whose work is to take streams and give one: all inputs at once, and what came out."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.hw.steps import SILENCE, Step, run_steps


def run_stream(
    dut: Any, inputs: Mapping[str, Sequence[Any]], *, output: str = "o", stall: float = 0.0, seed: int = 0,
    prepare: Sequence[Step] = (), silence: int = SILENCE, simulator: str = "pysim",
) -> tuple[list[Any], dict[str, list[int]]]:
    """Feeds all inputs, receives until nothing moves any more; `tests.hw.steps` explains the options.

    `prepare` are steps that come first. Returns the received payloads, and per stream the numbers of the clocks with a
    transfer. All inputs must have been taken.
    """
    run = run_steps(dut, [*prepare, Step(send=inputs)], outputs=[output], stall=stall, seed=seed, silence=silence,
                    simulator=simulator)
    return run.received[output], run.clocks
