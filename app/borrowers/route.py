"""What goes wrong on a borrower's page -> a page that tells it."""

import logging

from fastapi import APIRouter, Request, Response

from app.borrowers.pages import pages_of
from app.borrowers.trouble import NeedsCode, call_key
from app.cases import CaseGone
from app.errors import problem_of
from app.logs import where
from app.page_route import Admit, page_router, refuse_other_sites, show_trouble, trouble_of
from app.trouble import Trouble
from models.errors import CallError

_log = logging.getLogger(__name__)


def pages_router(prefix: str = "", admit: Admit = refuse_other_sites) -> APIRouter:
    return page_router(prefix, _tell, admit)


def _tell(request: Request, error: Exception) -> Response:
    match error:
        case NeedsCode():
            asked = {"link": error.link, "action": error.action, "kept": error.kept}
            return pages_of(request).show(request, "code.html", 403, wrong=None, **asked)
        case CaseGone():
            trouble = Trouble(410, "deleted_case")
        case CallError():
            problem = problem_of(error)
            trouble = Trouble(problem.status, call_key(problem.type))
            if trouble.status >= 500:
                _log.error("%s: %s", trouble.key, where(error))
        case _:
            trouble = trouble_of(error)
    return show_trouble(pages_of(request), request, trouble, "call_other")
