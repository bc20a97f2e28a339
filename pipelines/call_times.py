"""When a call can have been made: not later than tomorrow, since nobody sends what is still to come."""

from datetime import UTC, datetime, timedelta

_MOST_AHEAD = timedelta(days=1)  # of clocks and time zones that are set wrong


def latest_call() -> datetime:
    return datetime.now(UTC) + _MOST_AHEAD


def refuse_ahead(called_at: datetime) -> datetime:
    """`called_at` knows its offset. Raises ValueError if it is more than a day ahead."""
    if called_at > latest_call():
        raise ValueError("lies more than a day ahead; send the time at which the call was made")
    return called_at
