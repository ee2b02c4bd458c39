"""Errors as clients get them: a status, and {"error": {message, type, param, code}}."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import ValidationError

from sw.errors import CheckpointError, HardwareError, JobError, SessionClosedError
from sw.serve.order import QueueFullError

__all__ = ["ApiError", "api_error", "invalid"]

RETRY_S = 5
"""Seconds after which a client that was refused for lack of room may try again."""

TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "server_error",
         503: "server_error"}
"""Types by status; that of all others is `invalid_request_error`."""


class ApiError(Exception):
    """An error of a request. `param` is the field that is wrong, `code` a word for programs."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The object that the client gets."""
        return {"error": {"message": str(self), "type": TYPES.get(self.status, "invalid_request_error"),
                          "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The response of an error that comes before the answer."""
        headers = {429: {"Retry-After": str(RETRY_S)}, 503: {"Retry-After": str(RETRY_S)},
                   401: {"WWW-Authenticate": "Bearer"}}
        return JSONResponse(self.body, self.status, headers=headers.get(self.status))


def api_error(error: Exception, param: str | None = None) -> ApiError:
    """The error for a client. `param` is the field that a JobError is about. What is unknown is an internal error."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFullError):
        return ApiError(429, str(error), code="queue_full")
    if isinstance(error, HardwareError):
        return ApiError(503, str(error), code="hardware_error")
    if isinstance(error, SessionClosedError):
        return ApiError(503, str(error), code="closing")
    if isinstance(error, (JobError, CheckpointError)):
        code = "context_length_exceeded" if "but the context holds" in str(error) else None
        return ApiError(400, str(error), param=param, code=code)
    return ApiError(500, "internal error: the server printed it", code="internal_error")


def invalid(error: ValidationError) -> ApiError:
    """The first of the fields that are wrong. The message does not contain its value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    kinds = [part for part in path if part == "str" or part.startswith("list[")]  # a field that may be several
    param = ".".join(part for part in path if part not in kinds) or None
    said = "the value is of none of the types that this field may have" if kinds else first["msg"]
    return ApiError(400, f"{param}: {said}" if param else said, param=param)
