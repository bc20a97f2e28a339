"""Times as people write them, with an offset -> datetimes that every database takes."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _written(sent: Any) -> Any:
    # Pydantic would take any number for seconds since 1970, and "1" with it.
    if not isinstance(sent, datetime) and not (isinstance(sent, str) and _RFC_3339.fullmatch(sent)):
        raise ValueError("write it with its offset, as 2026-03-01T20:15:00+08:00")
    return sent


def _within_the_calendar(moment: datetime) -> datetime:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies before the year 1 or after the year 9999 in UTC") from None
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_within_the_calendar)]
