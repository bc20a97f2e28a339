"""/v1/calls: recordings in, reports out."""

import base64
import logging
import re
from typing import Annotated

import sqlalchemy as sa
from fastapi import Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app import audit, calls
from app.access import Administering, Caller, Reading
from app.audit import Action
from app.calls import Call, Status, Wanted
from app.decoding import decode_limits
from app.deps import DatabaseDep, JobsDep, RecordingsDep, SettingsDep
from app.erasure import overwrite_deleted
from app.errors import refusal
from app.incoming import Upload
from app.keys import Role
from app.lenders import audio
from app.lenders.intake import Intake, IntakeDep
from app.lenders.schemas import (
    Accepted,
    CallPage,
    CallResult,
    CallSummary,
    Metadata,
    ObjectCall,
    WrittenMetadata,
    parsed,
)
from app.lenders.uploads import receive_bare, receive_form
from app.logs import where
from app.moments import Moment
from app.ranges import Asked
from app.routes import StreamRoute, read_body, tenant_router
from models.call import Label
from pipelines.redaction import redact_report
from pipelines.report import Report

_log = logging.getLogger(__name__)

_RECORDING = {"schema": {"type": "string", "format": "binary", "description": "The recording"}}
_BODIES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {"file": _RECORDING["schema"], "metadata": {"$ref": "#/components/schemas/Metadata"}},
                },
                "encoding": {"metadata": {"contentType": "application/json"}},
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/ObjectCall"}},
            "audio/*": _RECORDING,
        },
    }
}
_BARE = re.compile(r"(audio|video)/.+|application/(ogg|octet-stream)")
_JSON_BYTES = 64 * 1024

router = tenant_router("/v1/calls", "calls", StreamRoute)


@router.post("", status_code=202, openapi_extra=_BODIES)
async def upload_call(
    *,
    intake: IntakeDep,
    request: Request,
    response: Response,
    metadata: Annotated[WrittenMetadata, Query(description="Of a call whose body is the recording alone")],
) -> Accepted:
    """Takes a recording: as a form, as the body alone, or as an object to fetch from an agreed bucket.

    Its report is at the `Location` that is answered, once it is done.
    """
    once, folder, largest = intake.once, intake.recordings.incoming, intake.settings.max_upload_bytes
    if not await once.is_known():
        await run_in_threadpool(intake.refuse_if_full)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _BARE.fullmatch(kind):
        async with receive_bare(request, folder, largest) as upload:
            accepted = await _accept(intake, upload, metadata)
    elif metadata.model_fields_set:
        raise refusal(422, "misplaced metadata", "only with a bare recording do metadata stand in the address")
    elif kind == "multipart/form-data":
        async with receive_form(request, folder, largest) as (upload, told):
            accepted = await _accept(intake, upload, parsed(Metadata, told, "metadata") if told else Metadata())
    elif kind == "application/json":
        wanted = parsed(ObjectCall, await read_body(request, _JSON_BYTES))
        await once.enter(wanted.model_dump_json(exclude_none=True))
        accepted = await run_in_threadpool(intake.accept_object, wanted)
    else:
        raise refusal(
            415,
            "unsupported media type",
            "send the recording as audio/*, as multipart/form-data with the part 'file', or an object as"
            " application/json",
        )
    response.headers["location"] = f"/v1/calls/{accepted.id}"
    return accepted


@router.get("")
def list_calls(
    *,
    caller: Reading,
    database: DatabaseDep,
    status: Status | None = None,
    label: Annotated[Label | None, Query(description="Calls in whose report `labels` has it")] = None,
    collector_id: Annotated[str | None, Query(max_length=200)] = None,
    called_from: Annotated[
        Moment | None, Query(description="By called_at, or the time of receipt where it is not known")
    ] = None,
    called_before: Moment | None = None,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before", max_length=40, examples=["MTAwMA"])
    ] = None,
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
    return audio.stream_redacted(call, Report.model_validate_json(report), recordings, decode_limits(settings), asked)


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


async def _accept(intake: Intake, upload: Upload, metadata: Metadata) -> Accepted:
    # By what is stored, not by the body: a form that is sent again has another boundary.
    await intake.once.enter(upload.sha256, metadata.model_dump_json(exclude_none=True))
    return await run_in_threadpool(intake.accept, upload, metadata)


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
        number = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        number = 0
    if not 0 < number < 2**63 or _cursor(number) != cursor:
        raise refusal(422, "unknown cursor", "send a cursor as it was given in next_cursor")
    return number
