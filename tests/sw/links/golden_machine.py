"""What the registers and the memory of a machine ask for, done by the golden model: the heart of simulated boards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.register_map import LogitsMode
from sim.golden.shortlist import record
from sim.links.golden import GoldenLink
from sw.image import ModelImage
from sw.requests import Batch, Entry, HeadAgain, Job, Request
from sw.split_head import HeadCounts

Area = Callable[[int, int], NDArray[np.uint8]]
"""Bytes of memory, by address and size, as a view."""


class GoldenMachine:
    """`register` gives the value of a register by its name; the image is copied into `folder`."""

    def __init__(self, config: AccelConfig, folder: Path, register: Callable[[str], int], area: Area) -> None:
        self.config, self.register, self.area = config, register, area
        self._path = folder / "from_memory.img"
        self._golden: GoldenLink | None = None
        self._columns = 0  # that chose a token in the last run
        self.heads = HeadCounts()
        """Of the split head in the last run."""

    def _pair(self, name: str) -> int:
        return self.register(f"{name}_LO") | self.register(f"{name}_HI") << 32

    def _link(self) -> GoldenLink:
        """The model that lies in memory, with its KV memory as long as the image stays the same."""
        base = self._pair("IMAGE_BASE")
        size = int(self.area(base + 24, 8).view("<u8")[0])
        content = self.area(base, size).tobytes()
        if self._golden is None or self._path.read_bytes() != content:
            self._path.write_bytes(content)
            image = ModelImage.open(self._path, self.config)
            image.verify()
            self._golden = GoldenLink(image)
        return self._golden

    def request(self) -> Request:
        """What the registers ask for."""
        if self.register("HEAD_AGAIN"):
            return HeadAgain(columns=self._columns, wanted=tuple(range(self._columns)))
        mode = LogitsMode(self.register("LOGITS_MODE"))
        most, every = self.register("MAX_NEW_TOKENS"), mode is LogitsMode.ALL
        guard = self.register("GUARD")
        if self.register("BATCH"):
            entries = tuple(Entry(*map(int, entry[:3])) for entry in self._words().reshape(-1, 4))
            return Batch(entries=entries, max_new_tokens=most, all_logits=every or mode is LogitsMode.BEST, guard=guard)
        return Job(prompt=tuple(int(t) for t in self._words()[: self.register("PROMPT_LENGTH")]), max_new_tokens=most,
                   slot=self.register("SLOT"), start_position=self.register("START_POSITION"),
                   chunk=self.register("CHUNK"), all_logits=every,
                   last_logits=mode in (LogitsMode.LAST, LogitsMode.BEST), guard=guard)

    def _words(self) -> NDArray[np.uint32]:
        """The prompt area."""
        return self.area(self._pair("PROMPT_ADDRESS"), 16 * self.register("PROMPT_LENGTH")).view("<u4")

    def _content(self, row: NDArray[np.float64], number: int) -> bytes:
        """What is written of a row, the so-maniest of the run: the row, or its shortlist."""
        if self.register("LOGITS_MODE") != LogitsMode.BEST.value:
            return row.astype("<f4").tobytes()
        scale = np.array(self.register("LOGIT_SCALE"), "<u4")
        if self.register("BATCH"):
            scale = self._words().reshape(-1, 4)[number % self.register("PROMPT_LENGTH"), 3]
        return record(row, float(scale.view("<f4")))

    def run(self) -> Iterator[int | None]:
        """Carries out the request; gives the token of each step, if it has one, when it is in memory, and so is what
        the step has of logits."""
        link, tokens, rows = self._link(), 0, 0
        regions = link.machine.image.plan.regions
        names = ("STREAM_OFFSET", "LM_HEAD_OFFSET", "EMBED_OFFSET", "ROPE_OFFSET", "HIGH_OFFSET")[: len(regions)]
        assert [self.register(name) for name in names] == [region.offset for region in regions.values()]
        stride = self.register("LOGITS_BEATS") * self.config.beat_bytes
        request = self.request()
        self._columns = request.columns if isinstance(request, Batch | HeadAgain) else min(1, request.max_new_tokens)
        self.heads = HeadCounts()
        for step in link.run(request):
            self.heads += step.heads or HeadCounts()
            for row in step.rows:
                content = self._content(row, rows)
                self.area(self._pair("LOGITS_ADDRESS") + rows * stride, len(content))[:] = np.frombuffer(content, "u1")
                rows += 1
            if step.token is not None:
                word = np.array([step.token], "<u4").view(np.uint8)
                self.area(self._pair("TOKENS_ADDRESS") + 4 * tokens, 4)[:] = word
                tokens += 1
            yield step.token
