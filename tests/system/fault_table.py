"""What the machine does about each fault, as data: docs/faults.md, and what test_fault_table.py demands of the machine.

`python -m tests.system.fault_table` writes docs/faults.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hw.contract.config import AccelConfig
from sim.memory.faults import FaultKind

__all__ = ["ACCESSES", "OTHERS", "OUTCOMES", "Access", "Outcome", "cells", "codes", "markdown"]


@dataclass(frozen=True)
class Access:
    """A kind of access: the place in memory it goes to, bursts of it that pass before the faulty one, and whether these
    are writes, or of one beat, or of every port; whether the run is one that asks for shortlists. `place` is a region,
    an area of the layout or a part of the KV cache.
    """

    name: str
    place: str
    skip: int
    writes: bool = False
    one_beat: bool = False
    every_port: bool = False
    lists: bool = False


ACCESSES = (
    Access("packets of the layers", "stream", 5, every_port=True),
    Access("packets of the head", "head", 2, every_port=True),
    Access("prompt", "prompt", 1, one_beat=True),
    Access("embedding row", "embed", 1),
    Access("RoPE row", "rope", 1),
    Access("keys", "keys", 1, every_port=True),
    Access("values", "values", 1, every_port=True),
    Access("key row, write", "key row", 0, writes=True, every_port=True),
    Access("transposed value row, write", "values", 1, writes=True, every_port=True),
    Access("scale pair, write", "scale pair", 0, writes=True, every_port=True),
    Access("logits, write", "logits", 1, writes=True),
    Access("shortlist, write", "logits", 1, writes=True, lists=True),
    Access("tokens, write", "tokens", 1, writes=True),
)


@dataclass(frozen=True)
class Outcome:
    """What a fault of one burst leads to.

    Attributes:
        does: what the memory does.
        errors: names of error codes behind READ_ or WRITE_; the first that is noticed.
        times_out: the machine waits for `timeout_cycles` first.
        recovery: what makes the machine as good as new; "reset" may be needed where an abort does not end.
        last: a matter of RLAST, which writes do not have.
    """

    does: str
    errors: tuple[str, ...]
    times_out: bool = False
    recovery: str = "abort"
    last: bool = False

    def most_clocks(self, config: AccelConfig) -> int:
        """Clocks from the address of the burst to the error, at most, behind a memory of 32 clocks latency."""
        return config.timeout_cycles + 4096 if self.times_out else 2048


OUTCOMES = {
    FaultKind.SLVERR: Outcome("answers SLVERR; a write has no effect", ("SLVERR",)),
    FaultKind.DECERR: Outcome("answers DECERR; a write has no effect", ("DECERR",)),
    FaultKind.EARLY_LAST: Outcome("sets RLAST with the first beat", ("LAST",), last=True),
    FaultKind.LATE_LAST: Outcome("sends one beat too many, with RLAST", ("LAST",), last=True),
    FaultKind.NO_ANSWER: Outcome("does not answer until it is repaired", ("TIMEOUT",), True,
                                 "abort, once the memory answers"),
    FaultKind.DEAF: Outcome("does not answer, and accepts nothing else either", ("TIMEOUT",), True,
                            "abort, once the memory answers"),
    FaultKind.WRONG_ID: Outcome("answers with a wrong ID", ("UNEXPECTED", "LAST"), recovery="abort, or reset"),
    FaultKind.TWICE: Outcome("answers twice", ("UNEXPECTED", "LAST"), recovery="abort, or reset"),
}


def codes(kind: FaultKind, access: Access) -> list[str]:
    """Error codes that the run may end with; empty where the fault does not exist."""
    outcome = OUTCOMES[kind]
    if (outcome.last and access.writes) or (kind is FaultKind.EARLY_LAST and access.one_beat):
        return []
    errors = outcome.errors[:1] if access.writes else outcome.errors
    return [f"{'WRITE' if access.writes else 'READ'}_{error}" for error in errors]


def cells(ports: int) -> list[tuple[Access, FaultKind]]:
    """All that can go wrong with a burst; with several ports only those accesses that all of them do."""
    return [(access, kind) for access in ACCESSES for kind in OUTCOMES
            if codes(kind, access) and (ports == 1 or access.every_port)]


OTHERS = (
    ("a port that never answers again", "READ_TIMEOUT or WRITE_TIMEOUT, and the abort does not end",
     "reset of accelerator and memory", "tests/system/test_faults.py::test_memory_that_never_answers"),
    ("an address outside of its window: corrupt packet, table or register",
     "READ_RANGE, WRITE_RANGE; the burst is not issued", "abort",
     "tests/system/test_faults.py::test_addresses_outside_of_memory"),
    ("a KV cache of which the part of one port lies outside of a window", "READ_RANGE, WRITE_RANGE with the port",
     "abort", "tests/system/test_faults.py::test_kv_windows_of_every_port"),
    ("an address inside of its window without memory", "READ_DECERR, WRITE_DECERR", "abort",
     "tests/system/test_faults.py::test_addresses_outside_of_memory"),
    ("a corrupt header in memory", "HEADER_CRC, before the command is executed", "abort, load the image again",
     "tests/system/test_faults.py::test_damaged_headers"),
    ("an unknown command with a correct CRC", "BAD_OPCODE", "abort, load the image again",
     "tests/system/test_faults.py::test_bad_opcode"),
    ("a command that expects more data than its packet holds", "driver: the accelerator hangs",
     "abort, load the image again", "tests/system/test_faults.py::test_an_endless_wait_is_given_up"),
    ("a token id beyond the vocabulary", "driver, exit code 2; in memory: BAD_TOKEN before it is fed", "abort",
     "tests/hw/control/test_token_loop.py::test_a_bad_token_ends_the_run_before_it_is_fed"),
    ("a prompt beyond the context", "driver, exit code 2; accelerator: CONTEXT_FULL", "abort",
     "tests/system/test_faults.py::test_addresses_outside_of_memory"),
    ("an invalid register value", "BAD_PARAMETER", "abort",
     "tests/hw/control/test_token_loop.py::test_what_cannot_run_touches_nothing"),
    ("an accelerator with another build id", "driver, exit code 3; nothing is written", "use its preset",
     "tests/system/test_faults.py::test_another_build_is_refused"),
    ("a corrupt image file", "`ModelImage.verify`, exit code 2, before anything runs", "pack again",
     "tests/sw/test_image.py::test_damaged_region_is_named"),
    ("a corrupt image in memory",
     "`--scrub`, exit code 3: names the region, the first wrong byte, its value and the right one",
     "load the image again", "tests/system/test_scrub.py::test_a_flipped_bit_is_named"),
    ("an interrupt, or a closed output pipe, at any time", "", "the driver aborts the run",
     "tests/system/test_faults.py::test_abort_at_any_moment"),
)
"""Fault, how it shows, what helps, and the test that shows it."""


def _table(*rows: list[str]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


_TEXT = """# Faults

Generated by `python -m tests.system.fault_table`; edit `tests/system/fault_table.py` instead.

The accelerator ends the run within a bounded number of clocks and reports an error code of docs/registers.md. One fault
it does not detect: a command that expects more data than its packet holds; the driver aborts such a run after a
time-out. The command line prints a sentence and ends with exit code 3, or 2 where the tables say so. Tokens that were
generated before the fault are correct. After the recovery that the tables name, the same request returns the same
logits as the golden model.

## Faults of the memory

The first table lists the error code for each kind of access (rows) and each kind of fault (columns), applied to one
burst. `tests/system/test_fault_table.py` runs every cell on the whole accelerator in Verilator, with a memory of fixed
and of random timing. Accesses of every port are also run on the first and the last port of an accelerator with four
ports, and the error names the port; all other accesses are of port 0.

{codes}

{outcomes}

Clocks are counted from the address handshake of the burst, with a memory latency of 32 clocks. READ_LAST instead of
READ_UNEXPECTED means that the answer was taken for that of another burst, of a different length.

The accelerator counts outstanding answers. It cannot tell whether an answer with a wrong ID is an extra one or the only
one for its burst, so it does not count it; a second answer may be counted for another burst. The abort can then wait
for an answer that never comes. The driver reports this, and a reset of accelerator and memory is needed.

## Other faults

{others}
"""


def markdown() -> str:
    """The text of docs/faults.md."""
    return _TEXT.format(
        codes=_table(
            ["access", "ports", *(kind.name for kind in OUTCOMES)],
            *([access.name, "every" if access.every_port else "0",
               *(" or ".join(codes(kind, access)) or "-" for kind in OUTCOMES)] for access in ACCESSES),
        ),
        outcomes=_table(
            ["fault", "behaviour of the memory", "clocks to the error, at most", "recovery"],
            *([kind.name, outcome.does, "`timeout_cycles` + 4096" if outcome.times_out else "2048", outcome.recovery]
              for kind, outcome in OUTCOMES.items()),
        ),
        others=_table(["fault", "reported as", "recovery", "tested by"],
                      *([*rest, f"`{test}`"] for *rest, test in OTHERS)),
    )


if __name__ == "__main__":
    (Path(__file__).resolve().parents[2] / "docs" / "faults.md").write_text(markdown())
