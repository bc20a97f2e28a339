"""An archive -> one page that loads nothing: what was found, by whom, when, and what does not fit together."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.archive.drift import RATES, Point, drift
from pipelines.archive.errors import ArchiveError
from pipelines.archive.schemas import FINDINGS
from pipelines.archive.scorecards import Card, scorecards
from pipelines.archive.store import Store
from pipelines.archive.tallies import tally
from pipelines.conduct import Rules
from pipelines.intervals import wilson

PAGE = "summary.html"
_MOST_ROWS = 200


def write_summary(store: Store, zone: ZoneInfo, rules: Rules) -> str:
    """Returns where it is. `rules`: those that the findings were made by, for their sources. Raises ArchiveError."""
    found = tally(store, zone)
    cards = {who: scorecards(found.by[who], found.of_week[who]) for who in found.by}
    points = drift(found.weeks)
    table = store.read_table(FINDINGS)
    findings = table.to_pylist() if table is not None else []
    findings.sort(key=lambda finding: (-finding["count"], finding["first_at"]))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template(PAGE).render(
        whole=found.whole,
        shares={
            kind: (found.whole.flagged[kind], *wilson(found.whole.flagged[kind], found.whole.calls)) for kind in RATES
        },
        failures=found.failures,
        cards=cards,
        **_plots(cards, points),
        points=points,
        judged=table is not None,
        findings=findings[:_MOST_ROWS],
        all_findings=len(findings),
        by_rule=_by_rule(findings, rules),
        by_collector=Counter(name for finding in findings for name in finding["collectors"]).most_common(_MOST_ROWS),
        zone=zone,
        most=_MOST_ROWS,
    )
    try:
        return store.write_file(PAGE, page.encode())
    except OSError as error:
        raise ArchiveError(f"{store.place} cannot be written ({error.strerror or error})") from error


def _plots(cards: Mapping[str, list[Card]], points: list[Point]) -> dict[str, Any]:
    if not points and not any(cards.values()):
        return {"ranking": {}, "rates": "", "hearing": ""}
    from pipelines.archive.plots import hearing_plot, ranking_plot, rates_plot  # noqa: PLC0415 - slow to load

    return {
        "ranking": {who: ranking_plot(of) for who, of in cards.items() if of},
        "rates": rates_plot(points) if points else "",
        "hearing": hearing_plot(points) if points else "",
    }


def _by_rule(findings: list[dict[str, Any]], rules: Rules) -> list[dict[str, Any]]:
    counts = Counter(finding["rule"] for finding in findings)
    return [
        {"title": rule.title, "source": rule.source, "status": rule.status, "count": counts[rule.id]}
        for rule in rules.chosen
    ]
