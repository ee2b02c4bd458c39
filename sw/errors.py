"""Errors that the command line turns into exit codes."""

from __future__ import annotations

__all__ = [
    "CheckpointError", "HardwareError", "ImageError", "JobError", "SessionClosedError", "Terminated",
    "VerificationError",
]


class CheckpointError(ValueError):
    """A checkpoint cannot be used. Exit code 2."""


class JobError(ValueError):
    """The loaded model cannot run a job. Exit code 2."""


class HardwareError(RuntimeError):
    """The accelerator does not answer, or answers with an error. Exit code 3."""


class VerificationError(RuntimeError):
    """Two results that must be equal differ. Exit code 4."""


class SessionClosedError(RuntimeError):
    """A session was used after it was closed, or was closed during a call."""


class ImageError(ValueError):
    """The image is damaged or was packed for another build, or the file is not an image. Exit code 2."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which end the program as Ctrl-C does, also where Ctrl-C ends only an answer."""
