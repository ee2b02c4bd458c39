"""Words of the registers that tests write and read often."""

from __future__ import annotations

from hw.contract.register_map import encode

__all__ = ["ABORT", "BUSY", "DONE", "START"]

START, ABORT = encode({"start": 1})["CONTROL"], encode({"abort": 1})["CONTROL"]
BUSY, DONE = encode({"busy": 1})["STATUS"], encode({"done": 1})["STATUS"]
