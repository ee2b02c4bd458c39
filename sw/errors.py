"""Errors that the command line turns into exit codes."""

from __future__ import annotations

__all__ = ["CheckpointError", "HardwareError", "ImageError", "JobError", "SessionClosedError", "VerificationError"]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, in one sentence. Exit code 2."""


class JobError(ValueError):
    """A job that the loaded model cannot run. Exit code 2."""


class HardwareError(RuntimeError):
    """The accelerator does not answer, or answers with an error. Exit code 3."""


class VerificationError(RuntimeError):
    """Two results that must be equal differ. Exit code 4."""


class SessionClosedError(RuntimeError):
    """A session was used after it was closed, or closed while it was used."""


class ImageError(ValueError):
    """An image that is damaged, made for another build, or no image at all. Exit code 2."""
