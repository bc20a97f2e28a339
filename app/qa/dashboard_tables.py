"""Figures -> the tables of the dashboard, and tables -> CSV."""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from app.qa.charts import Rate
from app.qa.dashboard_figures import Fare, Figures
from app.words import Language, Words
from models.call import KINDS, Label
from pipelines.conduct import Rule
from pipelines.evidence.words import LABELS


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom the tables are. `shipped`: rules whose words the catalogue has in the reader's language."""

    words: Words
    shipped: Collection[Rule]

    def __call__(self, name: str) -> str:
        return self.words(f"dashboard.{name}")

    def kind(self, kind: str) -> str:
        return LABELS[Label(kind)][0 if self.words.language is Language.ZH else 1]

    def title(self, rule: Rule) -> str:
        return self._of_rule("rule", rule, rule.title)

    def source(self, rule: Rule) -> str:
        return self._of_rule("source", rule, rule.source)

    def _of_rule(self, section: str, rule: Rule, written: str) -> str:
        """A rule that somebody has changed says what they wrote."""
        key = f"{section}.{rule.id}"
        return self.words(key) if rule in self.shipped and self.words.has(key) else written


Cell = str | int | float | None
Table = list[list[Cell]]  # the first row names the columns

# What a spreadsheet takes for the beginning of a formula, also in the forms of Chinese keyboards.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def as_csv(table: Table) -> bytes:
    """With the mark by which spreadsheets know UTF-8; a text that would be a formula begins with an apostrophe."""
    out = io.StringIO()
    csv.writer(out).writerows([_plain(cell) for cell in row] for row in table)
    return out.getvalue().encode("utf-8-sig")


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    if isinstance(cell, str) and cell.lstrip(" \n").startswith(_FORMULA):
        return f"'{cell}"
    return cell


def _rates(reader: Reader, name: str, rates: Iterable[Rate], more: Sequence[str] = ()) -> Table:
    columns = ("calls", "flagged", "rate", "low", "high", *more)
    head: Table = [[reader(name), *(reader(column) for column in columns)]]
    for rate in rates:
        low, high = rate.interval
        head.append([rate.name, rate.of, rate.hits, *((rate.share, low, high) if rate.of else (None, None, None))])
    return head


def _fares(reader: Reader, name: str, fares: Sequence[Fare]) -> Table:
    table = _rates(reader, name, (fare.rate for fare in fares))
    table[0] += [reader.kind(kind) for kind in KINDS]
    table[0] += [reader("reviewed_calls"), reader("confirmed_calls")]
    for row, fare in zip(table[1:], fares, strict=True):
        row += [*(fare.kinds[kind] for kind in KINDS), fare.reviewed, fare.confirmed]
    return table


def _collectors(found: Figures, reader: Reader) -> Table:
    return _fares(reader, "collector", found.collectors)


def _agencies(found: Figures, reader: Reader) -> Table:
    return _fares(reader, "agency", found.agencies)


def _weeks(found: Figures, reader: Reader) -> Table:
    return _rates(reader, "week", found.weeks)


def _kinds(found: Figures, reader: Reader) -> Table:
    table = _rates(reader, "kind", found.kinds)
    for row, kind in zip(table[1:], KINDS, strict=True):
        row[0] = reader.kind(kind)
    return table


def _reviews(found: Figures, reader: Reader) -> Table:
    table: Table = [[reader(name) for name in ("kind", "found", "reviewed", "confirmed", "missed")]]
    table += [[reader.kind(kind), h.found, h.reviewed, h.confirmed, h.missed] for kind, h in found.heard.items()]
    return table


def _agreement(found: Figures, reader: Reader) -> Table:
    agreed = found.agreement
    head: Table = [[reader(name) for name in ("both_reviewed", "same", "kappa")]]
    return [*head, [agreed.utterances, agreed.agreed, agreed.kappa]]


def _conduct(found: Figures, reader: Reader) -> Table:
    names = ("rule", "jurisdiction", "own_findings", "own_calls", "imported_findings", "imported_calls", "all_calls")
    table: Table = [[reader(name) for name in (*names, "source", "status")]]
    for one in found.conduct.broken:
        counts = (one.own_findings, one.own_calls, one.imported_findings, one.imported_calls, one.calls)
        status = reader(f"status_{one.rule.status}")
        table.append([reader.title(one.rule), one.rule.jurisdiction, *counts, reader.source(one.rule), status])
    return table


def _hours(found: Figures, reader: Reader) -> Table:
    return _counts(reader, "hour", "started", found.conduct.hours)


def _days(found: Figures, reader: Reader) -> Table:
    return _counts(reader, "conversations", "borrower_days", found.conduct.days)


def _counts(reader: Reader, name: str, count: str, counted: Iterable[tuple[str, int, bool]]) -> Table:
    head: Table = [[reader(column) for column in (name, count, "forbidden")]]
    return head + [[one, number, reader("yes" if forbidden else "no")] for one, number, forbidden in counted]


TABLES: dict[str, Callable[[Figures, Reader], Table]] = {
    "collectors": _collectors,
    "agencies": _agencies,
    "weeks": _weeks,
    "kinds": _kinds,
    "reviews": _reviews,
    "agreement": _agreement,
    "conduct": _conduct,
    "hours": _hours,
    "days": _days,
}
