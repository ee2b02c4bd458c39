"""Content of the file that `bitnet-fpga generate --stats` writes: clock counts of all runs, by unit and by stall."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hw.contract.config import AccelConfig
from hw.contract.register_map import CAUSES
from sw.links.link import RunStats
from sw.results import Completion
from sw.split_head import HeadCounts

__all__ = ["Counted", "summary"]


@dataclass
class Counted:
    """Sums over all results so far: sequences, tokens, and positions that were fed to the accelerator."""

    sequences: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    positions_fed: int = 0

    def add(self, result: Completion) -> None:
        """Count one result. Its last token was generated but not fed."""
        self.sequences += 1
        self.prompt_tokens += len(result.prompt_ids)
        self.new_tokens += len(result.tokens)
        self.positions_fed += len(result.prompt_ids) - result.reused + max(len(result.tokens) - 1, 0)


def summary(config: AccelConfig, counted: Counted, total: RunStats, heads: HeadCounts | None) -> dict[str, Any]:
    """Content of the --stats file: clocks of all runs together, memory traffic if the link counts it, and what was
    counted of a split head if one was used."""
    counters = total.counters
    traffic = {} if total.traffic is None else {
        "read_bytes": total.traffic.read_bytes, "written_bytes": total.traffic.beats_written * config.beat_bytes,
    }
    return {
        "preset": config.name,
        "sequences": counted.sequences,
        "runs": total.runs,
        "heads_again": total.heads_again,
        "prompt_tokens": counted.prompt_tokens,
        "new_tokens": counted.new_tokens,
        "positions_fed": counted.positions_fed,
        "cycles": total.cycles,
        "cycles_per_token": total.cycles / counted.positions_fed,
        **traffic,
        **(asdict(heads) if heads else {}),
        "stall_cycles": {name: counters[name] for name in CAUSES if name != "stream_busy"},
        "busy_cycles": {
            name: counters[f"{name}_busy"] for name in ("stream", "embed", "norm", "matmul", "attention", "lm_head")
        },
        "cycles_per_second": total.cycles / total.seconds,
    }
