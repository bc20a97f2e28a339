"""One recording of a case: the conversation, what is flagged in it, its sound, and what the borrower corrects."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header, Request, Response

from app import calls, cases, corrections
from app.borrowers.deps import (
    CaseWithForm,
    FieldsDep,
    ListenerDep,
    PagesDep,
    RecordingDep,
    RulesDep,
    VisitedCase,
    path_of,
    recording_of,
)
from app.borrowers.forms import LONGEST_LINE, told_of
from app.borrowers.route import pages_router
from app.borrowers.timeline import when
from app.borrowers.transcript import FLAGGED_A_PAGE, UTTERANCES_A_PAGE, conversation, kinds_in, page_of
from app.calls import Status
from app.cases import Case, CaseRecording
from app.corrections import Correction
from app.deps import DatabaseDep, JobsDep, RecordingsDep
from app.erasure import overwrite_deleted
from app.page import WAVEFORM_BARS
from app.pages import HEADERS, go
from app.ranges import Asked, answer
from app.trouble import Trouble
from models.call import KINDS, Speaker
from pipelines.report import Report

router = pages_router("/case/{link}/recordings/{call_id}")

_LONGEST_CORRECTION = 5000


@router.get("")
def result_page(
    *,
    link: str,
    request: Request,
    case: VisitedCase,
    recording: RecordingDep,
    database: DatabaseDep,
    pages: PagesDep,
    rules: RulesDep,
    part: int = 1,
    flagged: int = 1,
    edit: int = -1,
) -> Response:
    """`part`: of a long conversation; `flagged`: part of what is flagged in it.

    `edit`: the utterance whose form is open, for browsers without script.
    """
    if recording.status is not Status.DONE:
        return go(path_of(link))
    report = report_of(database, recording.call_id)
    said = conversation(report, corrections.of_call(database, recording.call_id), recording.roles_swapped)
    parts = max(1, -(-len(said) // UTTERANCES_A_PAGE))
    part = min(max(part, 1), parts)
    all_flagged = [one for one in said if one.flagged]
    flagged_parts = max(1, -(-len(all_flagged) // FLAGGED_A_PAGE))
    flagged = min(max(flagged, 1), flagged_parts)
    return pages.show(
        request,
        "recording.html",
        case=case,
        path=path_of(link),
        recording=recording,
        number=_number(database, case, recording),
        report=report,
        said=said[(part - 1) * UTTERANCES_A_PAGE : part * UTTERANCES_A_PAGE],
        accused=sum(one.accused for one in all_flagged),
        flagged=all_flagged[(flagged - 1) * FLAGGED_A_PAGE : flagged * FLAGGED_A_PAGE],
        flagged_part=flagged,
        flagged_parts=flagged_parts,
        found=kinds_in(said),
        part=part,
        parts=parts,
        edit=edit,
        page_of=page_of,
        when=when(recording),
        rules=rules,
        all_kinds=KINDS,
        all_speakers=list(Speaker),
        bars=WAVEFORM_BARS,
        longest=LONGEST_LINE,
        longest_correction=_LONGEST_CORRECTION,
    )


@router.get("/wave/{channel}.svg")
def waveform(
    channel: int, case: VisitedCase, recording: RecordingDep, listener: ListenerDep, pages: PagesDep
) -> Response:
    channels = listener.bars(case.id, recording)
    if not 0 <= channel < len(channels):
        raise Trouble(404, "nothing_here")
    drawn = pages.draw("wave.svg", peaks=channels[channel], bars=WAVEFORM_BARS)
    return Response(drawn, media_type="image/svg+xml", headers={**HEADERS, "cache-control": "private, max-age=3600"})


@router.head("/sound")
@router.get("/sound")
def sound(
    *,
    request: Request,
    case: VisitedCase,
    recording: RecordingDep,
    recordings: RecordingsDep,
    listener: ListenerDep,
    range: Annotated[str | None, Header()] = None,  # noqa: A002 - the header's name
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    made = listener.sound(case.id, recording)
    return answer(
        Asked(range, if_range, request.method == "HEAD"),
        made.bytes,
        made.sha256,
        "audio/mpeg",
        lambda start, stop: recordings.read(case.id, made.sha256, start, stop),
    )


@router.post("/corrections")
def correct(link: str, call_id: str, case: CaseWithForm, fields: FieldsDep, database: DatabaseDep) -> Response:
    """Kept beside the machine's text, and beside what another page corrected meanwhile."""
    recording = recording_of(database, case, call_id)
    report = report_of(database, recording.call_id)
    try:
        utterance, seen = int(fields["utterance"]), int(fields["seen"])
        speaker = Speaker(fields["speaker"])
        report.utterances[utterance if utterance >= 0 else len(report.utterances)]
    except (KeyError, ValueError, IndexError):
        raise Trouble(422, "form") from None
    text = fields.get("text", "").strip()
    if len(text) > _LONGEST_CORRECTION:
        raise Trouble(413, "correction_too_long", longest=_LONGEST_CORRECTION)
    new = Correction(0, utterance, text, speaker, seen, datetime.now(UTC))
    corrections.add(database, case.id, cases.BORROWER, recording.call_id, new)
    return go(f"{path_of(link)}/recordings/{call_id}?part={page_of(utterance)}#u{utterance}")


@router.post("/roles")
def swap_roles(link: str, call_id: str, case: CaseWithForm, fields: FieldsDep, database: DatabaseDep) -> Response:
    cases.swap_roles(database, case.id, recording_of(database, case, call_id).call_id, fields.get("swapped") == "yes")
    return go(f"{path_of(link)}/recordings/{call_id}")


@router.post("/told")
def tell(link: str, call_id: str, case: CaseWithForm, fields: FieldsDep, database: DatabaseDep) -> Response:
    told, whole = told_of(fields)
    cases.tell(database, case.id, recording_of(database, case, call_id).call_id, told)
    return go(f"{path_of(link)}?notice={'saved' if whole else 'not_whole'}")


@router.get("/delete")
def ask_before_delete(
    *, link: str, request: Request, case: VisitedCase, recording: RecordingDep, database: DatabaseDep, pages: PagesDep
) -> Response:
    number = _number(database, case, recording)
    return pages.show(
        request, "delete_recording.html", case=case, path=path_of(link), recording=recording, number=number
    )


@router.post("/delete")
def delete_recording(
    *,
    link: str,
    call_id: str,
    case: CaseWithForm,
    database: DatabaseDep,
    recordings: RecordingsDep,
    jobs: JobsDep,
) -> Response:
    cases.remove_recording(database, case.id, call_id, recordings.forget, jobs.drop)
    overwrite_deleted(database)
    return go(f"{path_of(link)}?notice=recording_deleted")


def report_of(database: DatabaseDep, call_id: str) -> Report:
    stored = calls.outcome(database, call_id).report
    if stored is None:
        raise Trouble(404, "unknown_recording")
    return Report.model_validate_json(stored)


def _number(database: DatabaseDep, case: Case, recording: CaseRecording) -> int:
    """Of the recording in its case, from 1."""
    return [r.call_id for r in cases.recordings(database, case.id)].index(recording.call_id) + 1
