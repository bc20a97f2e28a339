"""The class of every route that belongs to tenants: no key, no entry, whatever the route itself asks for."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, cast

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Message

from app import fields, idempotency
from app.access import Door
from app.conditional import tagged
from app.errors import Problem, refusal
from app.idempotency import Once, Repeated, same_json
from app.plain_json import refuse_unclear

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A request that comes again with the same key within 24 hours gets the same answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": idempotency.LONGEST_KEY, "pattern": "^[ -~]+$"},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An `ETag` that was given before: 304 if nothing has changed",
    "schema": {"type": "string"},
}


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": "fields",
        "in": "query",
        "description": "Only these parts of the answer, with commas; in a list, of its entries. What else its schema"
        " requires is then left out",
        "style": "form",
        "explode": False,
        "schema": {
            "type": "array",
            "items": {"type": "string", "enum": fields.paths(model)},
            "minItems": 1,
            "maxItems": fields.MOST,
        },
    }


class TenantRoute(APIRoute):
    """Lets in before a byte of the body is read; knows a repeated POST; answers a GET in part, or with 304."""

    largest_body: ClassVar[int | None] = 2**20  # bytes; None: the route itself counts, and enters its request

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        taken = [_IDEMPOTENCY_KEY] if "POST" in (self.methods or ()) else []
        if self._answers_model:
            taken = [_fields(self.response_model), _IF_NONE_MATCH]
            self.responses = {304: {"description": "Nothing has changed"}, **self.responses}
        extra = self.openapi_extra or {}
        known = {parameter["name"] for parameter in extra.get("parameters", [])}
        parameters = extra.get("parameters", []) + [one for one in taken if one["name"] not in known]
        self.openapi_extra = {**extra, "parameters": parameters} if parameters else self.openapi_extra

    @property
    def _answers_model(self) -> bool:
        model = self.response_model
        return "GET" in (self.methods or ()) and isinstance(model, type) and issubclass(model, BaseModel)

    def get_route_handler(self) -> _Handler:
        answer = super().get_route_handler()

        async def admit(request: Request) -> Response:
            door = cast(Door, request.state.door)
            request.state.caller = await run_in_threadpool(door.admit, request)
            _refuse_odd(request)
            body = None
            if self.largest_body is not None:
                body = await read_body(request, self.largest_body)
                if body and self.body_field is not None:
                    refuse_other_than_json(request)
                    refuse_unclear(body)
                request = _again(request, body)
            left = door.count(request.state.caller)
            response = await self._answer(request, answer, body)
            response.headers.update(left)
            return response

        return admit

    async def _answer(self, request: Request, answer: _Handler, body: bytes | None) -> Response:
        if request.method == "POST":
            return await _once(request, answer, body)
        if not self._answers_model:
            return await answer(request)
        asked = request.query_params.get("fields")
        tree = fields.parse(self.response_model, asked) if asked is not None else {}
        response = await answer(request)
        if tree and response.status_code == 200:
            response = _part(response, tree)
        return tagged(response, request.headers.get("if-none-match"))


class StreamRoute(TenantRoute):
    """Reads its body itself, in pieces."""

    largest_body = None


def tenant_router(prefix: str, tag: str, route_class: type[TenantRoute] = TenantRoute) -> APIRouter:
    """A router of a tenant's routes, which all tell of the problems that they answer with."""
    problem = {
        "content": {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    }
    return APIRouter(prefix=prefix, tags=[tag], route_class=route_class, responses={"4XX": problem, "5XX": problem})


async def _once(request: Request, answer: _Handler, body: bytes | None) -> Response:
    once = Once(
        cast(sa.Engine, request.state.database),
        request.state.caller,
        request.scope["path"],
        request.headers.get(idempotency.HEADER),
    )
    request.state.once = once
    try:
        if body is not None:
            await once.enter(same_json(body))
        response = await answer(request)
    except Repeated as repeated:
        return repeated.answer
    except Exception as error:  # each is answered further out; here it only ends the request's claim to its key
        await once.failed(error)
        raise
    await once.answered(response)
    return response


def _part(response: Response, tree: fields.Tree) -> Response:
    picked = fields.pick(tree, json.loads(bytes(response.body)))
    kept = {name: response.headers[name] for name in ("cache-control",) if name in response.headers}
    content = json.dumps(picked, ensure_ascii=False, separators=(",", ":"))
    return Response(content, headers=kept, media_type="application/json")


def _refuse_odd(request: Request) -> None:
    """What is wrong for every route alike, and would surprise the parts behind them."""
    if "\0" in request.scope["path"]:
        raise HTTPException(404)
    if "%00" in request.scope["query_string"].decode("latin-1"):
        raise refusal(422, "invalid request", "query: the character NUL is in nothing that is kept here")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise refusal(
            415,
            "encoded body",
            "the body has a Content-Encoding, and none is undone here; send it as it is",
            {"accept-encoding": "identity"},
        )


def refuse_other_than_json(request: Request) -> None:
    """A body without a media type passes for JSON where it is read as JSON. Raises Refused."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise refusal(415, "unsupported media type", "send the body as application/json")


async def read_body(request: Request, largest: int) -> bytes:
    """Raises Refused if it has more bytes."""
    # Not left to FastAPI, which would take a body of any size into memory.
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise refusal(413, "request too large", f"the request is larger than {largest} bytes")
    return bytes(body)


def _again(request: Request, body: bytes) -> Request:
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            return await request.receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
