"""Errors of the whole machine: each is named, and the machine can be used again afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.contract.config import PRESETS, AccelConfig
from hw.contract.crc import header_crc
from hw.contract.isa import HEADER, Opcode, decode_header, header_layout
from hw.contract.record import record_bytes
from sim.bench import run_bench
from sim.links import simulated
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.links.simulator_process import TOP
from sim.memory.top import SimulatedMemory
from sim.netlist_check import listed
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.errors import HardwareError, JobError
from sw.image import ModelImage
from sw.pack import pack
from sw.requests import Batch, Entry, Job, Request

TINY = PRESETS["tiny"]
SLOW = TINY.replace(columns=4, outstanding=1, burst_beats=16, stream_fifo_beats=1024, timeout_cycles=600)
"""One burst at a time, so that a slow memory holds up everything."""
TWO_PORTS = TINY.replace(name="two ports", ports=2, rows=4)
FOUR_PORTS = TINY.replace(name="four ports", ports=4, rows=8, timeout_cycles=4000)
JOB = Job(prompt=(3, 1, 30, 4, 15), max_new_tokens=4, chunk=2, slot=1, all_logits=True)


LISTS = replace(JOB, all_logits=False, list_at=0.7)
BATCH = Batch(entries=(Entry(3, 0, 1), Entry(30, 0, 0)), max_new_tokens=4, all_logits=True)


def checkpoint_of(folder: Path, hidden: int = 64) -> Path:
    path = folder / "checkpoint"
    if not path.exists():
        write_random_checkpoint(path, hidden=hidden, intermediate=96, layers=2, heads=2, kv_heads=1, vocab=33,
                                positions=24, seed=3)
    return path


def image_of(folder: Path, config: AccelConfig = TINY, name: str = "good.img", hidden: int = 64) -> ModelImage:
    """Of a machine with a split head it has the high plane."""
    split = config.candidates > 0
    pack(Checkpoint.open(checkpoint_of(folder, hidden)), folder / name, config, sequences=2, split=split)
    return ModelImage.open(folder / name, config)


def simulate(
    folder: Path, testcase: str, *, bench: str = "tests.system.faults_bench", config: AccelConfig = TINY,
    driver_config: AccelConfig | None = None, content: Path | None = None, request: Request = JOB, hidden: int = 64,
    latency: int = 32, seed: int = 0, **parameters: Any,
) -> None:
    """Runs a test of a bench; it knows what the golden machine gives for the request. `content`: what lies in
    the machine's memory in place of the image."""
    expected_config = driver_config or config
    good = image_of(folder, expected_config, hidden=hidden)
    golden = Generation([])
    Driver(GoldenLink(good)).run(request, [golden])
    np.save(folder / "logits.npy", np.array(golden.logits))
    size = good.plan.layout().end
    run_bench(
        Accelerator(config), expected_config, bench, top=TOP, testcase=testcase,
        memory=SimulatedMemory(file=content or good.path, size=size, latency=latency, seed=seed),
        parameters={
            "image": str(good.path), "request": asdict(request), "tokens": golden.tokens,
            "logits": str(folder / "logits.npy"), "size": size, "seed": seed,
            "lists": [listed(one) for one in golden.lists], **parameters,
        },
    )


def packets(image: ModelImage, region: str, config: AccelConfig = TINY) -> list[tuple[int, Any]]:
    """Offset in the file and header of every packet of a region."""
    found, at = [], image.plan.regions[region].offset
    end = at + image.plan.regions[region].size
    while at < end:
        header = HEADER.from_bits(int.from_bytes(image.memory[at : at + 32].tobytes(), "little"))
        found.append((at, header))
        at += (config.header_beats + header["payload_beats"]) * config.beat_bytes
    return found


def other_header(image: ModelImage, region: str, number: int, **fields: int) -> tuple[int, bytes]:
    """Where a header lies in the file, and what it is with other fields and the CRC that belongs to them.

    Its operands stay where they are when the opcode is another.
    """
    at, _ = packets(image, region)[number]
    found = decode_header(image.memory[at : at + 32].tobytes())
    layout, values = header_layout(found["opcode"]), found | fields
    return at, record_bytes(layout, values | {"crc": header_crc(record_bytes(layout, values | {"crc": 0}))})


def changed(image: Path, at: int, content: bytes) -> Path:
    """A copy of an image with other bytes at a place."""
    whole = bytearray(image.read_bytes())
    whole[at : at + len(content)] = content
    copy = image.with_suffix(".changed")
    copy.write_bytes(whole)
    return copy


def first(image: ModelImage, opcode: Opcode) -> int:
    """Number of the first packet with that opcode."""
    return next(n for n, (_, header) in enumerate(packets(image, "stream")) if header["opcode"] == opcode.value)


@pytest.mark.parametrize(
    ("region", "number", "fields"),
    [
        ("stream", 0, {"opcode": 0}),
        ("stream", 9, {"opcode": 8}),
        ("stream", -1, {"opcode": 0xFF}),
        ("stream", -1, {"payload_beats": 1}),
        ("head", 0, {"opcode": 0}),
    ],
)
def test_bad_opcode(region: str, number: int, fields: dict[str, int], tmp_path: Path) -> None:
    """In the machine's memory: a file that holds it is refused before anything runs."""
    image = image_of(tmp_path)
    with closing(SimulatedLink(image)) as link:
        link.write_memory(*other_header(image, region, number, **fields))
        with pytest.raises(HardwareError, match="BAD_OPCODE: the packet stream holds an unknown command"):
            Driver(link).generate(JOB)


def test_a_damaged_header_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and one sentence."""
    def memory(file: Path, **more: Any) -> SimulatedMemory:
        image = ModelImage.open(file, TINY)
        at = packets(image, "stream")[3][0]
        return SimulatedMemory(file=changed(file, at, bytes([image.memory[at] ^ 1])), **more)

    monkeypatch.setattr(simulated, "SimulatedMemory", memory)
    arguments = ["generate", str(checkpoint_of(tmp_path)), "--backend", "sim", "--prompt-ids", "1,2,3"]
    assert main(arguments) == 3
    captured = capsys.readouterr()
    assert captured.err.startswith("error: the accelerator stopped with HEADER_CRC: ")
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_an_endless_wait_is_given_up(tmp_path: Path) -> None:
    """A matrix that has a row block less than its command says."""
    good = image_of(tmp_path)
    number = first(good, Opcode.MATMUL)
    at, _ = packets(good, "stream")[number]
    blocks = decode_header(good.memory[at : at + 32].tobytes())["row_blocks"]
    bad = changed(good.path, *other_header(good, "stream", number, row_blocks=blocks + 1))
    simulate(tmp_path, "endless_wait", content=bad)


def test_another_build_is_refused(tmp_path: Path) -> None:
    simulate(tmp_path, "other_build", driver_config=TINY.replace(timeout_cycles=99_999))


@pytest.mark.parametrize("seed", [0, 3])
def test_addresses_outside_of_memory(seed: int, tmp_path: Path) -> None:
    simulate(tmp_path, "addresses_outside_of_memory", seed=seed)


def test_windows_are_exact(tmp_path: Path) -> None:
    simulate(tmp_path, "windows_are_exact")


@pytest.mark.parametrize("config", [pytest.param(TINY, id="tiny"),
                                    pytest.param(FOUR_PORTS, id="four ports", marks=pytest.mark.long)])
def test_kv_windows_of_every_port(config: AccelConfig, tmp_path: Path) -> None:
    simulate(tmp_path, "kv_windows_of_every_port", config=config, hidden=128)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_abort_at_any_moment(seed: int, tmp_path: Path) -> None:
    simulate(tmp_path, "abort_at_any_moment", seed=seed, aborts=12)


@pytest.mark.long
@pytest.mark.parametrize(("config", "seed", "latency"), [
    pytest.param(config, seed, latency, id=f"{config.name}, {seed}, {latency}") for config, seed, latency in (
        (TWO_PORTS, 1, 200), (TWO_PORTS, 2, 32), (TWO_PORTS, 3, 5), (TWO_PORTS, 4, 80), (FOUR_PORTS, 1, 60),
        (FOUR_PORTS, 4, 5))
])
def test_abort_at_any_moment_of_several_ports(
    config: AccelConfig, seed: int, latency: int, tmp_path: Path
) -> None:
    """Random latency and order, pauses on all five channels, and each of the four moments at which the memory may look
    at reads and writes."""
    simulate(tmp_path, "abort_at_any_moment", config=config, seed=seed, latency=latency, aborts=6)


def test_abort_at_any_moment_of_a_batch(tmp_path: Path) -> None:
    simulate(tmp_path, "abort_at_any_moment", request=BATCH, seed=3, aborts=8)


@pytest.mark.parametrize("seed", [0, 3])
def test_abort_while_a_shortlist_is_written(seed: int, tmp_path: Path) -> None:
    """The record of the last token is written in the last clocks of the run."""
    simulate(tmp_path, "abort_at_any_moment", request=LISTS, seed=seed, aborts=4, before_end=[*range(10, 400, 24)])


def test_entries_of_a_batch_are_checked(tmp_path: Path) -> None:
    simulate(tmp_path, "bad_entries", request=BATCH)


def test_closing_the_iterator_aborts(tmp_path: Path) -> None:
    simulate(tmp_path, "closing_the_iterator_aborts")


def test_start_while_busy_is_ignored(tmp_path: Path) -> None:
    simulate(tmp_path, "start_while_busy")


@pytest.mark.long
@pytest.mark.parametrize("latency", [610, 1500])
def test_memory_too_slow(latency: int, tmp_path: Path) -> None:
    simulate(tmp_path, "memory_too_slow", config=SLOW, latency=latency, error="READ_TIMEOUT")


@pytest.mark.long
def test_read_errors_of_every_port(tmp_path: Path) -> None:
    """On a machine with two ports the error and its port are named, and both ports work again after the abort."""
    simulate(tmp_path, "read_errors_of_every_port", config=TWO_PORTS)


@pytest.mark.long
def test_memory_that_never_answers(tmp_path: Path) -> None:
    simulate(tmp_path, "memory_that_never_answers", config=SLOW, latency=1 << 30)


def test_interrupt(tmp_path: Path) -> None:
    simulate(tmp_path, "interrupt")


@pytest.mark.parametrize("seed", [0, 1])
def test_damaged_headers(seed: int, tmp_path: Path) -> None:
    """Single bits of one to three headers: each is found before its command acts."""
    image = image_of(tmp_path)
    headers = [at for region in ("stream", "head") for at, _ in packets(image, region)]
    simulate(tmp_path, "damaged_headers", seed=seed, headers=headers, images=6)


@pytest.mark.long
def test_logits_wait_for_the_row_before(tmp_path: Path) -> None:
    """The last beat of a row waits for a slow answer while the next column's logits are already there."""
    simulate(tmp_path, "same_as_golden", config=SLOW, request=replace(JOB, chunk=4), hidden=32, latency=300)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no prompt": ({"prompt": ()}, "the prompt is empty"),
    "token beyond the vocabulary": ({"prompt": (3, 33)}, "token id 33 is outside the vocabulary of 33"),
    "negative token": ({"prompt": (-1,)}, "token id -1 is outside"),
    "prompt beyond the context": ({"prompt": (1,) * 25}, "the prompt has 25 tokens, but the context holds 24"),
    "negative count": ({"max_new_tokens": -1}, "max-new-tokens must not be negative"),
    "no columns": ({"chunk": 0}, "chunk must be 1 to 2"),
    "too many columns": ({"chunk": 3}, "chunk must be 1 to 2"),
    "slot": ({"slot": 2}, "slot must be 0 to 1, .* not 2"),
    "negative slot": ({"slot": -1}, "slot must be 0 to 1, .* not -1"),
}


@pytest.fixture
def no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the simulator was asked for")

    monkeypatch.setattr(simulated, "SimulatorProcess", fail)
    monkeypatch.setattr(simulated, "build_model", fail)


@pytest.mark.usefixtures("no_simulator")
@pytest.mark.parametrize("link", [SimulatedLink, GoldenLink])
@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_runs(name: str, link: Callable[..., Any], tmp_path: Path) -> None:
    changes, sentence = REFUSED[name]
    driver = Driver(link(image_of(tmp_path)))
    with pytest.raises(JobError, match=sentence):
        driver.generate(replace(JOB, **changes))


@pytest.mark.usefixtures("no_simulator")
@pytest.mark.parametrize("arguments", [["--prompt-ids", "1,33"], ["--prompt-ids", "1", "--chunk", "3"],
                                       ["--prompt-ids", "1", "--max-new-tokens", "-1"]])
def test_refused_on_the_command_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(checkpoint_of(tmp_path)), "--backend", "sim", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")
