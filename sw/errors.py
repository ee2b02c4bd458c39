"""Errors that the command line turns into exit codes."""

from __future__ import annotations

__all__ = ["HardwareError", "VerificationError"]


class HardwareError(RuntimeError):
    """The accelerator does not answer, or answers with an error. Exit code 3."""


class VerificationError(RuntimeError):
    """Two results that must be equal differ. Exit code 4."""
