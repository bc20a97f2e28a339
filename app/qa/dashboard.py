"""/qa/dashboard: how collectors, agencies and weeks fare, what people made of it, and conduct across calls."""

from datetime import date
from typing import cast

from fastapi import FastAPI, Request, Response

from app import conduct
from app.config import CannotStart, Settings
from app.deps import DatabaseDep
from app.pages import HEADERS
from app.qa import charts
from app.qa.dashboard_figures import Figures, Period, figures, usual_period
from app.qa.dashboard_tables import TABLES, Reader, as_csv
from app.qa.deps import ScreenDep
from app.qa.pages import PREFIX, pages_of
from app.qa.route import qa_router
from app.trouble import Trouble
from pipelines.conduct import DEFAULT_RULES, BadRules, Rules, load_rules

router = qa_router("/dashboard")

_DRAWN = 12  # rows of a chart; the table beside it has them all
_FINDINGS = 20
_EARLIEST, _LATEST = date(1970, 1, 1), date(9000, 1, 1)


def read_conduct_rules(app: FastAPI, settings: Settings) -> None:
    """For as long as the service runs. Raises CannotStart."""
    app.state.shipped_rules = load_rules()
    try:
        app.state.conduct_rules = load_rules(settings.conduct_rules or DEFAULT_RULES)
    except BadRules as error:
        raise CannotStart(f"CALLAUDIT_CONDUCT_RULES: {error}") from error


@router.get("")
def dashboard_page(screen: ScreenDep, database: DatabaseDep) -> Response:
    query, tenant_id = screen.request.query_params, screen.caller.tenant_id
    usual = usual_period(database, tenant_id)
    if usual is None:
        return screen.show("dashboard.html", found=None, base=f"{PREFIX}/dashboard", queue=PREFIX)
    period, wrong = _period(query.get("from", ""), query.get("until", ""), usual)
    found = figures(database, tenant_id, period, _rules(screen.request))
    reader = _reader(screen.request)
    wanted = conduct.Wanted(tenant_id, called_from=period.called_from, called_before=period.called_before)
    return screen.show(
        "dashboard.html",
        found=found,
        wrong=wrong,
        charts={
            "collectors": charts.forest([fare.rate for fare in found.collectors[:_DRAWN]], found.total),
            "agencies": charts.forest([fare.rate for fare in found.agencies[:_DRAWN]], found.total),
            "kinds": charts.forest(found.kinds, found.total),
            "weeks": charts.weeks(found.weeks),
            "reviews": charts.splits([(kind, h.confirmed, h.reviewed) for kind, h in found.heard.items()]),
            "hours": charts.bars(found.conduct.hours, 3),
            "days": charts.bars(found.conduct.days),
        },
        tables={name: make(found, reader) for name, make in TABLES.items()},
        reader=reader,
        drawn=_DRAWN,
        findings=conduct.page(database, wanted, None, _FINDINGS),
        base=f"{PREFIX}/dashboard",
        queue=PREFIX,
    )


@router.get("/{table}.csv")
def dashboard_csv(table: str, screen: ScreenDep, database: DatabaseDep) -> Response:
    """What the page shows, figures as numbers; opens in a spreadsheet, which takes no cell of it for a formula."""
    make = TABLES.get(table)
    if make is None:
        raise Trouble(404, "nothing_here")
    request, tenant_id = screen.request, screen.caller.tenant_id
    usual = usual_period(database, tenant_id) or Period(date.today(), date.today())
    period, _ = _period(request.query_params.get("from", ""), request.query_params.get("until", ""), usual)
    found: Figures = figures(database, tenant_id, period, _rules(request))
    name = f"{table}-{period.first}-{period.last}.csv"
    return Response(
        as_csv(make(found, _reader(request))),
        media_type="text/csv; charset=utf-8",
        headers={**HEADERS, "content-disposition": f'attachment; filename="{name}"'},
    )


def _rules(request: Request) -> Rules:
    return cast(Rules, request.app.state.conduct_rules)


def _reader(request: Request) -> Reader:
    return Reader(pages_of(request).words(request), cast(Rules, request.app.state.shipped_rules).rules)


def _period(first: str, last: str, usual: Period) -> tuple[Period, tuple[str, ...]]:
    """What is not understood is left out, and its name told."""
    days, wrong = {}, []
    for name, written in (("from", first), ("until", last)):
        try:
            if written:
                days[name] = date.fromisoformat(written)
                if not _EARLIEST <= days[name] <= _LATEST:
                    raise ValueError("beyond the calendar")
        except ValueError:
            days.pop(name, None)
            wrong.append(name)
    begin, end = days.get("from", usual.first), days.get("until", usual.last)
    if begin > end:
        if "from" in days and "until" in days:
            return usual, ("from", "until")
        begin = end = days.get("from", end)
    return Period(begin, end), tuple(wrong)
