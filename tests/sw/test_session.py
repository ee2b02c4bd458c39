"""A model on a machine, for programs: results, and what happens where somebody leaves early."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import bitnet_fpga
from bitnet_fpga import JobError, Sampling, Session, SessionClosedError
from hw.contract.config import PRESETS, ConfigError
from sw.checkpoint import Checkpoint
from sw.errors import HardwareError, ImageError
from sw.links.link import RunStats
from sw.links.mmap import MmapBus
from sw.pack import pack
from tests.sw.links.mmap_device import ChipInFolder, chip_in_folder

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"
TINY = PRESETS["tiny"]
WAIT_S = 20
PROMPT = [3, 17, 29]


@pytest.fixture
def chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChipInFolder]:
    with chip_in_folder(tmp_path / "root", TINY, 16 << 20, monkeypatch) as chip:
        monkeypatch.setattr("sw.links.mmap.MmapBus", partial(MmapBus, root=chip.root))
        yield chip


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if "machine" in one.name]


def test_text() -> None:
    with Session(DEMO) as session:
        result = session.generate("ROMEO:", max_new_tokens=8)
        assert result.text == session.text.decode(result.tokens)
        assert (len(result.tokens), result.stopped, result.logits) == (8, "8 tokens reached", None)
        with session.stream("ROMEO:", max_new_tokens=8) as stream:
            pieces = list(stream)
        assert "".join(piece.text for piece in pieces) == result.text
        assert [piece.token for piece in pieces] == [*result.tokens, None]
        assert stream.result == result
        drawn = session.generate("ROMEO:", max_new_tokens=8, sampling=Sampling(temperature=5.0, seed=3))
        assert drawn.tokens != result.tokens
        assert session.stats is None
    assert not threads()


def test_a_score_is_that_of_the_logits(small: Path) -> None:
    with Session(small) as session:
        score = session.score(PROMPT)
        every = session.generate(PROMPT, max_new_tokens=0, logits=True)
        assert score.token_ids == tuple(PROMPT)
        np.testing.assert_array_equal(score.logits, every.logits)
        assert not score.logits.flags.writeable
        assert not score.log_probabilities.flags.writeable
        assert every == session.generate(PROMPT, max_new_tokens=0, logits=True)
        odds = np.exp(score.logits[:-1].astype(np.longdouble))
        chosen = odds[[0, 1], PROMPT[1:]] / odds.sum(axis=1)
        np.testing.assert_allclose(score.log_probabilities, np.log(chosen).astype(float), rtol=1e-12)
        assert score.perplexity == pytest.approx(float(1 / np.sqrt(chosen.prod())), rel=1e-12)
        with pytest.raises(JobError, match="needs at least two tokens, but the text has 1"):
            session.score([1])


def test_a_score_of_logits_that_are_large() -> None:
    """Neither exp nor its sum overflows; a token that is certain has a perplexity of 1."""
    rows = np.array([[0, 3e38, -3e38], [1e30, 0, 0]], np.float32)
    score = bitnet_fpga.Score.of((0, 1), rows)
    assert (score.log_probabilities.tolist(), score.perplexity) == ([0.0], 1.0)


def test_a_batch_is_what_its_jobs_are_alone(small: Path) -> None:
    with Session(small, sequences=2) as session:
        jobs = [session.job([n, n + 1], max_new_tokens=5 - n) for n in range(4)]
        alone = [session.generate(job) for job in jobs]
        assert dict(session.batch(jobs)) == dict(enumerate(alone))
        batch = session.batch(jobs)
        next(batch)
        assert session.generate(jobs[3]) == alone[3]  # waits for the batch, which goes on
        assert len(list(batch)) == 3


def test_a_packed_image_alone(small: Path, tmp_path: Path) -> None:
    """Tokens in and out, as of its checkpoint."""
    image = tmp_path / "i"
    pack(Checkpoint.open(small), image, TINY)
    with Session(image) as alone, Session(str(small), image=image) as both, Session(small) as packed:
        results = [session.generate(PROMPT, max_new_tokens=4) for session in (alone, both, packed)]
        assert results[0] == results[1] == results[2]
        assert results[0].text is None
        assert next(alone.stream(PROMPT, max_new_tokens=2)).text == f"{results[0].tokens[0]} "
        with pytest.raises(JobError, match=r"no tokenizer\.json: give token ids"):
            alone.generate("text")
    with pytest.raises(ImageError, match="was not packed from"):
        Session(DEMO, image=image)


@pytest.mark.parametrize(("options", "error", "sentence"), [
    ({"backend": "none"}, JobError, "there is no backend 'none': use golden, sim, mmap, serial"),
    ({"preset": "none"}, ConfigError, "none"),
    ({"board": "none"}, ConfigError, "there is no board 'none'"),
    ({"board": "kv260", "preset": "tiny"}, ConfigError, "tiny has ports = 1, but the memory of board kv260 needs 4"),
    ({"board": "kv260", "backend": "golden"}, JobError, "a board sets its backend"),
    ({"simulate": True}, JobError, "simulate needs a board"),
    ({"image": "i", "context": 4}, JobError, "an image has a fixed context"),
    ({"backend": "mmap"}, HardwareError, "there is no UIO device"),
    ({"board": "kv260"}, HardwareError, "there is no UIO device"),
    ({"board": "kv260", "simulate": True}, ConfigError, "KV260, 4 GiB DDR4 cannot be simulated as a whole"),
])
def test_what_cannot_be_opened(
    options: dict[str, object], error: type[Exception], sentence: str, small: Path
) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        Session(small, **options)
    assert not threads()


@pytest.mark.parametrize(("prompt", "sentence"), [
    ([], "the prompt is empty"), ([33, 1], "token id 33 is outside"), ([1] * 33, "the context holds 32"),
    ("text", "no tokenizer"),
])
def test_what_cannot_be_asked(prompt: str | list[int], sentence: str, small: Path) -> None:
    """Each way of asking says so at once, before anything is fed."""
    with Session(small) as session:
        for ask in (session.generate, session.stream, session.score):
            with pytest.raises(JobError, match=sentence):
                ask(prompt)


def test_in_a_running_event_loop(chip: ChipInFolder, small: Path) -> None:
    """A notebook's, or a server's: the link to the chip waits in one, too."""
    async def cell() -> tuple[bitnet_fpga.Completion, RunStats | None]:
        with Session(small, backend="mmap") as session:
            session.scrub()
            results = [session.generate(PROMPT, max_new_tokens=4), session.stream(PROMPT, max_new_tokens=4).result,
                       await asyncio.to_thread(session.generate, PROMPT, max_new_tokens=4)]
            assert results[0] == results[1] == results[2]
            return results[0], session.stats

    result, stats = asyncio.run(cell())
    with Session(small) as golden:
        assert result == golden.generate(PROMPT, max_new_tokens=4)
    assert stats
    assert (stats.runs, chip.runs) == (3, 3)


def test_closing_a_stream_aborts_its_run(
    chip: ChipInFolder, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its reader, or by closing the session from another thread while somebody waits for the next token."""
    monkeypatch.setattr("sw.pace.PATIENCE_CLOCKS", 1 << 60)  # nobody but the session gives the run up
    with Session(small, backend="mmap") as session:
        session.load()
        chip.stuck = True
        with session.stream(PROMPT):
            pass
        chip.stuck = False
        assert len(session.generate(PROMPT, max_new_tokens=4).tokens) == 4
        chip.stuck = True
        stream = session.stream(PROMPT)
        closer = threading.Timer(0.3, session.close)
        closer.start()
        with pytest.raises(SessionClosedError, match="the session was closed"):
            next(stream)
        closer.join(WAIT_S)
    chip.settled()
    assert chip.register("STATUS") == 0
    for use in (lambda: session.generate(PROMPT), lambda: session.stream(PROMPT), session.load, session.scrub):
        with pytest.raises(SessionClosedError, match="the session is closed"):
            use()
    session.close()
    assert not threads()


def test_an_interrupt_aborts_the_run_and_nothing_else(
    chip: ChipInFolder, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sw.pace.PATIENCE_CLOCKS", 1 << 60)
    with Session(small, backend="mmap") as session:
        session.load()
        chip.stuck = True
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            session.generate(PROMPT)
        timer.join()
        assert chip.register("STATUS") == 0
        chip.stuck = False
        assert len(session.generate(PROMPT, max_new_tokens=4).tokens) == 4


def test_a_run_that_fails_leaves_the_session_ready(chip: ChipInFolder, small: Path) -> None:
    with Session(small, backend="mmap") as session:
        session.load()
        chip.stuck = True
        with pytest.raises(HardwareError, match="hangs"):
            session.generate(PROMPT)
        chip.stuck = False
        assert len(session.generate(PROMPT, max_new_tokens=4).tokens) == 4


def test_what_is_forgotten_is_closed(small: Path) -> None:
    session = Session(small)
    next(session.stream(PROMPT))  # and the stream with it
    assert len(session.generate(PROMPT, max_new_tokens=2).tokens) == 2
    folder = session._link.image.path.parent
    assert folder.is_dir()
    del session
    gc.collect()
    assert not threads()
    assert not folder.exists()


def test_a_program_that_closes_nothing_ends(small: Path) -> None:
    program = ("import sys; from bitnet_fpga import Session; session = Session(sys.argv[1]); "
               "stream = session.stream([1]); print(next(stream).token)")
    done = subprocess.run([sys.executable, "-c", program, str(small)], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().isdigit()


def test_what_is_measured_does_not_grow() -> None:
    """A sum of many runs is as large as that of one."""
    one = RunStats(10, {"stream_busy": 4}, 0.5)
    total = one
    for _ in range(999):
        total += one
    assert (total.runs, total.cycles, total.counters, total.traffic) == (1000, 10_000, {"stream_busy": 4000}, None)
    assert total.seconds == pytest.approx(500)


def test_what_a_program_may_use() -> None:
    """What comes out is typed, documented and frozen."""
    for name in bitnet_fpga.__all__:
        member = getattr(bitnet_fpga, name)
        assert name == "BACKENDS" or member.__doc__
        if dataclasses.is_dataclass(member):
            assert member.__dataclass_params__.frozen, name
