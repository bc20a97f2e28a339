"""What a borrower's route may ask for."""

from typing import Annotated, cast

from fastapi import Depends, Request

from app import cases
from app.borrowers.gate import Gate
from app.borrowers.listening import Listener
from app.borrowers.pages import pages_of
from app.borrowers.rules import Rules
from app.borrowers.trouble import NeedsCode
from app.cases import Case, CaseRecording
from app.deps import DatabaseDep, RecordingsDep, SettingsDep
from app.forms import Fields, fields_of
from app.pages import Pages
from app.trouble import Trouble

VISIT_COOKIE = "visit"


def address_of(request: Request) -> str:
    return request.client.host if request.client else "nowhere"


def path_of(link: str) -> str:
    return f"/case/{link}"


def existing_case(link: str, database: DatabaseDep) -> Case:
    """Whoever asks; of such a case nothing but that it is there may be told. Raises Trouble."""
    case = cases.find(database, link)
    if case is None:
        raise Trouble(404, "unknown_case")
    if case.deleted_at is not None:
        raise Trouble(410, "deleted_case")
    return case


async def _fields(request: Request) -> Fields:
    return await fields_of(request)


FieldsDep = Annotated[Fields, Depends(_fields)]


def _visited(link: str, request: Request, case: Annotated[Case, Depends(existing_case)], database: DatabaseDep) -> Case:
    if not cases.is_visiting(database, case.id, request.cookies.get(VISIT_COOKIE, "")):
        raise NeedsCode(link)
    return case


def _visited_with_form(
    link: str, request: Request, case: Annotated[Case, Depends(existing_case)], database: DatabaseDep, fields: FieldsDep
) -> Case:
    """What was written in a form outlives a visit that ended meanwhile."""
    if not cases.is_visiting(database, case.id, request.cookies.get(VISIT_COOKIE, "")):
        raise NeedsCode(link, request.url.path, fields)
    return case


def _recording(call_id: str, case: Annotated[Case, Depends(_visited)], database: DatabaseDep) -> CaseRecording:
    return recording_of(database, case, call_id)


def recording_of(database: DatabaseDep, case: Case, call_id: str) -> CaseRecording:
    found = next((r for r in cases.recordings(database, case.id) if r.call_id == call_id), None)
    if found is None:
        raise Trouble(404, "unknown_recording")
    return found


def _listener(request: Request, settings: SettingsDep, database: DatabaseDep, recordings: RecordingsDep) -> Listener:
    return Listener(settings, database, recordings, request.app.state.listening_locks)


def _pages(request: Request) -> Pages:
    return pages_of(request)


def _rules(request: Request) -> Rules:
    return cast(Rules, request.app.state.rules)


def _gate(request: Request) -> Gate:
    return cast(Gate, request.app.state.gate)


ExistingCase = Annotated[Case, Depends(existing_case)]
VisitedCase = Annotated[Case, Depends(_visited)]
CaseWithForm = Annotated[Case, Depends(_visited_with_form)]
RecordingDep = Annotated[CaseRecording, Depends(_recording)]
PagesDep = Annotated[Pages, Depends(_pages)]
RulesDep = Annotated[Rules, Depends(_rules)]
ListenerDep = Annotated[Listener, Depends(_listener)]
GateDep = Annotated[Gate, Depends(_gate)]
