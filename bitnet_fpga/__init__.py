"""Python API: run ternary BitNet b1.58 models on an FPGA accelerator, on its simulation, or on its golden model.

    from bitnet_fpga import Session

    with Session("models/shakespeare-nano") as session:
        print(session.generate("ROMEO:", max_new_tokens=16).text)

Only the names in `__all__` are stable; every other module may change without notice. The command line is `bitnet-fpga`.
"""

from __future__ import annotations

from hw.contract.config import AccelConfig, ConfigError, preset
from hw.tool import ToolError
from sw.chat.conversation import Conversation, Reply
from sw.chat.messages import Message
from sw.errors import CheckpointError, HardwareError, ImageError, JobError, SessionClosedError
from sw.links.link import RunStats, Traffic
from sw.requests import Job
from sw.results import Completion, Piece, Score, Stream
from sw.sampling import Sampling
from sw.session import BACKENDS, Session

__all__ = [
    "BACKENDS", "AccelConfig", "CheckpointError", "Completion", "ConfigError", "Conversation", "HardwareError",
    "ImageError", "Job", "JobError", "Message", "Piece", "Reply", "RunStats", "Sampling", "Score", "Session",
    "SessionClosedError", "Stream", "ToolError", "Traffic", "preset",
]
