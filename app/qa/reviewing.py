"""What an analyst decides about an utterance, saved at once; by the page's script, or by a form where there is none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

import sqlalchemy as sa
from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse

from app import reviews
from app.access import Caller
from app.deps import DatabaseDep
from app.pages import HEADERS, go, short_clock
from app.qa.call import LONGEST_NOTE, OpenCall, OpenCallDep, facts, reviewers, shared, show_call
from app.qa.deps import FieldsDep, Screen, ScreenDep, SignedIn, SignedInReviewer
from app.qa.pages import PREFIX, pages_of
from app.qa.route import qa_router, wants_json
from app.qa.transcript import conversation
from app.reviews import Kind, NewReview, NothingToWithdraw, Overtaken, Review, Ruling
from app.trouble import Trouble
from app.words import Language, Words
from models.call import KINDS, Label
from pipelines.evidence.words import LABELS
from pipelines.report import UtterancePart

router = qa_router("/calls/{call_id}")

SEVERAL, NOTE = "several", "note"


@dataclass(frozen=True, slots=True)
class Desk:
    """An analyst before an open call."""

    screen: Screen
    opened: OpenCall
    database: sa.Engine

    @property
    def request(self) -> Request:
        return self.screen.request

    @property
    def caller(self) -> Caller:
        return self.screen.caller

    @property
    def words(self) -> Words:
        return pages_of(self.request).words(self.request)

    @property
    def reviewed(self) -> list[Review]:
        return reviews.of_call(self.database, self.opened.call.id)

    def name_of(self, review: Review) -> str:
        return reviewers(self.database, self.caller.tenant_id).get(review.reviewer) or review.reviewer


def _desk(screen: ScreenDep, opened: OpenCallDep, database: DatabaseDep) -> Desk:
    return Desk(screen, opened, database)


DeskDep = Annotated[Desk, Depends(_desk)]


@router.post("/utterances/{index}/reviews")
def review(index: int, caller: SignedInReviewer, desk: DeskDep, fields: FieldsDep) -> Response:
    """Refused where another has decided about the utterance since the page was opened; sent again, both are kept."""
    opened = desk.opened
    if not 0 <= index < len(opened.whole.utterances):
        raise Trouble(404, "unknown_utterance")
    new, seen = _new_review(desk, opened.whole.utterances[index], fields), _number(fields.get("seen", ""))
    try:
        reviews.add(desk.database, caller.tenant_id, caller.name, new, opened.whole, seen=seen)
    except Overtaken as overtaken:
        told = desk.words("saying.overtaken", who=desk.name_of(overtaken.by))
        if wants_json(desk.request):
            return _changed(desk, [index], told, 409)
        return show_call(desk.screen, opened, desk.database, at=index, status=409, alert=told, note=new.note)
    if new.kind is Kind.NOTE:
        return _after(desk, index, desk.words("saying.noted"))
    return _after(desk, index, desk.words("saying.saved", what=_in_words(desk.words, new.labels)))


@router.post("/undo")
def undo(caller: SignedInReviewer, desk: DeskDep, fields: FieldsDep) -> Response:
    """`review`: the id of the one to take back; without it the last that the analyst gave in this call."""
    standing, wanted = reviews.in_force(desk.reviewed), fields.get("review", "")
    found = next((r for r in standing if r.id == wanted), None) if wanted else reviews.last_of(standing, caller.name)
    if found is None and not wanted and wants_json(desk.request):
        return _changed(desk, [], desk.words("saying.nothing_to_undo"))
    if found is None:
        raise Trouble(404, "unknown_review")
    if found.reviewer != caller.name:
        raise Trouble(403, "not_yours")
    if reviews.last_of(standing, caller.name, found.utterance) != found:
        raise Trouble(409, "unknown_review")
    new = NewReview(desk.opened.call.id, found.utterance, Kind.WITHDRAWAL, None, (), "")
    try:
        reviews.add(desk.database, caller.tenant_id, caller.name, new, desk.opened.whole)
    except NothingToWithdraw:  # another tab was quicker
        raise Trouble(404, "unknown_review") from None
    return _after(desk, found.utterance, desk.words("saying.undone"))


@router.get("/news")
def news(caller: SignedIn, desk: DeskDep, since: int = 0) -> Response:
    """What others have reviewed after the review of this number, for the page's script."""
    later = [review for review in desk.reviewed if review.number > since and review.reviewer != caller.name]
    told = ""
    if later:
        last, words = later[-1], desk.words
        what = _in_words(words, last.labels) if last.verdict is not None else words(f"saying.kind_{last.kind}")
        at = short_clock(desk.opened.report.utterances[last.utterance].start)
        told = words("saying.others", who=desk.name_of(last), clock=at, what=what)
    return _changed(desk, sorted({review.utterance for review in later}), told)


def _new_review(desk: Desk, utterance: UtterancePart, fields: Mapping[str, str]) -> NewReview:
    call_id, caller = desk.opened.call.id, desk.caller
    note, wanted = fields.get("note", "").strip(), fields.get("save", "")
    if len(note) > LONGEST_NOTE:
        raise Trouble(413, "note_too_long", longest=LONGEST_NOTE)
    if wanted == NOTE:
        if not note:
            raise Trouble(422, "empty_note")
        return NewReview(call_id, utterance.index, Kind.NOTE, None, (), note)
    labels, disputed_by = _labels(wanted, fields), _disputed_by(desk, utterance.index)
    if disputed_by == caller.name and caller.key is not None:
        raise Trouble(403, "own_dispute")
    ruling = _ruling(utterance, labels)
    kind = Kind.DECISION if disputed_by else Kind.REVIEW
    labels = reviews.labels_by(ruling, utterance, labels)
    return NewReview(call_id, utterance.index, kind, ruling, labels, note)


def _labels(wanted: str, fields: Mapping[str, str]) -> tuple[Label, ...]:
    if wanted == SEVERAL:
        return tuple(kind for kind in KINDS if fields.get(f"kind_{kind}"))
    try:
        label = Label(wanted)
    except ValueError:
        raise Trouble(422, "label") from None
    return () if label is Label.COMPLIANT else (label,)


def _ruling(utterance: UtterancePart, labels: tuple[Label, ...]) -> Ruling:
    if set(labels) == set(utterance.labels):
        return Ruling.CONFIRM
    return Ruling.CORRECT if labels else Ruling.REJECT


def _disputed_by(desk: Desk, index: int) -> str:
    """Whose dispute of the utterance is open; empty if none is."""
    standing = reviews.in_force(desk.reviewed)
    if index not in reviews.disputed(standing):
        return ""
    return next(r.reviewer for r in reversed(standing) if r.utterance == index and r.kind is Kind.DISPUTE)


def _number(written: str) -> int | None:
    return int(written) if written.isdecimal() and len(written) < 19 else None


def _after(desk: Desk, index: int, said: str) -> Response:
    if wants_json(desk.request):
        return _changed(desk, [index], said)
    query = urlencode({"at": index, "queue": desk.request.query_params.get("queue", "")})
    return go(f"{PREFIX}/calls/{desk.opened.call.id}?{query}#u{index}")


def _changed(desk: Desk, places: Iterable[int], said: str, status: int = 200) -> Response:
    """`said`: for a status line; with the utterances as they are now, without their forms."""
    pages, reviewed = pages_of(desk.request), desk.reviewed
    told = conversation(desk.opened.report, reviewed, redacted=desk.opened.redacted)
    common = shared(desk.caller, desk.opened, desk.database, reviewed) | {"queue": "", "at": -1}
    parts = [
        {"index": place, "html": pages.write(desk.request, "one_utterance.html", one=told[place], **common)}
        for place in places
    ]
    newest = max((review.number for review in reviewed), default=0)
    summary = pages.write(desk.request, "facts.html", **facts(desk.database, desk.opened, told))
    answer = {"said": said, "changed": parts, "facts": summary, "newest": newest}
    return JSONResponse(answer, status, headers=HEADERS)


def _in_words(words: Words, labels: Sequence[Label]) -> str:
    position = 0 if words.language is Language.ZH else 1
    return words("site.comma").join(LABELS[label][position] for label in labels or (Label.COMPLIANT,))
