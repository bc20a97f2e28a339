"""A recording that has come, whichever way -> an accepted call, or a refusal that says why not."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends

from app import calls
from app.access import Caller, Ingesting
from app.calls import NewCall, Status
from app.config import Settings
from app.decoding import refuse_unreadable
from app.deps import DatabaseDep, JobsDep, RecordingsDep, SettingsDep
from app.errors import refusal
from app.idempotency import Once, OnceDep
from app.incoming import Upload, incoming
from app.jobs import JobQueue
from app.lenders.schemas import Accepted, Metadata, ObjectCall
from app.objects import Prefixes, fetch
from app.recordings import Recordings, media_type

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intake:
    caller: Caller
    once: Once
    settings: Settings
    database: sa.Engine
    recordings: Recordings
    jobs: JobQueue

    def refuse_if_full(self) -> None:
        """Before the recording is read, so that who is refused costs nothing; those who come at once may pass it."""
        self._refuse_over_quota()
        most = self.settings.max_queued_calls
        if calls.as_many_wait(self.database, most):
            detail = f"{most} calls wait to be scored and no more are taken; nothing was stored, send it again later"
            raise refusal(503, "queue full", detail, {"retry-after": "60"})

    def accept(self, upload: Upload, metadata: Metadata, place: int = 0) -> Accepted:
        """`place`: in the request, if it sends several. Raises Refused, CallError or OSError."""
        refuse_unreadable(upload.path, self.settings, self.settings.max_upload_bytes)
        call = NewCall(
            id=self.once.new_id(place),
            tenant_id=self.caller.tenant_id,
            key_prefix=self.caller.key.prefix if self.caller.key else None,
            sender=self.caller.name,
            recording_sha256=upload.sha256,
            recording_bytes=upload.size,
            media_type=media_type(upload.head),
            details=metadata.model_dump_json(exclude_none=True),
            collector_id=metadata.collector_id,
            agency=metadata.agency,
            collector_channel=metadata.collector_channel,
            called_at=metadata.called_at or datetime.now(UTC),
        )
        if not self._is_there(call.id):
            place_recording = partial(self.recordings.keep, upload.path, call.tenant_id, upload.sha256)
            try:
                calls.accept(self.database, call, place_recording, self.jobs.put)
            except BaseException:
                calls.forget_unused(self.database, call.tenant_id, upload.sha256, self.recordings.forget)
                raise
            _log.info("call %s accepted: %d bytes", call.id, upload.size)
        return Accepted(id=call.id, status=Status.QUEUED)

    def accept_object(self, wanted: ObjectCall, place: int = 0) -> Accepted:
        """Fetches it first. Raises Refused, CallError or OSError."""
        call_id = self.once.new_id(place)
        if self._is_there(call_id):
            return Accepted(id=call_id, status=Status.QUEUED)
        prefixes = Prefixes.read(self.settings.object_prefixes).of(self.caller.tenant_id)
        largest = self.settings.max_upload_bytes
        with incoming(self.recordings.incoming, largest) as file:
            for chunk in fetch(wanted.object, prefixes, largest):
                file.take(chunk)
                file.write()
                self.once.still_here()
            return self.accept(file.finish(), wanted.metadata, place)

    def has(self, place: int) -> bool:
        """The call at this place of the request."""
        return self._is_there(self.once.new_id(place))

    def _is_there(self, call_id: str) -> bool:
        """Accepted by an earlier attempt at this request, whose end nobody saw."""
        return self.once.is_claimed and calls.find(self.database, self.caller.tenant_id, call_id) is not None

    def _refuse_over_quota(self) -> None:
        key = self.caller.key
        if key is None or key.calls_per_day is None:
            return
        if calls.sent_since(self.database, key.prefix, datetime.now(UTC) - timedelta(days=1)) >= key.calls_per_day:
            detail = f"this key may send {key.calls_per_day} calls in 24 hours; send it again later"
            raise refusal(429, "quota used up", detail, {"retry-after": "3600"})


def _intake(
    *,
    caller: Ingesting,
    once: OnceDep,
    settings: SettingsDep,
    database: DatabaseDep,
    recordings: RecordingsDep,
    jobs: JobsDep,
) -> Intake:
    return Intake(caller, once, settings, database, recordings, jobs)


IntakeDep = Annotated[Intake, Depends(_intake)]
