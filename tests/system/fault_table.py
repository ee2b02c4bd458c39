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
    """A kind of access: region or area of memory it goes to, bursts of it that pass before the faulty one, and whether
    these are writes, or of one beat."""

    name: str
    place: str
    skip: int
    writes: bool = False
    one_beat: bool = False


ACCESSES = (
    Access("packets of the layers", "stream", 5),
    Access("packets of the head", "head", 2),
    Access("prompt", "prompt", 1, one_beat=True),
    Access("embedding row", "embed", 1),
    Access("RoPE row", "rope", 1),
    Access("KV block", "kv", 3),
    Access("KV row, write", "kv", 2, writes=True),
    Access("logits, write", "logits", 1, writes=True),
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
    FaultKind.EARLY_LAST: Outcome("RLAST with the first beat", ("LAST",), last=True),
    FaultKind.LATE_LAST: Outcome("a beat too many, RLAST with that", ("LAST",), last=True),
    FaultKind.NO_ANSWER: Outcome("no answer until it is mended", ("TIMEOUT",), True, "abort, once the memory answers"),
    FaultKind.DEAF: Outcome("nor takes anything else", ("TIMEOUT",), True, "abort, once the memory answers"),
    FaultKind.WRONG_ID: Outcome("answers with another id", ("UNEXPECTED", "LAST"), recovery="abort, or reset"),
    FaultKind.TWICE: Outcome("answers a second time", ("UNEXPECTED", "LAST"), recovery="abort, or reset"),
}


def codes(kind: FaultKind, access: Access) -> list[str]:
    """Error codes that the run may end with; empty where the fault does not exist."""
    outcome = OUTCOMES[kind]
    if (outcome.last and access.writes) or (kind is FaultKind.EARLY_LAST and access.one_beat):
        return []
    errors = outcome.errors[:1] if access.writes else outcome.errors
    return [f"{'WRITE' if access.writes else 'READ'}_{error}" for error in errors]


def cells() -> list[tuple[Access, FaultKind]]:
    """All that can go wrong with a burst."""
    return [(access, kind) for access in ACCESSES for kind in OUTCOMES if codes(kind, access)]


OTHERS = (
    ("a port that never answers again", "READ_TIMEOUT or WRITE_TIMEOUT, and the abort does not end",
     "reset of machine and memory", "tests/system/test_faults.py::test_memory_that_never_answers"),
    ("an address outside of its window: damaged packet, table or register",
     "READ_RANGE, WRITE_RANGE; nothing is issued", "abort",
     "tests/system/test_faults.py::test_addresses_outside_of_memory"),
    ("an address inside of its window, where there is no memory", "READ_DECERR, WRITE_DECERR", "abort",
     "tests/system/test_faults.py::test_addresses_outside_of_memory"),
    ("a damaged header in memory", "HEADER_CRC, before the command acts", "abort, load the image again",
     "tests/system/test_faults.py::test_damaged_headers"),
    ("an unknown command under a CRC that is right", "BAD_OPCODE", "abort, load the image again",
     "tests/system/test_faults.py::test_bad_opcode"),
    ("a command that waits for more than its packet holds", "the driver: the accelerator hangs",
     "abort, load the image again", "tests/system/test_faults.py::test_an_endless_wait_is_given_up"),
    ("a token id beyond the vocabulary", "the driver, exit code 2; in memory: BAD_TOKEN before it is fed", "abort",
     "tests/hw/control/test_token_loop.py::test_a_bad_token_ends_the_run_before_it_is_fed"),
    ("a prompt beyond the context", "the driver, exit code 2; the machine: CONTEXT_FULL", "abort",
     "tests/system/test_faults.py::test_addresses_outside_of_memory"),
    ("a register that cannot be run", "BAD_PARAMETER", "abort",
     "tests/hw/control/test_token_loop.py::test_what_cannot_run_touches_nothing"),
    ("a machine of another build", "the driver, exit code 3; nothing is written", "the preset it was built with",
     "tests/system/test_faults.py::test_another_build_is_refused"),
    ("a damaged image file", "`ModelImage.verify`, exit code 2, before anything runs", "pack again",
     "tests/sw/test_image.py::test_damaged_region_is_named"),
    ("a damaged image in memory", "`--scrub`, exit code 3: region, byte and bits", "load the image again",
     "tests/system/test_scrub.py::test_a_flipped_bit_is_named"),
    ("an interrupt, or a reader that is gone, at any moment", "", "the driver aborts by itself",
     "tests/system/test_faults.py::test_abort_at_any_moment"),
)
"""Fault, how it shows, what helps, and the test that shows it."""


def _table(*rows: list[str]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


_TEXT = """# Faults

Generated by `python -m tests.system.fault_table`; edit `tests/system/fault_table.py` instead.

A fault has a name: an error code of docs/registers.md, which the driver turns into a sentence (exit code 3). It ends
the run within a bounded number of clocks, and the tokens given before it are right. After what the table says, the same
request gives every logit of the golden model.

## The memory fails

A burst of each kind of access, spoiled in each way. `tests/system/test_fault_table.py` runs every cell on the whole
machine in Verilator, behind a memory of fixed and of random timing.

{codes}

{outcomes}

Clocks count from the address of the burst, behind a memory that answers after 32. LAST in place of UNEXPECTED: the
answer was taken for that of another burst, of another length.

The machine counts what it is owed. An answer with a wrong id may be one too many, or all that a burst will ever get, so
it is not counted; and a second answer may be taken for that of another burst. Where the abort then waits in vain, the
driver says so, and a reset of machine and memory helps.

## Everything else

{others}
"""


def markdown() -> str:
    """The text of docs/faults.md."""
    return _TEXT.format(
        codes=_table(
            ["access", *(kind.name for kind in OUTCOMES)],
            *([access.name, *(" or ".join(codes(kind, access)) or "-" for kind in OUTCOMES)] for access in ACCESSES),
        ),
        outcomes=_table(
            ["fault", "the memory", "clocks to the error, at most", "then"],
            *([kind.name, outcome.does, "`timeout_cycles` + 4096" if outcome.times_out else "2048", outcome.recovery]
              for kind, outcome in OUTCOMES.items()),
        ),
        others=_table(["fault", "shows as", "then", "shown by"], *([*rest, f"`{test}`"] for *rest, test in OTHERS)),
    )


if __name__ == "__main__":
    (Path(__file__).resolve().parents[2] / "docs" / "faults.md").write_text(markdown())
