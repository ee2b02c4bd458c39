"""The application: routes, and what is around them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from sw.errors import JobError
from sw.http_api.answers import respond
from sw.http_api.body import read_fields
from sw.http_api.description import ERRORS, describe, takes
from sw.http_api.errors import ApiError, api_error
from sw.http_api.fields import ChatFields, CompletionFields, DetokenizeFields, TokenizeFields
from sw.http_api.guard import Guard
from sw.http_api.metrics import Counted
from sw.http_api.page import page
from sw.http_api.service import Service, encode
from sw.installed import NAME, version

__all__ = ["make_app"]


def make_app(
    service: Service, *, key: str | None = None, hosts: Sequence[str] = (), origins: Sequence[str] = (),
    docs: bool = False,
) -> FastAPI:
    """The application of a service.

    Args:
        service: its state.
        key: what requests must send; None: nothing.
        hosts: names of this server besides localhost.
        origins: those of pages that may use it.
        docs: whether it describes itself at /openapi.json and /docs.
    """
    app = FastAPI(title="bitnet-fpga", version=version(NAME) or "0", docs_url="/docs" if docs else None,
                  redoc_url=None, openapi_url="/openapi.json" if docs else None, responses=ERRORS)
    describe(app)
    app.add_middleware(Guard, key=key, hosts=hosts)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"],
                           allow_headers=["Authorization", "Content-Type"])
    app.add_middleware(Counted, metrics=service.metrics)
    _answer_errors(app)
    _add_models(app, service)
    _add_texts(app, service)
    return app


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def known(_: Request, error: ApiError) -> Response:
        return error.response

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        response = ApiError(error.status_code, f"{error.detail}: see docs/server.md for what there is").response
        response.headers.update(error.headers or {})  # Allow, for a method that a path does not have
        return response

    @app.exception_handler(Exception)
    async def unknown(_: Request, error: Exception) -> Response:  # uvicorn prints it
        return api_error(error).response


def _add_models(app: FastAPI, service: Service) -> None:
    def described() -> dict[str, Any]:
        loaded = service.ready()
        return {"id": service.model, "object": "model", "created": service.created, "owned_by": "bitnet-fpga",
                "max_model_len": loaded.engine.context, "chat": loaded.chat, "machine": service.machine}

    @app.get("/", response_class=HTMLResponse)
    async def chat_page() -> Response:
        return page()

    @app.get("/health")
    async def health() -> dict[str, str]:
        service.ready()
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [described()]}

    @app.get("/v1/models/{model:path}")
    async def model(model: str) -> dict[str, Any]:
        service.ready(model)
        return described()

    @app.get("/metrics", response_class=PlainTextResponse)
    async def measured() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_texts(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", **takes(ChatFields, streams=True))
    async def chat(request: Request) -> Response:
        return await respond(service, request, await read_fields(request, ChatFields))

    @app.post("/v1/completions", **takes(CompletionFields, streams=True))
    async def completion(request: Request) -> Response:
        return await respond(service, request, await read_fields(request, CompletionFields))

    @app.post("/tokenize", **takes(TokenizeFields))
    async def tokenize(request: Request) -> dict[str, Any]:
        fields, loaded = await read_fields(request, TokenizeFields), service.ready()
        content = fields.content if fields.content is not None else fields.prompt

        def ids() -> tuple[int, ...]:
            if fields.messages is not None:
                return loaded.chat_ids([one.message() for one in fields.messages])
            if content is None:
                raise JobError("give content, prompt or messages")
            return encode(loaded.text, content)

        tokens = await _checked(ids)
        return {"tokens": tokens, "count": len(tokens), "max_model_len": loaded.engine.context}

    @app.post("/detokenize", **takes(DetokenizeFields))
    async def detokenize(request: Request) -> dict[str, Any]:
        fields, loaded = await read_fields(request, DetokenizeFields), service.ready()
        text = await _checked(lambda: loaded.text.decode(fields.tokens))
        if text is None:
            raise ApiError(400, "the model has no tokenizer.json", param="tokens")
        return {"content": text, "prompt": text}


async def _checked(do: Any) -> Any:
    """The result of a function, computed in a thread. Raises ApiError."""
    try:
        return await asyncio.to_thread(do)
    except ValueError as error:
        raise api_error(error) from error
