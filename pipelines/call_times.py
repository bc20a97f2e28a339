"""When a call can have been made: not before 1970, and not later than tomorrow."""

from datetime import UTC, date, datetime, timedelta

EARLIEST_CALL = date(1970, 1, 1)
_MOST_AHEAD = timedelta(days=1)  # of clocks and time zones that are set wrong


def latest_call() -> datetime:
    return datetime.now(UTC) + _MOST_AHEAD


def refuse_ahead(called_at: datetime) -> datetime:
    """`called_at` knows its offset. Raises ValueError if it is more than a day ahead."""
    if called_at > latest_call():
        raise ValueError("lies more than a day ahead; send the time at which the call was made")
    return called_at
