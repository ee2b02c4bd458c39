"""Errors that the command line turns into exit codes."""

from __future__ import annotations

__all__ = ["HardwareError", "ImageError", "JobError", "VerificationError"]


class JobError(ValueError):
    """A job that the loaded model cannot run. Exit code 2."""


class HardwareError(RuntimeError):
    """The accelerator does not answer, or answers with an error. Exit code 3."""


class VerificationError(RuntimeError):
    """Two results that must be equal differ. Exit code 4."""


class ImageError(ValueError):
    """An image that is damaged, made for another build, or no image at all. Exit code 2."""
