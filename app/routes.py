"""The class of every route that belongs to tenants: no key, no entry, whatever the route itself asks for."""

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, cast

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from app.access import Door
from app.errors import Problem, refusal

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TenantRoute(APIRoute):
    """Lets in before a byte of the body is read."""

    largest_body: ClassVar[int | None] = 2**20  # bytes; None: the route itself counts

    def get_route_handler(self) -> _Handler:
        answer = super().get_route_handler()

        async def admit(request: Request) -> Response:
            door = cast(Door, request.state.door)
            request.state.caller = await run_in_threadpool(door.admit, request)
            if self.largest_body is not None:
                request = _again(request, await _body(request, self.largest_body))
            left = door.count(request.state.caller)
            response = await answer(request)
            response.headers.update(left)
            return response

        return admit


class StreamRoute(TenantRoute):
    """Reads its body itself, in pieces."""

    largest_body = None


def tenant_router(prefix: str, tag: str, route_class: type[TenantRoute] = TenantRoute) -> APIRouter:
    """A router of a tenant's routes, which all tell of the problems that they answer with."""
    problem = {"model": Problem, "content": {"application/problem+json": {}}}
    return APIRouter(prefix=prefix, tags=[tag], route_class=route_class, responses={"4XX": problem, "5XX": problem})


async def _body(request: Request, largest: int) -> bytes:
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
