"""A file from a stranger -> a recording of a case, queued to be scored; however often it is sent, once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from uuid import uuid4

import sqlalchemy as sa
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from app import calls, cases
from app.borrowers.forms import hear_out
from app.borrowers.uploads import handed_in, hashed
from app.calls import NewCall
from app.cases import Secrets, Told
from app.config import Settings
from app.decoding import refuse_unreadable
from app.deps import DatabaseDep, JobsDep, RecordingsDep, SettingsDep
from app.forms import Fields
from app.incoming import Upload
from app.jobs import JobQueue
from app.pages import CHINA
from app.recordings import Recordings, media_type
from app.trouble import Trouble
from models.errors import CallError

_OTHER_IS_DONE_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Intake:
    settings: Settings
    database: sa.Engine
    recordings: Recordings
    jobs: JobQueue

    def take_sent(self, new: Secrets | str, fields: Fields, file: Upload | None, told: Told) -> None:
        """The form's file, or the upload that it names. Raises as take(), and Trouble if it has neither."""
        if file is not None:
            self.take(new, [file], told)
        elif not fields.get("upload"):
            raise Trouble(422, "no_file")
        elif not self.take_upload(new, fields["upload"], told):
            raise Trouble(404, "upload_gone")

    def take(self, new: Secrets | str, files: Sequence[Upload], told: Told) -> None:
        """All or none. Raises CallError if one is no recording, CaseGone if the case was deleted."""
        for file in files:
            self._refuse_unreadable(file)
        for file in files:
            self._accept(new, file, told, None)

    def take_upload(self, new: Secrets | str, name: str, told: Told) -> bool:
        """False if there is no such upload, and none of this name came before. Raises as take(), and Trouble."""
        upload = hashed(name)
        with handed_in(self.recordings.incoming, name) as file:
            if file is not None:
                try:
                    self._refuse_unreadable(file)
                except CallError:
                    file.path.unlink(missing_ok=True)  # it does not get better by being sent once more
                    raise
                self._accept(new, file, told, upload)
                return True
        # A second click: the first one's request has moved the file and is about to be done.
        case_id = new if isinstance(new, str) else new.case_id
        deadline = time.monotonic() + _OTHER_IS_DONE_WITHIN_S
        while not (done := cases.has_recording(self.database, case_id, upload=upload)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return done

    def _refuse_unreadable(self, file: Upload) -> None:
        refuse_unreadable(file.path, self.settings, self.settings.borrower_upload_bytes)

    def _accept(self, new: Secrets | str, file: Upload, told: Told, upload: str | None) -> None:
        case_id = new if isinstance(new, str) else new.case_id
        if cases.has_recording(self.database, case_id, sha256=file.sha256):
            return
        call = NewCall(
            id=str(uuid4()),
            tenant_id=case_id,
            key_prefix=None,
            sender=cases.BORROWER,
            recording_sha256=file.sha256,
            recording_bytes=file.size,
            media_type=media_type(file.head),
            details="{}",
            collector_id=None,
            agency=None,
            collector_channel=None,
            called_at=_called_at(told),
        )

        def enqueue(connection: sa.Connection, call_id: str) -> None:
            cases.add_recording(
                connection,
                new,
                call_id=call_id,
                sha256=file.sha256,
                upload=upload,
                told=told,
                days=self.settings.borrower_days,
            )
            self.jobs.put(connection, call_id)

        for last in (False, True):
            try:
                calls.accept(
                    self.database, call, partial(self.recordings.keep, file.path, case_id, file.sha256), enqueue
                )
            except sa.exc.IntegrityError:
                # The same form at the same moment: the other request has stored this recording, or made the case.
                if cases.has_recording(self.database, case_id, sha256=file.sha256):
                    return
                if last:
                    raise
            except BaseException:
                calls.forget_unused(self.database, case_id, file.sha256, self.recordings.forget)
                raise
            else:
                return


def _called_at(told: Told) -> datetime:
    if not told.called_on:
        return datetime.now(UTC)
    return datetime.fromisoformat(f"{told.called_on}T{told.called_time or '12:00'}").replace(tzinfo=CHINA)


def _intake(settings: SettingsDep, database: DatabaseDep, recordings: RecordingsDep, jobs: JobsDep) -> Intake:
    return Intake(settings, database, recordings, jobs)


async def _with_room(request: Request, intake: Annotated[Intake, Depends(_intake)]) -> Intake:
    """Before the file is read, so that who is refused costs no disk. Raises Trouble."""
    if await run_in_threadpool(calls.as_many_wait, intake.database, intake.settings.max_queued_calls):
        await hear_out(request, intake.settings.borrower_upload_bytes)
        raise Trouble(503, "busy", {"retry-after": "60"})
    return intake


IntakeDep = Annotated[Intake, Depends(_with_room)]
