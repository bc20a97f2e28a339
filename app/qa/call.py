"""One call: what was said, what the machine found in it, what people decided, and its sound."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Header, Request, Response

from app import audit, calls, keys, review_queue, reviews
from app.access import Caller
from app.audit import Action
from app.calls import Call, Status
from app.deps import DatabaseDep, RecordingsDep, SettingsDep
from app.keys import Role
from app.page import WAVEFORM_BARS
from app.pages import HEADERS
from app.qa.deps import Screen, ScreenDep, SignedIn
from app.qa.filters import read_filters
from app.qa.listening import Hearing, Listener
from app.qa.pages import PREFIX, pages_of
from app.qa.route import qa_router
from app.qa.transcript import UTTERANCES_A_PAGE, Heard, conversation, first_to_decide, part_of
from app.ranges import Asked, answer
from app.reviews import Review
from app.trouble import Trouble
from models.call import KINDS, Label
from pipelines.redaction import redact_report
from pipelines.report import Report

router = qa_router("/calls/{call_id}")

LONGEST_NOTE = 4000  # characters, as the API has it


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A done call as the one who asks may see it. `whole`: its report with nothing masked, not to be shown."""

    call: Call
    whole: Report
    report: Report
    redacted: bool


def open_call(call_id: str, caller: SignedIn, database: DatabaseDep, request: Request) -> OpenCall:
    """Raises Trouble, the same for another tenant's call as for none."""
    call = calls.find(database, caller.tenant_id, call_id)
    if call is None:
        listener_of(request).forget(call_id)
        raise Trouble(404, "unknown_call")
    stored = calls.outcome(database, call_id).report
    if stored is None:
        raise Trouble(409, "failed_call" if call.status is Status.FAILED else "not_done")
    report = Report.model_validate_json(stored)
    redacted = not caller.may(Role.UNREDACTED)
    return OpenCall(call, report, redact_report(report) if redacted else report, redacted)


def listener_of(request: Request) -> Listener:
    return cast(Listener, request.app.state.qa_listener)


OpenCallDep = Annotated[OpenCall, Depends(open_call)]
ListenerDep = Annotated[Listener, Depends(listener_of)]


@router.get("")
def call_page(
    *, screen: ScreenDep, opened: OpenCallDep, database: DatabaseDep, at: int = -1, part: int = 0, play: int = 0
) -> Response:
    """`at`: the utterance that is selected; `part`: of a long conversation; `play`: 1 to begin at the selected one."""
    if not opened.redacted:
        audit.record_look(database, screen.caller.tenant_id, screen.caller.name, Action.REPORT_SEEN, opened.call.id)
    return show_call(screen, opened, database, at=at, part=part, play=play == 1)


def show_call(
    screen: Screen,
    opened: OpenCall,
    database: DatabaseDep,
    *,
    at: int = -1,
    part: int = 0,
    play: bool = False,
    status: int = 200,
    alert: str = "",
    note: str = "",
) -> Response:
    reviewed = reviews.of_call(database, opened.call.id)
    said = conversation(opened.report, reviewed, redacted=opened.redacted)
    if not 0 <= at < len(said):
        at = first_to_decide(said) if part < 1 else min((part - 1) * UTTERANCES_A_PAGE, max(0, len(said) - 1))
    part = part_of(at)
    queue = screen.request.query_params.get("queue", "")
    filters = read_filters(screen.caller.tenant_id, queue)
    place = review_queue.place_of(database, screen.caller.tenant_id, opened.call.id, filters.wanted.label)
    following = review_queue.page(database, filters.wanted, place, 1) if place else []
    return screen.show(
        "call.html",
        status,
        **shared(screen.caller, opened, database, reviewed),
        at=at,
        **facts(database, opened, said),
        details=_details(opened.call),
        said=said[(part - 1) * UTTERANCES_A_PAGE : part * UTTERANCES_A_PAGE],
        flagged=[one.machine.index for one in said if one.accused],
        part=part,
        parts=max(1, part_of(len(said) - 1)),
        play=play,
        queue=filters.query,
        following=following[0] if following else None,
        newest=max((review.number for review in reviewed), default=0),
        alert=alert,
        note=note,
        bars=WAVEFORM_BARS,
    )


@dataclass(frozen=True, slots=True)
class Details:
    """As the sender told them; empty where not."""

    reference: str
    collector: str
    agency: str
    direction: str
    called_at: datetime


def _details(call: Call) -> Details:
    told = json.loads(call.details)
    at = told.get("called_at")
    return Details(
        reference=told.get("call_id") or call.id,
        collector=told.get("collector_id") or "",
        agency=told.get("agency") or "",
        direction=told.get("direction") or "",
        called_at=datetime.fromisoformat(at) if at else call.received_at,
    )


def shared(caller: Caller, opened: OpenCall, database: DatabaseDep, reviewed: list[Review]) -> dict[str, object]:
    """What one utterance needs to be shown."""
    known = reviewers(database, caller.tenant_id)
    return {
        "base": f"{PREFIX}/calls/{opened.call.id}",
        "names": {review.reviewer: known.get(review.reviewer) or review.reviewer for review in reviewed},
        "me": caller.name,
        "may_review": caller.may(Role.REVIEW),
        "all_kinds": KINDS,
        "all_labels": list(Label),
        "longest": LONGEST_NOTE,
    }


def reviewers(database: DatabaseDep, tenant_id: str) -> dict[str, str]:
    """Under which names, if any, a tenant knows its keys; by the names under which reviews are stored."""
    return {f"key:{key.prefix}": key.name for key in keys.listed(database, tenant_id)}


def facts(database: DatabaseDep, opened: OpenCall, said: list[Heard]) -> dict[str, object]:
    """What changes with each decision."""
    flagged = [one for one in said if one.accused]
    return {
        "opened": opened,
        "count": len(flagged),
        "decided": sum(one.decision is not None for one in flagged),
        "verdict": reviews.current_verdict(database, opened.call.id),
    }


@router.get("/wave/{channel}.svg")
def waveform(
    *,
    channel: int,
    request: Request,
    opened: OpenCallDep,
    listener: ListenerDep,
    recordings: RecordingsDep,
    settings: SettingsDep,
) -> Response:
    channels = listener.bars(Hearing(opened.call, opened.whole, opened.redacted, recordings, settings))
    if not 0 <= channel < len(channels):
        raise Trouble(404, "nothing_here")
    drawn = pages_of(request).draw("wave.svg", peaks=channels[channel], bars=WAVEFORM_BARS)
    return Response(drawn, media_type="image/svg+xml", headers=HEADERS)


@router.head("/sound")
@router.get("/sound")
def sound(
    *,
    request: Request,
    caller: SignedIn,
    opened: OpenCallDep,
    database: DatabaseDep,
    listener: ListenerDep,
    recordings: RecordingsDep,
    settings: SettingsDep,
    range: Annotated[str | None, Header()] = None,  # noqa: A002 - the header's name
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    if not opened.redacted and request.method == "GET":
        audit.record_look(database, caller.tenant_id, caller.name, Action.AUDIO_HEARD, opened.call.id)
    made = listener.sound(Hearing(opened.call, opened.whole, opened.redacted, recordings, settings))
    asked = Asked(range, if_range, request.method == "HEAD")
    response = answer(
        asked, len(made.content), made.sha256, "audio/mpeg", lambda start, stop: iter((made.content[start:stop],))
    )
    # The next one at this browser may have another key, which hears less.
    response.headers["cache-control"] = "no-store"
    return response
