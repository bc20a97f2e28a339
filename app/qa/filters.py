"""The address of a queue -> which calls it shows; what is not understood in it is named and left out."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from app.forms import clean
from app.pages import CHINA
from app.review_queue import Place, Progress, Wanted
from models.call import Label

ANY_FLAGGED = "flagged"
_LONGEST = 200
_PLACE = re.compile(r"([0-9.e+-]{1,30}):(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Filters:
    """`given`: as they were written, to be shown in the form again; `wrong`: the names of those left out."""

    wanted: Wanted
    given: Mapping[str, str] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    @property
    def query(self) -> str:
        """Of the address that shows the same queue."""
        return urlencode({name: value for name, value in self.given.items() if name not in self.wrong})


def read_filters(tenant_id: str, query: str) -> Filters:
    given = {name: " ".join(clean(value).split())[:_LONGEST] for name, value in parse_qsl(query) if name in _READERS}
    given = {name: given[name] for name in _READERS if given.get(name)}
    wanted, wrong = Wanted(tenant_id), []
    for name, written in given.items():
        try:
            wanted = replace(wanted, **_READERS[name](written))
        except ValueError:
            wrong.append(name)
    return Filters(wanted, given, tuple(wrong))


def cursor_of(place: Place) -> str:
    return f"{place.score!r}:{place.number}"


def place_at(cursor: str) -> Place:
    """Raises ValueError."""
    found = _PLACE.fullmatch(cursor)
    if not found:
        raise ValueError("no place in a queue")
    return Place(float(found[1]), int(found[2]))


def _label(written: str) -> dict[str, Any]:
    return {"flagged": True} if written == ANY_FLAGGED else {"label": Label(written)}


def _share(name: str) -> Callable[[str], dict[str, Any]]:
    def read(written: str) -> dict[str, Any]:
        share = float(written.replace("，", ".").replace(",", "."))
        if not 0 <= share <= 1:
            raise ValueError("not between 0 and 1")
        return {name: share}

    return read


def _day(written: str) -> datetime:
    return datetime.combine(date.fromisoformat(written), time(), CHINA)


def _day_after(written: str) -> datetime:
    try:
        return _day(written) + timedelta(days=1)
    except OverflowError:
        raise ValueError("beyond the calendar") from None


def _yes_or_no(written: str) -> bool:
    if written not in ("yes", "no"):
        raise ValueError("neither yes nor no")
    return written == "yes"


_READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "q": lambda written: {"text": written},
    "label": _label,
    "min_score": _share("min_score"),
    "max_score": _share("max_score"),
    "collector_id": lambda written: {"collector_id": written},
    "agency": lambda written: {"agency": written},
    "from": lambda written: {"called_from": _day(written)},
    "until": lambda written: {"called_before": _day_after(written)},
    "needs_review": lambda written: {"needs_review": _yes_or_no(written)},
    "progress": lambda written: {"progress": Progress(written)},
}
