# amaranth: UnusedElaboratable=no
"""Activity: every clock of a run has one cause, and the command under way is counted."""

from __future__ import annotations

import random
from itertools import product

from hw.contract.isa import Opcode
from hw.contract.register_map import CAUSES, COUNTERS
from hw.control.activity import Activity
from tests.hw.steps import Step, run_steps

INPUTS = ("running", "in_pass", "busy", "beat", "beat_awaited", "payload_awaited", "kv_beat", "kv_awaited")
UNITS = {
    Opcode.LOAD_NORM: "norm", Opcode.QUANTIZE: "norm", Opcode.EMBED: "embed", Opcode.MATMUL: "matmul",
    Opcode.ATTEND: "attention", Opcode.LM_HEAD: "lm_head",
}
WAITING = {"norm": "norm_waiting", "embed": "embed_waiting", "matmul": "array_waiting", "lm_head": "lm_head_waiting"}
STREAMS = (Opcode.LOAD_NORM, Opcode.MATMUL, Opcode.LM_HEAD)


def cause(i: dict[str, int]) -> str:
    """What docs/registers.md says of a clock of a run."""
    if i["beat"]:
        return "stream_busy"
    opcode = Opcode(i["opcode"]) if i["busy"] else Opcode.END
    if opcode is Opcode.ATTEND:
        return "kv_busy" if i["kv_beat"] else "kv_starved" if i["kv_awaited"] else "attention_waiting"
    if opcode in STREAMS and i["payload_awaited"]:
        return "stream_starved"
    if opcode in UNITS:
        return WAITING[UNITS[opcode]]
    if not i["in_pass"]:
        return "loop_waiting"
    return "stream_starved" if i["beat_awaited"] and not i["busy"] else "header_waiting"


def counted(i: dict[str, int]) -> set[str]:
    found = {f"{UNITS[Opcode(i['opcode'])]}_busy"} if i["busy"] and Opcode(i["opcode"]) in UNITS else set()
    return found | ({"cycles", cause(i)} if i["running"] else set())


def test_every_state() -> None:
    """All 2^8 inputs with each opcode, in random order."""
    states = [dict(zip(INPUTS, bits, strict=True)) | {"opcode": opcode.value}
              for bits in product((0, 1), repeat=len(INPUTS)) for opcode in Opcode]
    random.Random(1).shuffle(states)
    steps = [Step(set=state, clocks=2, read=["o"]) for state in states]
    run = run_steps(Activity(), steps, outputs=[], clocks=3 * len(states))
    for state, (found,) in zip(states, run.read, strict=True):
        assert {name for name in COUNTERS if found[name]} == counted(state), state
        assert sum(found[name] for name in CAUSES) == state["running"]
