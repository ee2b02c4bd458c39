"""Greedy tokens from a split head: who may ask, what is written and read, and that the tokens stay what they are."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from queue import Queue

import pytest

from hw.contract.config import PRESETS, ConfigError
from hw.contract.high_plane import guard
from hw.contract.register_map import COUNTERS, REGISTERS, LogitsMode
from sim.links.golden import GoldenLink
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.cli.run_summary import Counted, summary
from sw.driver import Driver
from sw.errors import JobError
from sw.http_api.metrics import Metrics
from sw.image import ModelImage
from sw.links.link import RunStats
from sw.model_plan import ModelPlan
from sw.pace import Pace, patience
from sw.pack import pack
from sw.registers import Machine
from sw.requests import Batch, Entry, HeadAgain, Job, Request
from sw.sampling import Sampling
from sw.scheduler import generate_batch
from sw.serve.order import End, Event, Order, Part
from sw.session import Session
from sw.split_head import HeadCounts, guard_of
from tests.sw.chat.chat_model import write_chat_model
from tests.sw.links.golden_bench import Bench
from tests.sw.test_job import SHAPE, FakeBus, ends, makes, run, stands, works

DEMO = Path("models/shakespeare-nano")
SPLIT = PRESETS["tiny"].replace(name="split", candidates=64)
PLAN = ModelPlan(SPLIT, SHAPE, split=True)
GUARD = guard(8)
JOB = Job(prompt=(3, 1, 30), max_new_tokens=4, slot=2, chunk=2, guard=GUARD)
ONE = Batch(entries=(Entry(30, 17, 2),), max_new_tokens=4, guard=GUARD)


def rw(candidates: bool) -> set[str]:
    """The `rw` registers that only machines with a split head have, or all others."""
    return {r.name for r in REGISTERS if r.access == "rw" and (r.option == "candidates") == candidates}


# ---- requests

USES: dict[str, tuple[Request, bool]] = {
    "job": (JOB, True), "batch of one": (ONE, True), "without a guard": (replace(JOB, guard=0), False),
    "no token": (replace(JOB, max_new_tokens=0), False), "all rows": (replace(JOB, all_logits=True), False),
    "last rows": (replace(JOB, last_logits=True), False), "shortlists": (replace(JOB, list_at=1.0), False),
    "batch of two": (replace(ONE, entries=(*ONE.entries, Entry(1, 0, 0))), False),
    "batch with rows": (replace(ONE, all_logits=True), False),
    "batch with a shortlist": (replace(ONE, entries=(Entry(30, 17, 2, 0.5),)), False),
    "head again": (HeadAgain(columns=1, wanted=(0,)), False),
}


@pytest.mark.parametrize(("request_", "expected"), USES.values(), ids=USES.keys())
def test_who_reads_the_high_plane(request_: Request, expected: bool) -> None:
    assert request_.reads_high_plane == expected


def test_patience_covers_the_rows_of_a_long_list() -> None:
    """They come without a beat of the packet stream: twice as many clocks as beats are no hang."""
    config = PRESETS["medium"].replace(candidates=8192)
    shape = replace(SHAPE, hidden=2560, heads=20, kv_heads=5, head_dim=128, vocab=128256, context=64)
    plan = ModelPlan(config, shape, split=True)
    rows = config.candidates * plan.head_layout.row_beats
    assert patience(plan, JOB) > 2 * rows
    assert patience(plan, replace(JOB, guard=0)) < 2 * rows


# ---- registers


@pytest.mark.parametrize(("request_", "expected"), USES.values(), ids=USES.keys())
def test_what_is_written(request_: Request, expected: bool) -> None:
    bus = FakeBus(ends(0), config=SPLIT)
    run(bus, request_, PLAN)
    values, high = dict(bus.written), PLAN.regions["high"]
    assert {name: values[name] for name in rw(candidates=True)} == {
        "GUARD": request_.guard, "HIGH_OFFSET": high.offset, "HIGH_BEATS": high.size // 8,
    }
    assert expected <= (values["GUARD"] != 0 and values["LOGITS_MODE"] == LogitsMode.NONE.value)
    assert values["READ_END_LO"] > high.offset + high.area


def test_what_is_written_for_an_image_without_it() -> None:
    bus = FakeBus(ends(0), config=SPLIT)
    run(bus, replace(JOB, guard=0), ModelPlan(SPLIT, SHAPE))
    values = dict(bus.written)
    assert {values[name] for name in rw(candidates=True)} == {0}


def test_machines_without_a_split_head_have_nothing_of_it() -> None:
    bus = FakeBus(ends(0))
    run(bus, replace(JOB, guard=0))
    assert not {name for name, _ in bus.written} & rw(candidates=True)


@pytest.mark.parametrize("together", [True, False])
def test_what_is_read(together: bool) -> None:
    """In one list with the end of the run, or behind it; not at all where the full head was read."""
    def act(bus: FakeBus) -> None:
        ends(4)(bus)
        bus.values |= {"ROWS_LISTED": 70, "ROWS_RESCORED": 30, "HEADS_REPEATED": 2}

    behaviours = [makes(3), act] if together else [works, act]
    assert run(FakeBus(*behaviours, config=SPLIT), JOB, PLAN)[1].heads == HeadCounts(70, 30, 2)
    assert run(FakeBus(*behaviours, config=SPLIT), replace(JOB, guard=0), PLAN)[1].heads is None


def test_a_token_is_due_when_the_beats_of_the_plane_are() -> None:
    machine = Machine(FakeBus(stands, config=SPLIT))
    stream, head, high = (PLAN.regions[name].size // 8 for name in ("stream", "head", "high"))
    for job, beats in ((JOB, high), (replace(JOB, guard=0), head)):
        pace = Pace(machine, PLAN, job)
        first = 2 * stream + beats  # the prompt takes two passes
        assert pace.clocks(1, 3 * first, first) == 3 * (stream + beats)


# ---- golden model, and what runs it


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], ModelImage]:
    """Of a model whose 300 rows are not all listed, with and without a high plane."""
    folder = tmp_path_factory.mktemp("images")
    checkpoint = Checkpoint.open(write_random_checkpoint(
        folder / "c", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1, vocab=300, positions=32, seed=1))
    for split in (True, False):
        pack(checkpoint, folder / str(split), SPLIT, sequences=2, split=split)
    return lambda split: ModelImage.open(folder / str(split), SPLIT)


PROMPTS = [(1, 2, 3), (7,), (250, 4, 299, 0, 9)]
GREEDY = Job(prompt=PROMPTS[0], max_new_tokens=12, chunk=2, guard=GUARD)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("deviations", [8, 1, 0.001])
def test_tokens_and_logits_stay(images: Callable[[bool], ModelImage], prompt: tuple[int, ...],
                                deviations: float) -> None:
    """Also with a guard whose bounds rarely hold: then the whole head is read."""
    job = replace(GREEDY, prompt=prompt, guard=guard(deviations))
    driver, full = Driver(GoldenLink(images(True))), Driver(GoldenLink(images(False)))
    expected = full.generate(replace(job, guard=0)).tokens
    assert driver.generate(job).tokens == expected
    counted = driver.heads
    assert counted is not None
    assert counted.rows_listed >= counted.rows_rescored
    assert counted.heads_repeated == 12 if deviations < 1 else counted.heads_repeated <= 12
    assert full.heads is None
    with_logits = driver.generate(replace(job, all_logits=True))
    assert driver.heads == counted, "a run with logits reads the full head"
    assert with_logits.tokens == expected


def test_too_many_rows(tmp_path: Path) -> None:
    """A model that says the same of every token: the list is full, the whole head is read, nothing is rescored."""
    checkpoint = write_random_checkpoint(tmp_path / "c", hidden=64, intermediate=96, layers=1, heads=2, kv_heads=1,
                                         vocab=100, positions=16, seed=1, embedding_gain=0)
    pack(Checkpoint.open(checkpoint), tmp_path / "i", SPLIT, split=True)
    driver = Driver(GoldenLink(ModelImage.open(tmp_path / "i", SPLIT)))
    assert driver.generate(replace(GREEDY, max_new_tokens=3)).tokens == [0, 0, 0]
    assert driver.heads == HeadCounts(rows_listed=3 * 64, rows_rescored=0, heads_repeated=3)


def test_jobs_that_are_refused(images: Callable[[bool], ModelImage]) -> None:
    full = Driver(GoldenLink(images(False)))
    with pytest.raises(JobError, match=r"the head of the image is full, not split: pack it for preset split with "
                                       r"`bitnet-fpga pack --head split`, or use a full head"):
        full.generate(GREEDY)
    for value in (-1, 1 << 16):
        with pytest.raises(JobError, match=f"guard must be 0 to 65535, not {value}"):
            Driver(GoldenLink(images(True))).check(replace(GREEDY, guard=value))


def test_drawn_tokens_do_not_use_it(images: Callable[[bool], ModelImage]) -> None:
    driver, full = Driver(GoldenLink(images(True))), Driver(GoldenLink(images(False)))
    job = replace(GREEDY, sampling=Sampling(temperature=1.0, seed=2))
    assert driver.generate(job).tokens == full.generate(replace(job, guard=0)).tokens
    assert driver.heads is None


def test_rows_after_it(images: Callable[[bool], ModelImage]) -> None:
    """The head can run again for a column whose token came from the high plane."""
    link = GoldenLink(images(True))
    tokens = [step.token for step in link.run(GREEDY) if step.token is not None]
    (step,) = link.run(HeadAgain(columns=1, wanted=(0,)))
    assert step.rows[0].argmax() == tokens[-1]


def test_a_batch_uses_it_when_one_sequence_is_left(images: Callable[[bool], ModelImage]) -> None:
    driver, full = Driver(GoldenLink(images(True))), Driver(GoldenLink(images(False)))
    jobs = [replace(GREEDY, max_new_tokens=3), replace(GREEDY, prompt=PROMPTS[1])]
    found = {number: result.tokens for number, result in generate_batch(driver, jobs)}
    expected = {number: full.generate(replace(job, guard=0)).tokens for number, job in enumerate(jobs)}
    assert found == expected
    assert driver.heads is not None
    alone = Driver(GoldenLink(images(True)))
    alone.generate(jobs[1])
    assert alone.heads is not None
    assert 0 < driver.heads.rows_listed < 2 * alone.heads.rows_listed


def test_a_machine_with_registers(images: Callable[[bool], ModelImage], tmp_path: Path) -> None:
    bench = Bench(images(True), tmp_path)
    golden = Driver(GoldenLink(images(True)))
    assert bench.generate(GREEDY).tokens == golden.generate(GREEDY).tokens
    assert bench.driver.heads == golden.heads
    assert dict(bench.written())["GUARD"] == GUARD


def test_the_engine() -> None:
    """Answers are those of a full head, and the metrics have what was counted."""
    texts, counted = [], []
    for head in ("full", "split"):
        with Session(DEMO, preset=SPLIT, head=head) as session:
            engine, work = session.engine(1)
            events: Queue[Event] = Queue()
            engine.submit(Order(prompt=session.job("ROMEO:").prompt, max_new_tokens=8), events.put)
            texts.append("")
            while isinstance(event := events.get(timeout=60), Part):
                texts[-1] += event.text
            assert isinstance(event, End)
            metrics = Metrics(partial(lambda served: served, engine))
            counted.append({metric.name: metric.samples[0].value for metric in metrics.collect()})
            engine.close()
            work.result()
    assert texts[0] == texts[1] != ""
    assert {*counted[1]} - {*counted[0]} == {f"bitnet_fpga_{name}" for name in asdict(HeadCounts())}
    assert counted[1]["bitnet_fpga_rows_listed"] >= counted[1]["bitnet_fpga_rows_rescored"] >= 8


# ---- command line and session


def test_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(DEMO), "--preset", "examples/presets/tiny-split.toml", "--prompt", "ROMEO:",
                 "--max-new-tokens", "20", "--json"]
    found = []
    for head in ("full", "split"):
        assert main([*arguments, "--head", head]) == 0
        found.append(json.loads(capsys.readouterr().out))
    counts = {name: found[1].pop(name) for name in asdict(HeadCounts())}
    assert found[0] == found[1]
    assert counts["heads_repeated"] == 0
    assert 20 <= counts["rows_rescored"] <= counts["rows_listed"] < 20 * 256


def test_generate_refuses_a_full_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, preset = tmp_path / "i", "examples/presets/tiny-split.toml"
    assert main(["pack", str(DEMO), "-o", str(image), "--preset", preset]) == 0
    arguments = ["generate", str(DEMO), "--prompt", "A", "--head", "split"]
    assert main([*arguments, "--preset", preset, "--image", str(image)]) == 2
    assert capsys.readouterr().err == (
        f"error: the head of {image} is full, not split: pack it for preset tiny-split with `bitnet-fpga pack --head "
        "split`, or use a full head\n")
    assert main(arguments) == 2
    assert "preset tiny has no split head: set candidates" in capsys.readouterr().err


def test_the_stats_file() -> None:
    counters = dict.fromkeys(COUNTERS, 1)
    total, counted = RunStats(100, counters, 1.0), Counted(sequences=1, prompt_tokens=3, new_tokens=2, positions_fed=4)
    content = summary(SPLIT, counted, total, HeadCounts(70, 30, 1))
    assert (content["rows_listed"], content["rows_rescored"], content["heads_repeated"]) == (70, 30, 1)
    assert content.keys() - summary(SPLIT, counted, total, None).keys() == asdict(HeadCounts()).keys()


def test_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model, answers = write_chat_model(tmp_path), []
    for head in ("full", "split"):
        monkeypatch.setattr("sys.stdin", io.StringIO("Who?\nWhat?\n"))
        assert main(["chat", str(model), "--max-new-tokens", "5", "--preset", "examples/presets/tiny-split.toml",
                     "--head", head]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != ""


@pytest.mark.parametrize("command", ["chat", "serve"])
def test_other_commands_refuse_a_full_head(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, image, preset = write_chat_model(tmp_path), str(tmp_path / "i"), "examples/presets/tiny-split.toml"
    assert main(["pack", str(model), "-o", image, "--preset", preset, "--sequences", "2"]) == 0
    port = ["--port", "0"] if command == "serve" else []
    assert main([command, str(model), *port, "--preset", preset, "--image", image, "--head", "split"]) == 2
    assert f"error: the head of {image} is full, not split: pack it for preset tiny-split" in capsys.readouterr().err


def test_session(tmp_path: Path) -> None:
    with Session(DEMO, preset=SPLIT, head="split") as split, Session(DEMO, preset=SPLIT) as full:
        assert split.generate("JULIET:", max_new_tokens=8) == full.generate("JULIET:", max_new_tokens=8)
        assert split.head_counts is not None
        assert full.head_counts is None
        counted = split.head_counts
        assert split.score("To be").perplexity == full.score("To be").perplexity
        assert split.head_counts == counted
    with pytest.raises(JobError, match="head must be full or split, not 'half'"):
        Session(DEMO, preset=SPLIT, head="half")
    with pytest.raises(ConfigError, match="preset tiny has no split head"):
        Session(DEMO, head="split")
    pack(Checkpoint.open(DEMO), tmp_path / "i", PRESETS["tiny"])
    with pytest.raises(JobError, match="preset tiny has no split head: use a preset with candidates"):
        Session(DEMO, head="split", image=tmp_path / "i")


def test_guard_of_a_head() -> None:
    assert (guard_of("full"), guard_of("split")) == (0, 10034)
