"""What an analyst's route may ask for; whoever asks for `SignedIn` or `ScreenDep` lets nobody else in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Response

from app.access import Caller, Door
from app.deps import DatabaseDep
from app.forms import Fields, fields_of
from app.keys import Role
from app.qa import sessions
from app.qa.pages import MENU, pages_of
from app.qa.sign_in import NeedsSignIn
from app.trouble import Trouble

SESSION_COOKIE = "qa_session"


def door_of(request: Request) -> Door:
    return cast(Door, request.state.door)


async def _fields(request: Request) -> Fields:
    return await fields_of(request)


def _signed_in(request: Request, database: DatabaseDep) -> Caller:
    """Raises NeedsSignIn, Refused or Trouble."""
    door = door_of(request)
    caller = door.local(request) or sessions.holder(database, request.cookies.get(SESSION_COOKIE, ""))
    if caller is None:
        raise NeedsSignIn
    door.count(caller)  # a key has no more requests here than elsewhere
    if not caller.may(Role.READ):
        raise Trouble(403, "role_read")
    return caller


def _needs(role: Role) -> Callable[..., Caller]:
    def check(caller: Annotated[Caller, Depends(_signed_in)]) -> Caller:
        if not caller.may(role):
            raise Trouble(403, f"role_{role}")
        return caller

    return check


@dataclass(frozen=True, slots=True)
class Screen:
    """Pages as the one who is signed in sees them."""

    request: Request
    caller: Caller

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        pages, path = pages_of(self.request), self.request.url.path
        return pages.show(self.request, template, status, caller=self.caller, menu=MENU, request_path=path, **values)


def _screen(request: Request, caller: Annotated[Caller, Depends(_signed_in)]) -> Screen:
    return Screen(request, caller)


FieldsDep = Annotated[Fields, Depends(_fields)]
SignedIn = Annotated[Caller, Depends(_signed_in)]
SignedInReviewer = Annotated[Caller, Depends(_needs(Role.REVIEW))]
ScreenDep = Annotated[Screen, Depends(_screen)]
