"""/v1/calls: recordings in, reports out."""

import base64
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import sqlalchemy as sa
from fastapi import Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, ValidationError
from starlette.concurrency import run_in_threadpool

from app import audit, calls
from app.access import Administering, Caller, Ingesting, Reading
from app.audit import Action
from app.calls import Call, NewCall, Status, Wanted
from app.config import Settings
from app.deps import DatabaseDep, JobsDep, RecordingsDep, SettingsDep
from app.erasure import overwrite_deleted
from app.errors import refusal
from app.jobs import JobQueue
from app.keys import Role
from app.lenders import audio
from app.lenders.audio import Asked
from app.lenders.schemas import Accepted, CallPage, CallResult, CallSummary, Metadata
from app.lenders.uploads import Upload, receive
from app.logs import where
from app.recordings import Recordings, media_type
from app.routes import StreamRoute, tenant_router
from models.call import Label
from models.errors import TooLong
from pipelines.decode import DecodeLimits, decode
from pipelines.redaction import redact_report
from pipelines.report import Report

_log = logging.getLogger(__name__)

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The recording"},
                        "metadata": Metadata.model_json_schema(),
                    },
                }
            }
        },
    }
}
_PROBE_S = 1.0

router = tenant_router("/v1/calls", "calls", StreamRoute)


@router.post("", status_code=202, openapi_extra=_FORM)
async def upload_call(
    *,
    caller: Ingesting,
    request: Request,
    response: Response,
    settings: SettingsDep,
    database: DatabaseDep,
    recordings: RecordingsDep,
    jobs: JobsDep,
) -> Accepted:
    """Takes a recording. Its report is at the `Location` that is answered, once it is done."""
    await run_in_threadpool(_refuse_over_quota, caller, database)
    async with receive(request, recordings.incoming, settings.max_upload_bytes) as upload:
        metadata = _metadata(upload.metadata)
        await run_in_threadpool(_refuse_unreadable, upload.path, settings)
        call_id = await run_in_threadpool(
            _accept,
            caller=caller,
            upload=upload,
            metadata=metadata,
            database=database,
            recordings=recordings,
            jobs=jobs,
        )
    response.headers["location"] = f"/v1/calls/{call_id}"
    return Accepted(id=call_id, status=Status.QUEUED)


@router.get("")
def list_calls(
    *,
    caller: Reading,
    database: DatabaseDep,
    status: Status | None = None,
    label: Annotated[Label | None, Query(description="Calls in whose report `labels` has it")] = None,
    collector_id: str | None = None,
    called_from: Annotated[
        AwareDatetime | None, Query(description="By called_at, or the time of receipt where it is not known")
    ] = None,
    called_before: AwareDatetime | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> CallPage:
    wanted = Wanted(caller.tenant_id, status, label, collector_id, called_from, called_before)
    found = calls.page(database, wanted, _number(cursor) if cursor else None, limit + 1)
    shown = found[:limit]
    following = _cursor(shown[-1].number) if len(found) > limit else None
    return CallPage(calls=[CallSummary.of(call) for call in shown], next_cursor=following)


@router.get("/{call_id}")
def read_call(caller: Reading, call_id: str, database: DatabaseDep) -> CallResult:
    """Numbers and addresses in the report are masked, unless the key has the role `unredacted`."""
    result = CallResult.with_outcome(_known(database, caller, call_id), calls.outcome(database, call_id))
    if result.report is None:
        return result
    if not caller.may(Role.UNREDACTED):
        return result.model_copy(update={"report": redact_report(result.report)})
    audit.record_look(database, caller.tenant_id, caller.name, Action.REPORT_SEEN, call_id)
    return result


@router.head("/{call_id}/audio", response_class=Response, include_in_schema=False)
@router.get("/{call_id}/audio", response_class=Response)
def read_audio(
    *,
    caller: Reading,
    request: Request,
    call_id: str,
    database: DatabaseDep,
    recordings: RecordingsDep,
    settings: SettingsDep,
    range: Annotated[str | None, Header()] = None,  # noqa: A002 - the header's name
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """The recording as it was sent for keys with the role `unredacted`, else redacted; understands Range."""
    call = _known(database, caller, call_id)
    asked = Asked(range, if_range, request.method == "HEAD")
    if caller.may(Role.UNREDACTED):
        if not asked.head_only:
            audit.record_look(database, caller.tenant_id, caller.name, Action.AUDIO_HEARD, call_id)
        return audio.stream(call, recordings, asked)
    report = calls.outcome(database, call_id).report
    if report is None:
        raise refusal(
            409, "not redacted yet", "the call is not done yet, and its recording is redacted by what was heard in it"
        )
    limits = DecodeLimits(longest_s=settings.max_recording_seconds, largest_bytes=settings.max_upload_bytes)
    return audio.stream_redacted(call, Report.model_validate_json(report), recordings, limits, asked)


@router.delete("/{call_id}", status_code=204)
def delete_call(
    caller: Administering, call_id: str, database: DatabaseDep, recordings: RecordingsDep, jobs: JobsDep
) -> None:
    """Removes report and rows, and the recording unless another call has the same. A running job is stopped."""
    if not calls.remove(database, caller.tenant_id, caller.name, call_id, recordings.forget):
        raise _unknown(call_id)
    overwrite_deleted(database)
    try:
        jobs.drop(call_id)
    except sa.exc.SQLAlchemyError as error:
        # The call is gone already, and a job without its call does nothing.
        _log.warning("the job of removed call %s is left to the sweep: %s", call_id, where(error))


def _metadata(sent: bytes | None) -> Metadata:
    try:
        return Metadata.model_validate_json(sent) if sent else Metadata()
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise RequestValidationError([{**fault, "loc": ("metadata", *fault["loc"])} for fault in faults]) from None


def _refuse_over_quota(caller: Caller, database: sa.Engine) -> None:
    """Before the recording is read, so that a sender over its quota costs nothing; uploads at once may pass it."""
    quota = caller.key.calls_per_day if caller.key else None
    if caller.key is None or quota is None:
        return
    if calls.sent_since(database, caller.key.prefix, datetime.now(UTC) - timedelta(days=1)) >= quota:
        detail = f"this key may send {quota} calls in 24 hours; send it again later"
        raise refusal(429, "quota used up", detail, {"retry-after": "3600"})


def _refuse_unreadable(path: Path, settings: Settings) -> None:
    """Decodes the start, so that what is no recording is told at once and not by a failed call."""
    longest_s = settings.max_recording_seconds
    try:
        with decode(path, DecodeLimits(longest_s=min(_PROBE_S, longest_s), largest_bytes=settings.max_upload_bytes)):
            pass
    except TooLong as error:
        # It goes on after the start, as it should. Not every file states its length; the rest is found in scoring.
        if error.stated_s is not None and error.stated_s > longest_s:
            raise TooLong(longest_s) from None


def _accept(
    *, caller: Caller, upload: Upload, metadata: Metadata, database: sa.Engine, recordings: Recordings, jobs: JobQueue
) -> str:
    call = NewCall(
        id=str(uuid4()),
        tenant_id=caller.tenant_id,
        key_prefix=caller.key.prefix if caller.key else None,
        sender=caller.name,
        recording_sha256=upload.sha256,
        recording_bytes=upload.size,
        media_type=media_type(upload.head),
        details=metadata.model_dump_json(exclude_none=True),
        collector_id=metadata.collector_id,
        agency=metadata.agency,
        collector_channel=metadata.collector_channel,
        called_at=metadata.called_at or datetime.now(UTC),
    )
    try:
        calls.accept(database, call, partial(recordings.keep, upload.path, caller.tenant_id, upload.sha256), jobs.put)
    except BaseException:
        calls.forget_unused(database, caller.tenant_id, upload.sha256, recordings.forget)
        raise
    _log.info("call %s accepted: %d bytes", call.id, upload.size)
    return call.id


def _known(database: sa.Engine, caller: Caller, call_id: str) -> Call:
    call = calls.find(database, caller.tenant_id, call_id)
    if call is None:
        raise _unknown(call_id)
    return call


def _unknown(call_id: str) -> Exception:
    return refusal(404, "unknown call", f"there is no call {call_id}; it was never accepted, or it was deleted")


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % number).decode().rstrip("=")


def _number(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise refusal(422, "unknown cursor", "send a cursor as it was given in next_cursor") from None
