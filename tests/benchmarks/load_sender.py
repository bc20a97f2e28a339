"""Recordings -> accepted calls, by a client that tries again as the API's manners want it."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

from tests.benchmarks.load_deployment import now_s
from tests.benchmarks.load_recordings import short_recording

_AGAIN_AFTER_S = 1.0  # when nobody is there to say how long to wait
_TIMEOUT_S = 60.0


@dataclass
class Answers:
    """What came back, of every attempt."""

    by_status: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, answer: httpx2.Response) -> None:
        """A server's error may only be 503, with the time after which to come again."""
        self.by_status[str(answer.status_code)] += 1
        if answer.status_code >= 500 and not (answer.status_code == 503 and "retry-after" in answer.headers):
            self.wrong.append(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")

    def note_silence(self, error: httpx2.TransportError) -> None:
        self.by_status[type(error).__name__] += 1


@dataclass
class Sender:
    client: httpx2.AsyncClient
    recording_seconds: float
    uploads: Answers = field(default_factory=Answers)
    reads: Answers = field(default_factory=Answers)
    accepted: dict[str, float] = field(default_factory=dict)  # by call id: when the answer came
    took_s: dict[int, float] = field(default_factory=dict)  # by number: of uploads that needed one try

    async def send(self, number: int) -> None:
        """Until it is accepted, however often that takes; under one Idempotency-Key."""
        content = await asyncio.to_thread(short_recording, number, self.recording_seconds)
        known = {"call_id": f"load-{number}", "collector_id": f"c-{number % 40}", "agency": f"agency {number % 3}"}
        tries = 0
        while True:
            tries += 1
            began = now_s()
            try:
                answer = await self.client.post(
                    "/v1/calls",
                    headers={"idempotency-key": f"load-{number}"},
                    files={"file": ("call.wav", content)},
                    data={"metadata": json.dumps(known)},
                )
            except httpx2.TransportError as error:
                self.uploads.note_silence(error)
                await asyncio.sleep(_AGAIN_AFTER_S)
                continue
            self.uploads.note(answer)
            if answer.status_code == 202:
                self.accepted[answer.json()["id"]] = now_s()
                if tries == 1:
                    self.took_s[number] = now_s() - began
                return
            if answer.status_code not in (409, 503):
                self.uploads.wrong.append(f"upload {number}: {answer.status_code} {answer.text}")
                return
            await asyncio.sleep(float(answer.headers.get("retry-after", _AGAIN_AFTER_S)))

    async def read_on(self) -> None:
        """Looks at lists, calls and readiness all the while, as dashboards do."""
        while True:
            newest = next(reversed(self.accepted), None)
            for path in ("/v1/calls?limit=20", f"/v1/calls/{newest}", "/v1/utterances?q=还款&limit=20", "/readyz"):
                if newest is None and str(newest) in path:
                    continue
                try:
                    self.reads.note(await self.client.get(path))
                except httpx2.TransportError as error:
                    self.reads.note_silence(error)
            await asyncio.sleep(_AGAIN_AFTER_S)


def open_client(url: str, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    unlimited = httpx2.Limits(max_connections=None, max_keepalive_connections=50)
    return httpx2.AsyncClient(base_url=url, headers=dict(headers), timeout=_TIMEOUT_S, limits=unlimited)
