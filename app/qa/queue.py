"""The queue: calls with the worst utterance first, filtered, page by page."""

from fastapi import Response

from app import review_queue
from app.deps import DatabaseDep
from app.qa import saved_filters
from app.qa.deps import ScreenDep
from app.qa.filters import ANY_FLAGGED, cursor_of, place_at, read_filters
from app.qa.pages import PREFIX
from app.qa.route import qa_router
from app.review_queue import Progress
from app.trouble import Trouble
from models.call import KINDS, Label

router = qa_router()

CALLS_A_PAGE = 25


@router.get("")
def queue_page(screen: ScreenDep, database: DatabaseDep, after: str = "", notice: str = "") -> Response:
    tenant_id = screen.caller.tenant_id
    filters = read_filters(tenant_id, screen.request.url.query)
    try:
        place = place_at(after) if after else None
    except ValueError:
        raise Trouble(422, "unknown_cursor") from None
    found = review_queue.page(database, filters.wanted, place, CALLS_A_PAGE + 1)
    shown = found[:CALLS_A_PAGE]
    return screen.show(
        "queue.html",
        calls=shown,
        following=cursor_of(shown[-1].place) if len(found) > CALLS_A_PAGE else "",
        after=after,
        filters=filters,
        saved=saved_filters.of_tenant(database, tenant_id),
        notice=notice if notice in ("saved", "removed") else "",
        any_flagged=ANY_FLAGGED,
        all_labels=list(Label),
        all_kinds=KINDS,
        all_progress=list(Progress),
        base=PREFIX,
    )
