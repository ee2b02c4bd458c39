"""What the registers and the memory of a machine ask for, done by the golden model: the heart of simulated boards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.register_map import LogitsMode
from sim.links.golden import GoldenLink
from sw.image import ModelImage
from sw.requests import Batch, Entry, Job, Request

Area = Callable[[int, int], NDArray[np.uint8]]
"""Bytes of memory, by address and size, as a view."""


class GoldenMachine:
    """`register` gives the value of a register by its name; the image is copied into `folder`."""

    def __init__(self, config: AccelConfig, folder: Path, register: Callable[[str], int], area: Area) -> None:
        self.config, self.register, self.area = config, register, area
        self._path = folder / "from_memory.img"
        self._golden: GoldenLink | None = None

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
        words = self.area(self._pair("PROMPT_ADDRESS"), 16 * self.register("PROMPT_LENGTH")).view("<u4")
        common = {"max_new_tokens": self.register("MAX_NEW_TOKENS"),
                  "all_logits": self.register("LOGITS_MODE") == LogitsMode.ALL.value}
        if self.register("BATCH"):
            return Batch(entries=tuple(Entry(*map(int, e[:3])) for e in words.reshape(-1, 4)), **common)
        return Job(prompt=tuple(int(t) for t in words[: self.register("PROMPT_LENGTH")]), slot=self.register("SLOT"),
                   last_logits=self.register("LOGITS_MODE") == LogitsMode.LAST.value,
                   start_position=self.register("START_POSITION"), chunk=self.register("CHUNK"), **common)

    def run(self) -> Iterator[int | None]:
        """Carries out the request; gives the token of each step, if it has one, when it is in memory, and so is what
        the step has of logits."""
        link, tokens, rows = self._link(), 0, 0
        regions = link.machine.image.plan.regions
        names = ("STREAM_OFFSET", "LM_HEAD_OFFSET", "EMBED_OFFSET", "ROPE_OFFSET")
        assert [self.register(name) for name in names] == [region.offset for region in regions.values()]
        stride = self.register("LOGITS_BEATS") * self.config.beat_bytes
        for step in link.run(self.request()):
            for row in step.rows:
                address = self._pair("LOGITS_ADDRESS") + rows * stride
                self.area(address, 4 * len(row))[:] = row.astype("<f4").view(np.uint8)
                rows += 1
            if step.token is not None:
                word = np.array([step.token], "<u4").view(np.uint8)
                self.area(self._pair("TOKENS_ADDRESS") + 4 * tokens, 4)[:] = word
                tokens += 1
            yield step.token
