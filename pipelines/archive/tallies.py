"""An archive's calls -> counts by collector, agency and week, in one pass."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from models.call import KINDS
from pipelines.archive.schemas import CALLS, FAILURES
from pipelines.archive.store import Store

ANY = "any"
_COLUMNS = [
    "collector_id",
    "agency",
    "called_at",
    "duration_s",
    "verdict",
    "awaiting_review",
    "asr_confidence",
    "level_dbfs",
]


@dataclass(slots=True)
class Tally:
    """Calls, and how many of them hold each kind of abuse, or `any`."""

    calls: int = 0
    seconds: float = 0.0
    awaiting_review: int = 0
    flagged: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, awaiting_review: int, verdict: list[str]) -> None:
        self.calls += 1
        self.seconds += seconds
        self.awaiting_review += awaiting_review
        self.flagged.update(verdict)
        self.flagged[ANY] += bool(verdict)


@dataclass(slots=True)
class Week:
    """Of all calls that began in it."""

    tally: Tally = field(default_factory=Tally)
    confidences: list[float] = field(default_factory=lambda: [0.0, 0.0])  # sum and number
    levels: list[float] = field(default_factory=lambda: [0.0, 0.0])

    @property
    def confidence(self) -> float | None:
        return self.confidences[0] / self.confidences[1] if self.confidences[1] else None

    @property
    def level_dbfs(self) -> float | None:
        return self.levels[0] / self.levels[1] if self.levels[1] else None


@dataclass(slots=True)
class Tallies:
    """`by`: collector_id and agency, each by name; `weeks`: by Monday; `of_week`: by name and Monday."""

    whole: Tally = field(default_factory=Tally)
    by: dict[str, dict[str, Tally]] = field(
        default_factory=lambda: {"collector_id": defaultdict(Tally), "agency": defaultdict(Tally)}
    )
    of_week: dict[str, dict[str, dict[date, Tally]]] = field(
        default_factory=lambda: {who: defaultdict(lambda: defaultdict(Tally)) for who in ("collector_id", "agency")}
    )
    weeks: dict[date, Week] = field(default_factory=lambda: defaultdict(Week))
    failures: Counter[str] = field(default_factory=Counter)


def tally(store: Store, zone: ZoneInfo) -> Tallies:
    """`zone`: of weeks, which begin on Monday."""
    found = Tallies()
    for table in store.scan(CALLS, _COLUMNS):
        for row in table.to_pylist():
            counted = (row["duration_s"], row["awaiting_review"], [v for v in row["verdict"] if v in KINDS])
            found.whole.add(*counted)
            at = row["called_at"]
            local = at.astimezone(zone).date() if at else None
            monday = local - timedelta(days=local.weekday()) if local else None
            for who, names in found.by.items():
                if (name := row[who]) is not None:
                    names[name].add(*counted)
                    if monday:
                        found.of_week[who][name][monday].add(*counted)
            if monday:
                week = found.weeks[monday]
                week.tally.add(*counted)
                for sums, value in ((week.confidences, row["asr_confidence"]), (week.levels, row["level_dbfs"])):
                    if value is not None:
                        sums[0] += value
                        sums[1] += 1
    for table in store.scan(FAILURES, ["error"]):
        found.failures.update(table.column("error").to_pylist())
    return found
