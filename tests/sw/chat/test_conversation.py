"""Turns of a conversation: what is fed, and that the results are those of feeding everything anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bitnet_fpga import Conversation, HardwareError, JobError, Message, Sampling, Session
from hw.contract.config import PRESETS
from sw.links.mmap import MmapBus
from sw.requests import Job
from tests.sw.chat.chat_model import CONTEXT, write_chat_model
from tests.sw.links.mmap_device import chip_in_folder

BACKENDS = ["golden", "sim", "mmap"]
TINY = PRESETS["tiny"]
TURNS = ("Who?", "What, ho!", "Speak.")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=BACKENDS)
def session(
    request: pytest.FixtureRequest, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    """mmap: a golden model behind registers and memory, for the driver of a board."""
    with ExitStack() as stack:
        if request.param == "mmap":
            chip = stack.enter_context(chip_in_folder(tmp_path / "root", TINY, 16 << 20, monkeypatch))
            monkeypatch.setattr("sw.links.mmap.MmapBus", partial(MmapBus, root=chip.root))
        yield stack.enter_context(Session(model, backend=request.param))


@pytest.fixture
def golden(model: Path) -> Iterator[Session]:
    with Session(model, sequences=2) as session:
        yield session


def anew(session: Session, conversation: Conversation, text: str, most: int, sampling: Sampling | None = None) -> str:
    """The answer of a session whose cache is not used."""
    ids = session.chat_ids((*conversation.messages, Message("user", text)))
    return session.generate(ids, max_new_tokens=most, sampling=sampling).text or ""


def test_turns_are_those_of_the_whole_conversation(session: Session, golden: Session) -> None:
    """Tokens and every logit, greedily and drawn, with few positions fed."""
    talk: list[Message] = [Message("system", "You are a king.")]
    for number, text in enumerate(TURNS):
        talk.append(Message("user", text))
        drawn = Sampling(temperature=1.0, seed=number) if number else None
        result = session.chat(talk, max_new_tokens=4, sampling=drawn, logits=True).result
        whole = golden.generate(golden.chat_ids(talk), max_new_tokens=4, sampling=drawn, logits=True)
        assert (result.prompt_ids, result.tokens, result.text) == (whole.prompt_ids, whole.tokens, whole.text)
        assert result.logits is not None
        assert whole.logits is not None
        np.testing.assert_array_equal(result.logits, whole.logits[result.reused :])
        # Up to the answer before, whose first token may join with the blank that the template ends with.
        assert result.reused >= (0 if number == 0 else len(golden.chat_ids(talk[:-2])) - 1)
        talk.append(Message("assistant", result.text or ""))


def test_a_conversation_keeps_its_messages(golden: Session, model: Path) -> None:
    conversation = golden.conversation("Be brief.")
    with Session(model) as other:
        for text in TURNS:
            expected = anew(other, conversation, text, 6)
            with conversation.ask(text, max_new_tokens=6) as reply:
                assert "".join(piece.text for piece in reply) == reply.text == expected
                assert reply.result.text == expected
                assert tuple(reply.tokens) == reply.result.tokens
            assert conversation.messages[-2:] == (Message("user", text), Message("assistant", expected))
    assert len(conversation.messages) == 7
    conversation.reset()
    assert conversation.messages == (Message("system", "Be brief."),)


def test_an_answer_that_is_stopped(session: Session, golden: Session) -> None:
    """What was read of it stays in the conversation; the next turn is what it is with a new cache."""
    conversation = session.conversation()
    for most in (3, 0):
        with conversation.ask("Who?", max_new_tokens=60) as reply:
            for _ in range(most):
                next(reply)
        assert len(conversation.messages) % 2 == 0
        assert reply.text == "" or conversation.messages[-1].content == reply.text
        with pytest.raises(StopIteration):
            next(reply)
        expected = anew(golden, conversation, "And then?", 6)
        reply = conversation.ask("And then?", max_new_tokens=6)
        assert reply.result.text == expected
        assert conversation.messages[-1].content == expected


def test_what_others_feed_between(golden: Session, model: Path) -> None:
    """A slot that something else used is fed again; another slot is not."""
    first, second = golden.conversation("One."), golden.conversation("Two.", slot=1)
    with Session(model) as other:
        for number, text in enumerate(TURNS[:2]):
            for conversation in (first, second):
                expected = anew(other, conversation, text, 4)
                result = conversation.ask(text, max_new_tokens=4).result
                assert (result.text, result.reused > 0) == (expected, number > 0)
        jobs = [golden.job([n, n + 1], max_new_tokens=3) for n in range(3)]
        for use in (lambda: golden.generate([1, 2], max_new_tokens=3), lambda: list(golden.batch(jobs)), golden.load):
            use()
            expected = anew(other, first, "And?", 4)
            result = first.ask("And?", max_new_tokens=4).result
            assert (result.text, result.reused) == (expected, 0)
    with pytest.raises(JobError, match="slot must be 0 to 1"):
        golden.conversation(slot=2).ask("a")


def test_a_full_context(golden: Session) -> None:
    """An answer ends with it; a message that does not fit is not kept."""
    conversation = golden.conversation()
    result = conversation.ask("Who?", max_new_tokens=500).result
    assert result.stopped == f"context of {CONTEXT} full" or result.stopped.startswith("end id")
    kept = conversation.messages
    with pytest.raises(JobError, match=rf"the conversation has \d+ tokens with this message, but the context holds "
                                       rf"{CONTEXT}: begin again"):
        conversation.ask("x" * 2 * CONTEXT)
    assert conversation.messages == kept


def test_a_run_that_fails_is_not_trusted(golden: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = golden.conversation()
    first = conversation.ask("Who?", max_new_tokens=4).result
    run = golden._link.run

    def failing(job: Job) -> Iterator[object]:
        for step in run(job):
            yield step
            raise HardwareError("broken")

    monkeypatch.setattr(golden._link, "run", failing)
    with pytest.raises(HardwareError, match="broken"):
        list(conversation.ask("And?", max_new_tokens=4))
    monkeypatch.undo()
    assert conversation.messages[-1] == Message("assistant", first.text or "")
    assert conversation.ask("And?", max_new_tokens=4).result.reused == 0
