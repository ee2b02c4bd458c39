"""The register protocol on a machine of Python: what is written, what is read, and how every wait ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.config import PRESETS, AccelConfig
from hw.contract.register_map import COUNTERS, ERROR_SENTENCES, ID_MAGIC, ID_VERSION, REGISTERS, ErrorCode, find
from sw.errors import HardwareError
from sw.job import JobResult, execute
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape
from sw.pace import FROZEN_PAUSES, patience
from sw.registers import ABORT_PAUSES, Machine, abort, check_identity
from sw.requests import Batch, Entry, HeadAgain, Job, Request, request_from
from tests.words import ABORT, BUSY, DONE, START

CONFIG = PRESETS["tiny"]
MIB = 1 << 20
SHAPE = ModelShape(
    hidden=64, intermediate=96, layers=2, heads=4, kv_heads=2, head_dim=16, vocab=33, context=40, sequences=3,
)
PLAN = ModelPlan(CONFIG, SHAPE)
END_IDS = (7, 9, 31)
JOB = Job(prompt=(3, 1, 30), max_new_tokens=4, slot=2, chunk=2, end_ids=END_IDS, all_logits=True)
TOKENS = [5, 6, 32, 7]
LAYOUT = PLAN.layout()
Behaviour = Callable[["FakeBus"], None]


class FakeBus:
    """Registers and memory. `behaviours` says what happens in each pause of a run, one after the other; the last one
    goes on for ever."""

    def __init__(self, *behaviours: Behaviour, config: AccelConfig = CONFIG) -> None:
        self.memory = np.zeros(MIB, dtype=np.uint8)
        self.written: list[tuple[str, int]] = []
        self.values = dict.fromkeys((r.name for r in REGISTERS), 0)
        self.values |= {
            "ID": ID_MAGIC << 16 | ID_VERSION, "BUILD_ID_LO": config.build_id & 0xFFFFFFFF,
            "BUILD_ID_HI": config.build_id >> 32,
        }
        self.behaviours = behaviours
        self.pauses = self.aborts = 0
        self.clocks_per_pause = 1000
        self.deaf = False

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        return [self.values[NAMES[address]] for address in addresses]

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        for address, value in pairs:
            self.write(NAMES[address], value)

    def write(self, name: str, value: int) -> None:
        assert 0 <= value < 1 << 32
        assert find(name).access != "r"
        assert not self.values["STATUS"] & BUSY or name == "CONTROL", f"{name} written while busy"
        self.written.append((name, value))
        if name != "CONTROL":
            self.values[name] = value
        elif value & ABORT:
            self.aborts += 1
            if not self.deaf:
                self.values["STATUS"] = 0
        elif value & START:
            self.values |= {"STATUS": BUSY, "TOKEN_COUNT": 0, "CYCLES_LO": 0, "STREAM_BUSY_LO": 0}
            self.pauses = 0

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        assert address + size <= len(self.memory)
        return self.memory[address : address + size].copy()

    async def write_memory(self, address: int, content: bytes) -> None:
        self.memory[address : address + len(content)] = np.frombuffer(content, dtype=np.uint8)

    async def pause(self, clocks: int) -> None:
        if self.values["STATUS"] & BUSY:
            self.values["CYCLES_LO"] += self.clocks_per_pause
            self.behaviours[min(self.pauses, len(self.behaviours) - 1)](self)
        self.pauses += 1


NAMES = {r.address: r.name for r in REGISTERS}


def works(bus: FakeBus) -> None:
    bus.values["STREAM_BUSY_LO"] += 1


def stands(_: FakeBus) -> None:
    pass


def makes(count: int) -> Behaviour:
    """So many tokens are in memory now; memory behind them holds nothing sensible."""
    def act(bus: FakeBus) -> None:
        works(bus)
        area = np.full(SHAPE.context, 0xEEEEEEEE, dtype="<u4")
        area[:count] = TOKENS[:count]
        bus.memory[LAYOUT.tokens : LAYOUT.tokens + area.nbytes] = area.view(np.uint8)
        bus.values |= {"TOKEN_COUNT": count, "LAST_TOKEN": TOKENS[count - 1] if count else 0}
    return act


def ends(count: int) -> Behaviour:
    def act(bus: FakeBus) -> None:
        makes(count)(bus)
        bus.values["STATUS"] = DONE
    return act


def fails(code: int, done: int = DONE) -> Behaviour:
    def act(bus: FakeBus) -> None:
        bus.values["STATUS"] = code << 8 | done
    return act


def run(bus: FakeBus, job: Request = JOB, plan: ModelPlan = PLAN) -> tuple[list[int], JobResult]:
    result = JobResult()

    async def collect() -> list[int]:
        return [token async for token in execute(Machine(bus), plan, job, result)]

    return asyncio.run(collect()), result


# ---- what is written


def test_every_register_is_written_once_and_start_is_the_last() -> None:
    bus = FakeBus(ends(4))
    run(bus)
    names = [name for name, _ in bus.written]
    expected = {r.name for r in REGISTERS if r.access == "rw" and r.there(CONFIG)} - {"END_ID_3"}
    assert set(names[:-1]) == expected
    assert len(names) == len(expected) + 1
    assert bus.written[-1] == ("CONTROL", START)


def test_values() -> None:
    bus = FakeBus(ends(4))
    run(bus)
    values = dict(bus.written)
    assert values == {
        "INTERRUPT": 1, "IMAGE_BASE_LO": 0, "IMAGE_BASE_HI": 0, "KV_BASE_LO": LAYOUT.kv, "KV_BASE_HI": 0,
        "SLOT_STRIDE_LO": PLAN.slot_stride, "SLOT_STRIDE_HI": 0, "KV_PORT_STRIDE_LO": 0, "KV_PORT_STRIDE_HI": 0,
        "STREAM_OFFSET": 4096, "STREAM_BEATS": 36 * 4 + 16 + 2 * (72 + 128 + 64 + 64 + 128 + 192 + 192 + 160),
        "LM_HEAD_OFFSET": 24576, "LM_HEAD_BEATS": 4 + 17 * (1 + 2 * 8),
        "EMBED_OFFSET": 28672, "EMBED_STRIDE": 128, "ROPE_OFFSET": 36864, "ROPE_STRIDE": 64,
        "PROMPT_ADDRESS_LO": LAYOUT.prompt, "PROMPT_ADDRESS_HI": 0, "PROMPT_LENGTH": 3, "START_POSITION": 0,
        "SLOT": 2, "CHUNK": 2, "MAX_NEW_TOKENS": 4, "CONTEXT": 40, "END_ID_0": 7, "END_ID_1": 9, "END_ID_2": 31,
        "END_COUNT": 3, "LOGITS_MODE": 2, "LOGITS_ADDRESS_LO": LAYOUT.logits, "LOGITS_ADDRESS_HI": 0,
        "TOKENS_ADDRESS_LO": LAYOUT.tokens, "TOKENS_ADDRESS_HI": 0, "LOGITS_BEATS": 17, "BATCH": 0, "VOCABULARY": 33,
        "READ_BASE_LO": 0, "READ_BASE_HI": 0, "READ_END_LO": LAYOUT.logits + 4096, "READ_END_HI": 0,
        "WRITE_BASE_LO": LAYOUT.kv, "WRITE_BASE_HI": 0, "WRITE_END_LO": LAYOUT.logits + 4096,
        "WRITE_END_HI": 0, "LOGIT_SCALE": 0x3FB8AA3B, "HEAD_AGAIN": 0, "CONTROL": START,
    }
    prompt = bus.memory[LAYOUT.prompt : LAYOUT.prompt + 12].view("<u4")
    assert tuple(prompt) == JOB.prompt


def test_more_tokens_than_a_register_holds() -> None:
    """The context ends the run anyway."""
    bus = FakeBus(ends(4))
    run(bus, replace(JOB, max_new_tokens=1 << 40))
    assert dict(bus.written)["MAX_NEW_TOKENS"] == SHAPE.context


BATCH = Batch(entries=(Entry(30, 17, 2), Entry(5, 0, 0)), max_new_tokens=2, end_ids=END_IDS, all_logits=True)


def test_values_of_a_batch() -> None:
    """Four words for each sequence in the prompt area."""
    bus = FakeBus(ends(4))
    run(bus)
    job = dict(bus.written)
    bus = FakeBus(ends(4))
    assert run(bus, BATCH)[0] == TOKENS
    assert dict(bus.written) == job | {
        "BATCH": 1, "PROMPT_LENGTH": 2, "START_POSITION": 0, "SLOT": 0, "CHUNK": 0, "MAX_NEW_TOKENS": 2,
    }
    assert [*bus.memory[LAYOUT.prompt : LAYOUT.prompt + 32].view("<u4")] == [30, 17, 2, 0x3FB8AA3B, 5, 0, 0, 0x3FB8AA3B]


def test_a_batch_has_a_row_for_every_token() -> None:
    logits = np.arange(4 * 34, dtype="<f4").reshape(4, 34)

    def act(bus: FakeBus) -> None:
        ends(4)(bus)
        bus.memory[LAYOUT.logits : LAYOUT.logits + logits.nbytes] = logits.view(np.uint8).reshape(-1)

    _, result = run(FakeBus(act), BATCH)
    np.testing.assert_array_equal(np.stack(result.logits), logits[:, :33])


def test_a_batch_makes_a_token_per_sequence_and_pass_at_most() -> None:
    with pytest.raises(HardwareError, match="counts 5 tokens; 4 were asked for"):
        run(FakeBus(lambda bus: bus.values.update(TOKEN_COUNT=5)), BATCH)


@pytest.mark.parametrize("request_", [
    JOB, BATCH, replace(JOB, list_at=0.7), replace(JOB, guard=10034), replace(BATCH, guard=1),
    HeadAgain(columns=3, wanted=(2, 0)),
    replace(BATCH, entries=(replace(BATCH.entries[0], list_at=0.5), *BATCH.entries[1:])),
])
def test_requests_survive_json(request_: Request) -> None:
    assert request_from(json.loads(json.dumps(asdict(request_)))) == request_


@pytest.mark.parametrize("columns", [2, 64])
def test_areas_hold_what_a_run_can_make(columns: int) -> None:
    """With more columns than positions a pass makes more rows than a sequence."""
    config = CONFIG.replace(columns=columns)
    layout = ModelPlan(config, SHAPE).layout()
    rows = layout.rows
    assert rows == max(40, columns)
    assert layout.tokens - layout.prompt >= 16 * columns
    assert layout.logits - layout.tokens >= 4 * rows
    assert layout.end - layout.logits >= rows * layout.row_bytes


def test_no_logits_are_asked_for_without_need() -> None:
    """Nor may the machine reach where they would be."""
    bus = FakeBus(ends(4))
    _, result = run(bus, replace(JOB, all_logits=False))
    assert dict(bus.written)["LOGITS_MODE"] == 0
    assert dict(bus.written)["WRITE_END_LO"] == LAYOUT.logits
    assert result.logits == []


@pytest.mark.parametrize("made", [0, 1, 4])
def test_last_logits_are_a_row_per_token(made: int) -> None:
    logits = np.arange(made * 34, dtype="<f4").reshape(made, 34)

    def act(bus: FakeBus) -> None:
        ends(made)(bus)
        bus.memory[LAYOUT.logits : LAYOUT.logits + logits.nbytes] = logits.view(np.uint8).reshape(-1)

    bus = FakeBus(act)
    _, result = run(bus, replace(JOB, all_logits=False, last_logits=True))
    assert dict(bus.written)["LOGITS_MODE"] == 1
    assert len(result.logits) == made
    for row, expected in zip(result.logits, logits, strict=True):
        np.testing.assert_array_equal(row, expected[:33])


def test_addresses_above_four_gibibytes_take_both_halves() -> None:
    """A cache of many slots puts everything behind it beyond 32 bits."""
    plan = ModelPlan(CONFIG, replace(SHAPE, context=4096, sequences=64, layers=250))
    layout = plan.layout()
    assert layout.tokens > 1 << 32

    class Sparse(FakeBus):
        async def write_memory(self, address: int, content: bytes) -> None:
            assert address == layout.prompt

    bus = Sparse(fails(ErrorCode.BAD_PARAMETER.value))
    with pytest.raises(HardwareError):
        run(bus, plan=plan)
    values = dict(bus.written)
    for name, expected in (
        ("KV_BASE", layout.kv), ("PROMPT_ADDRESS", layout.prompt), ("TOKENS_ADDRESS", layout.tokens),
        ("LOGITS_ADDRESS", layout.logits), ("SLOT_STRIDE", plan.slot_stride),
        ("READ_END", layout.logits + 4096), ("WRITE_BASE", layout.kv), ("WRITE_END", layout.logits + 4096),
    ):
        assert values[f"{name}_LO"] | values[f"{name}_HI"] << 32 == expected
    assert values["TOKENS_ADDRESS_HI"] == layout.tokens >> 32 != 0


BASE = 0x8_7001_0000


def test_everything_moves_with_the_base() -> None:
    """A buffer in the upper memory of a Zynq; the layout inside stays."""
    layout = PLAN.layout(BASE)
    for name in ("image", "kv", "prompt", "tokens", "logits", "end"):
        assert getattr(layout, name) == getattr(LAYOUT, name) + BASE
    assert (layout.rows, layout.row_bytes) == (LAYOUT.rows, LAYOUT.row_bytes)

    class High(FakeBus):
        async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
            return await super().read_memory(address - BASE, size)

        async def write_memory(self, address: int, content: bytes) -> None:
            await super().write_memory(address - BASE, content)

    bus, result = High(ends(4)), JobResult()

    async def collect() -> list[int]:
        return [token async for token in execute(Machine(bus), PLAN, JOB, result, BASE)]

    assert asyncio.run(collect()) == TOKENS
    values = dict(bus.written)
    for name, expected in (
        ("IMAGE_BASE", layout.image), ("KV_BASE", layout.kv), ("PROMPT_ADDRESS", layout.prompt),
        ("TOKENS_ADDRESS", layout.tokens), ("LOGITS_ADDRESS", layout.logits),
    ):
        assert values[f"{name}_LO"] | values[f"{name}_HI"] << 32 == expected


@pytest.mark.parametrize("base, reason", [
    (BASE + 4096, "multiple of 65536, not at 0x870011000"), (1 << 40, "addresses of 40 bits"),
])
def test_bases_that_cannot_be(base: int, reason: str) -> None:
    with pytest.raises(HardwareError, match=reason):
        PLAN.layout(base)


def test_areas_do_not_overlap() -> None:
    areas = [
        (LAYOUT.image, PLAN.image_bytes), (LAYOUT.kv, SHAPE.sequences * PLAN.slot_stride),
        (LAYOUT.prompt, 4 * SHAPE.context), (LAYOUT.tokens, 4 * SHAPE.context),
        (LAYOUT.logits, SHAPE.context * LAYOUT.row_bytes), (LAYOUT.end, 0),
    ]
    for (start, size), (following, _) in pairwise(areas):
        assert start + size <= following
    assert not any(edge % 4096 for edge in (LAYOUT.image, LAYOUT.kv, LAYOUT.end)), "windows are whole pages"


# ---- what is read


@pytest.mark.parametrize(
    "behaviours",
    [
        [ends(4)],
        [works, makes(1), makes(1), makes(2), makes(3), makes(4), ends(4)],
        [makes(2), works, ends(4)],
        [makes(4), works, works, ends(4)],
        [makes(1), ends(2)],
        [works, ends(0)],
    ],
    ids=["at once", "one by one", "two by two", "all before the end", "fewer", "none"],
)
def test_each_token_comes_once(behaviours: list[Behaviour]) -> None:
    bus = FakeBus(*behaviours)
    tokens, _ = run(bus)
    assert tokens == TOKENS[: bus.values["TOKEN_COUNT"]]
    assert bus.aborts == 0


def test_tokens_come_as_they_are_made() -> None:
    bus = FakeBus(makes(1), makes(3), ends(4))
    seen = []

    async def collect() -> None:
        async for token in execute(Machine(bus), PLAN, JOB, JobResult()):
            seen.append((bus.pauses, token))

    asyncio.run(collect())
    assert seen == [(1, 5), (2, 6), (2, 32), (3, 7)]


@pytest.mark.parametrize("made", [0, 1, 4])
def test_logits_cycles_and_counters(made: int) -> None:
    """A row per position that was fed: the prompt, and every token but the last."""
    rows = len(JOB.prompt) + max(made - 1, 0)
    logits = np.arange(rows * 34, dtype="<f4").reshape(rows, 34)

    def act(bus: FakeBus) -> None:
        ends(made)(bus)
        bus.memory[LAYOUT.logits : LAYOUT.logits + logits.nbytes] = logits.view(np.uint8).reshape(-1)
        bus.values |= {"CYCLES_LO": 5, "CYCLES_HI": 3, "STREAM_STARVED_LO": 17, "LM_HEAD_BUSY_LO": 18,
                       "LM_HEAD_BUSY_HI": 2}

    _, result = run(FakeBus(works, act))
    np.testing.assert_array_equal(np.stack(result.logits), logits[:, :33])
    assert result.cycles == 3 << 32 | 5
    expected = dict.fromkeys((name for name in COUNTERS if name != "cycles"), 0)
    assert result.counters == expected | {"stream_busy": 2, "stream_starved": 17, "lm_head_busy": 2 << 32 | 18}


# ---- errors


@pytest.mark.parametrize("code", [c for c in ErrorCode if c is not ErrorCode.NONE], ids=lambda c: c.name)
def test_error_codes_become_sentences(code: ErrorCode) -> None:
    bus = FakeBus(works, fails(code.value))
    with pytest.raises(HardwareError) as caught:
        run(bus)
    assert str(caught.value) == f"the accelerator stopped with {code.name}: {ERROR_SENTENCES[code]}"
    assert (bus.aborts, bus.values["STATUS"]) == (1, 0)


def test_the_port_of_a_read_error_is_named() -> None:
    bus = FakeBus(fails(3 << 8 | ErrorCode.READ_SLVERR.value))
    with pytest.raises(HardwareError, match="stopped with READ_SLVERR at memory port 3: the memory answered a read"):
        run(bus)


def test_an_unknown_error_code_is_a_sentence_too() -> None:
    bus = FakeBus(fails(30))
    with pytest.raises(HardwareError, match="error code 30, which this driver does not know"):
        run(bus)
    assert bus.aborts == 1


def test_tokens_before_an_error_were_given() -> None:
    seen = []

    async def collect() -> None:
        async for token in execute(Machine(FakeBus(makes(2), fails(1))), PLAN, JOB, JobResult()):
            seen.append(token)

    with pytest.raises(HardwareError, match="READ_SLVERR"):
        asyncio.run(collect())
    assert seen == TOKENS[:2]


def test_more_tokens_than_asked_for() -> None:
    bus = FakeBus(lambda bus: bus.values.update(TOKEN_COUNT=5))
    with pytest.raises(HardwareError, match="counts 5 tokens; 4 were asked for"):
        run(bus)
    assert bus.aborts == 1


@pytest.mark.parametrize(
    ("register", "value", "sentence"),
    [
        ("ID", 0, "no accelerator answers: its ID register reads 0x00000000"),
        ("ID", 0xFFFFFFFF, "no accelerator answers: its ID register reads 0xffffffff"),
        ("ID", ID_MAGIC << 16 | ID_VERSION + 1, f"has register map {ID_VERSION + 1}, this driver {ID_VERSION}"),
        ("BUILD_ID_LO", 1, "preset tiny is"),
        ("BUILD_ID_HI", 1, "use the preset that it was built with"),
    ],
)
def test_another_machine_is_left_alone(register: str, value: int, sentence: str) -> None:
    bus = FakeBus(ends(4))
    bus.values[register] = value
    with pytest.raises(HardwareError, match=sentence):
        run(bus)
    assert not bus.written
    assert not bus.memory.any()


def test_identity() -> None:
    asyncio.run(check_identity(FakeBus(), CONFIG))
    with pytest.raises(HardwareError, match=f"{CONFIG.build_id:016x}"):
        asyncio.run(check_identity(FakeBus(), PRESETS["tiny-kv16"]))


# ---- every wait ends


@pytest.mark.parametrize(
    "status", [BUSY, ErrorCode.READ_DECERR.value << 8 | DONE, ErrorCode.CONTEXT_FULL.value << 8 | DONE]
)
def test_what_a_run_left_behind_is_aborted(status: int) -> None:
    bus = FakeBus(ends(4))
    bus.values["STATUS"] = status
    assert run(bus)[0] == TOKENS
    assert bus.written[0] == ("CONTROL", ABORT)
    assert bus.aborts == 1


def test_a_run_that_ended_well_needs_no_abort() -> None:
    bus = FakeBus(ends(4))
    for _ in range(3):
        assert run(bus)[0] == TOKENS
    assert bus.aborts == 0


def test_a_machine_that_does_not_start() -> None:
    bus = FakeBus(fails(0, done=0))
    with pytest.raises(HardwareError, match="did not start"):
        run(bus)


def test_a_hang_is_given_up_by_the_clocks_of_the_machine() -> None:
    """However long a pause is."""
    bound = patience(PLAN, JOB)
    for clocks in (10_000, bound // 7):
        bus = FakeBus(works, makes(1), stands)
        bus.clocks_per_pause = clocks
        with pytest.raises(HardwareError, match=r"hangs: it read nothing from the packet stream for [0-9]+ clocks"):
            run(bus)
        assert bus.aborts == 1
        waited = bus.values["CYCLES_LO"]
        assert bound < waited <= bound + 4 * clocks


def test_a_long_step_is_no_hang() -> None:
    """As long as the stream moves now and then, a run may take for ever."""
    clocks = 10_000
    quiet = [stands] * (patience(PLAN, JOB) // clocks - 1)
    bus = FakeBus(*quiet, works, *quiet, works, *quiet, ends(4))
    bus.clocks_per_pause = clocks
    assert run(bus)[0] == TOKENS


def test_a_clock_that_stands_still() -> None:
    bus = FakeBus(works, stands)
    bus.clocks_per_pause = 0
    with pytest.raises(HardwareError, match=r"its clock counter stays at [0-9]+: check"):
        run(bus)
    assert FROZEN_PAUSES < bus.pauses < 2 * FROZEN_PAUSES
    assert bus.aborts == 1


def test_patience_covers_the_longest_attention() -> None:
    """More context, heads or columns, more patience; and more than the memory's own time-out."""
    shortest = patience(PLAN, replace(JOB, chunk=1))
    assert shortest > CONFIG.timeout_cycles
    assert patience(PLAN, JOB) > shortest
    longer = ModelPlan(CONFIG, replace(SHAPE, context=4096))
    assert patience(longer, JOB) > patience(PLAN, JOB)


def test_abort_waits_for_the_memory() -> None:
    class Slow(FakeBus):
        async def pause(self, clocks: int) -> None:
            self.pauses += 1
            if self.pauses == 5:
                self.values["STATUS"] = 0

    bus = Slow()
    bus.deaf = True
    bus.values["STATUS"] = BUSY
    asyncio.run(abort(bus))
    assert bus.written == [("CONTROL", ABORT)]
    assert bus.pauses == 5


def test_abort_is_given_up() -> None:
    bus = FakeBus(stands)
    bus.deaf = True
    bus.values["STATUS"] = BUSY
    with pytest.raises(HardwareError, match=r"^the abort did not end, .*: power-cycle .*bitnet-fpga doctor"):
        asyncio.run(abort(bus))
    assert bus.pauses == ABORT_PAUSES


def test_both_errors_are_told() -> None:
    bus = FakeBus(fails(ErrorCode.READ_TIMEOUT.value))
    bus.deaf = True
    with pytest.raises(HardwareError, match=r"READ_TIMEOUT: the memory [\w ]+ in time; then the abort did not end"):
        run(bus)


@pytest.mark.parametrize("deaf", [False, True])
def test_other_errors_stay_what_they_are(deaf: bool) -> None:
    """An interruption, or a bus that breaks."""
    class Broken(FakeBus):
        async def read_memory(self, address: int, size: int) -> Any:
            raise ConnectionError("cable")

    bus = Broken(makes(2))
    bus.deaf = deaf
    with pytest.raises(ConnectionError, match="cable"):
        run(bus)
    assert bus.aborts == 1


def test_who_wants_no_more_tokens_aborts() -> None:
    bus = FakeBus(makes(1), works)

    async def take_one() -> int:
        iterator = execute(Machine(bus), PLAN, JOB, JobResult())
        token = await anext(iterator)
        await iterator.aclose()
        return token

    assert asyncio.run(take_one()) == TOKENS[0]
    assert (bus.aborts, bus.values["STATUS"]) == (1, 0)
