"""How long the service waits for a request: uvicorn alone would wait for ever for one that trickles in."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LOOK_EVERY_S = 0.5
_LINGER_S = 1.0  # who is cut off in mid-sentence loses the answer too
_SLOWEST_BYTES_A_SECOND = 500  # of a body, once its patience is used up; as Apache has it


class _Patient(H11Protocol):
    """A connection that is closed when a head does not come in time, or a body comes slower than any line is."""

    within_s: float = 20.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waited_s, self._received = 0.0, 0
        self._in_body = self._ended = False
        self._look = self.loop.call_later(_LOOK_EVERY_S, self._look_after)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        # Of an idle connection uvicorn takes care itself; the first byte of a next head starts our clock.
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._waited_s, self._received = 0.0, 0
        self._received += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """As a problem, as everything else is answered."""
        self._end(HTTPStatus.BAD_REQUEST, "this is no HTTP request, or its head is larger than 64 KiB")

    def _look_after(self) -> None:
        if self._ended:
            return
        self._look = self.loop.call_later(_LOOK_EVERY_S, self._look_after)
        in_body = self.conn.their_state is h11.SEND_BODY
        if in_body != self._in_body:
            self._in_body, self._waited_s, self._received = in_body, 0.0, 0
        if in_body:
            if not self.flow.read_paused:  # else the service itself is what takes so long
                self._waited_s += _LOOK_EVERY_S
            if self._waited_s > self.within_s + self._received / _SLOWEST_BYTES_A_SECOND:
                self._end(HTTPStatus.REQUEST_TIMEOUT, "the body comes too slowly")
        elif self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            self._waited_s += _LOOK_EVERY_S
            if self._waited_s > self.within_s:
                self._end(HTTPStatus.REQUEST_TIMEOUT, f"the head did not come within {self.within_s:.0f} s")

    def _end(self, status: HTTPStatus, why: str) -> None:
        unanswered = self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
        if unanswered and self.conn.our_state is not h11.MUST_CLOSE:
            problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": why}
            body = json.dumps(problem).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        if self.cycle is not None:  # whoever still answers it answers nobody
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._ended = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def patient(within_s: float) -> type[asyncio.Protocol]:
    """For uvicorn. `within_s`: a head may take so long, and a body before it has to come at 500 bytes a second."""
    members: dict[str, Any] = {"within_s": within_s}
    return type("Patient", (_Patient,), members)
