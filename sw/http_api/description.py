"""The description of the interface for programs, an OpenAPI document: what the routes take and return."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sw.http_api.fields import ChatFields, CompletionFields, DetokenizeFields, TokenizeFields

__all__ = ["ERRORS", "describe", "takes"]

BODIES = (ChatFields, CompletionFields, TokenizeFields, DetokenizeFields)
REFERENCE = "#/components/schemas/{model}"


class ErrorObject(BaseModel):
    """What is wrong. `param` is the field that is, `code` a word for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorObject


_ERROR = {"model": ErrorBody, "description": "An error"}
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": _ERROR, "5XX": _ERROR}
"""What every route may return."""

_OBJECT = {"application/json": {"schema": {"type": "object"}}}


def takes(kind: type[BaseModel], streams: bool = False) -> dict[str, Any]:
    """Arguments of a route that reads these fields from the body, and may answer with a stream of events."""
    body = {"application/json": {"schema": {"$ref": REFERENCE.format(model=kind.__name__)}}}
    returned = {**_OBJECT, **({"text/event-stream": {"schema": {"type": "string"}}} if streams else {})}
    return {"openapi_extra": {"requestBody": {"required": True, "content": body}},
            "responses": {200: {"content": returned}}}


def describe(app: FastAPI) -> None:
    """Let the application return this description. The fields are not FastAPI's own, because `read_fields` reads them.
    """
    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            _, found = models_json_schema([(kind, "validation") for kind in BODIES], ref_template=REFERENCE)
            made["components"]["schemas"].update(found["$defs"])
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = described
