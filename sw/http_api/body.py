"""Bodies of requests: JSON of a limited size that arrives in a limited time."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from sw.http_api.errors import ApiError, invalid

__all__ = ["MOST_BYTES", "read_fields"]

MOST_BYTES = 4_000_000
ARRIVAL_S = 30

Model = TypeVar("Model", bound=BaseModel)


async def read_fields(request: Request, kind: type[Model]) -> Model:
    """The fields in the body of a request. Raises ApiError.

    The content type must be JSON: a page in a browser cannot send that to another origin without asking.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise ApiError(400, "the Content-Type of the request must be application/json", code="content_type")
    try:
        async with asyncio.timeout(ARRIVAL_S):
            body = await _read(request)
    except TimeoutError:
        raise ApiError(400, f"the request did not arrive within {ARRIVAL_S} s", code="timeout") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise ApiError(413, f"the request has more than {MOST_BYTES} bytes", code="too_large")
    return bytes(body)
