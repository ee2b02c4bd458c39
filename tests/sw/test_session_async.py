"""A session inside of an event loop: streams are read with `async for`, and the loop runs meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from bitnet_fpga import JobError, Session, SessionClosedError
from hw.contract.config import PRESETS
from sw.links.mmap import MmapBus
from tests.sw.links.mmap_device import ChipInFolder, chip_in_folder

WAIT_S = 20
PROMPT = [3, 17, 29]


@pytest.fixture
def chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChipInFolder]:
    """An accelerator that waits when it is told to, and that nobody but the session stops."""
    monkeypatch.setattr("sw.pace.PATIENCE_CLOCKS", 1 << 60)
    with chip_in_folder(tmp_path / "root", PRESETS["tiny"], 16 << 20, monkeypatch) as chip:
        monkeypatch.setattr("sw.links.mmap.MmapBus", partial(MmapBus, root=chip.root))
        yield chip


def test_pieces_are_those_of_the_other_iterator(small: Path) -> None:
    async def read(session: Session) -> None:
        async with session.stream(PROMPT, max_new_tokens=6) as stream:
            pieces = [piece async for piece in stream]
        assert pieces == list(session.stream(PROMPT, max_new_tokens=6))
        assert stream.result == session.generate(PROMPT, max_new_tokens=6)
        assert [piece async for piece in stream] == []

    with Session(small) as session:
        asyncio.run(read(session))


def test_many_streams_at_once(small: Path) -> None:
    """More than the executor has threads. Each gets its own tokens."""
    async def read(session: Session, first: int) -> list[int | None]:
        return [piece.token async for piece in session.stream([first], max_new_tokens=3)]

    async def all_of_them(session: Session) -> list[list[int | None]]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        return await asyncio.wait_for(asyncio.gather(*(read(session, first) for first in range(6))), WAIT_S)

    with Session(small) as session:
        found = asyncio.run(all_of_them(session))
        assert found == [[*session.generate([first], max_new_tokens=3).tokens, None] for first in range(6)]


def test_the_loop_runs_while_a_piece_is_awaited(chip: ChipInFolder, small: Path) -> None:
    """The accelerator makes no token until the loop lets it."""
    async def main(session: Session) -> None:
        session.load()
        chip.stuck = True
        waiting = asyncio.create_task(session.stream(PROMPT).__anext__())
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        chip.stuck = False
        assert len((await asyncio.to_thread(session.generate, PROMPT, max_new_tokens=4)).tokens) == 4

    with Session(small, backend="mmap") as session:
        asyncio.run(main(session))


def test_a_time_out_ends_the_run(chip: ChipInFolder, small: Path) -> None:
    """And what waited behind it follows."""
    async def main(session: Session) -> None:
        session.load()
        chip.stuck = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(session.stream(PROMPT)), 0.3)
        chip.stuck = False
        async with asyncio.timeout(WAIT_S), session.stream(PROMPT, max_new_tokens=4) as stream:
            assert len([piece async for piece in stream]) == 5

    with Session(small, backend="mmap") as session:
        asyncio.run(main(session))


def test_closing_the_session_ends_who_waits(chip: ChipInFolder, small: Path) -> None:
    async def main(session: Session) -> None:
        session.load()
        chip.stuck = True
        threading.Timer(0.2, session.close).start()
        with pytest.raises(SessionClosedError, match="the session was closed during the call"):
            async for _ in session.stream(PROMPT):
                pass

    asyncio.run(main(Session(small, backend="mmap")))


def test_a_stream_that_cannot_begin(small: Path) -> None:
    async def main(session: Session) -> None:
        with pytest.raises(JobError, match="the prompt is empty"):
            async with session.stream([]):
                pass

    with Session(small) as session:
        asyncio.run(main(session))
