"""What went wrong -> a problem as of RFC 9457; the one place where an error gets a status code."""

import errno

from pydantic import BaseModel, ConfigDict, Field

from models.errors import (
    BrokenRecording,
    CallError,
    DecodeError,
    DecoderLimit,
    EmptyRecording,
    InvalidText,
    ModelError,
    NoSpace,
    TooLarge,
    TooLong,
    TooManyChannels,
    UnknownFormat,
    UnreadableFile,
)

# The first class that fits counts, so the special stand before the general.
HTTP_STATUS: dict[type[CallError], int] = {
    EmptyRecording: 400,
    UnknownFormat: 415,
    BrokenRecording: 422,
    TooManyChannels: 422,
    DecodeError: 415,
    TooLong: 413,
    TooLarge: 413,
    DecoderLimit: 422,
    UnreadableFile: 422,
    NoSpace: 507,
    InvalidText: 422,
    ModelError: 503,
    CallError: 422,
}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Fault(BaseModel):
    """One wrong part of a request."""

    field: str
    reason: str


class Problem(BaseModel):
    """Problem details of RFC 9457, of a refused request or a failed call alike."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(default="about:blank", description="Names the kind of problem; stable")
    title: str
    status: int
    detail: str = Field(description="What was wrong and what to do")
    faults: tuple[Fault, ...] | None = Field(default=None, description="The wrong parts of the request, if known")


class Refused(Exception):
    """A request that gets a problem for an answer."""

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem, self.headers = problem, headers


def refusal(status: int, kind: str, detail: str, headers: dict[str, str] | None = None) -> Refused:
    """`kind` in words: "unknown call"."""
    return Refused(_problem(status, kind, detail), headers)


def problem_of(error: Exception) -> Problem:
    """Never repeats what an unforeseen error says: it could quote a call."""
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, CallError):
        status = next(code for kind, code in HTTP_STATUS.items() if isinstance(error, kind))
        return _problem(status, _in_words(type(error).__name__), str(error))
    if _disk_is_full(error):
        return _problem(507, "storage full", "the disk is full, nothing was stored; free some space and send it again")
    if _of_database(error):
        return _problem(503, "database unavailable", f"{_why_unavailable(error)}; nothing was changed, try again later")
    return _problem(500, "internal error", "an error that nobody foresaw; its trace is in the service's log")


def _problem(status: int, kind: str, detail: str) -> Problem:
    return Problem(
        type=f"urn:callaudit:problem:{kind.replace(' ', '-')}", title=kind.capitalize(), status=status, detail=detail
    )


def _in_words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    said = _said_by_database(error)
    return any(words in said for words in ("disk is full", "disk I/O error", "No space left"))


def _why_unavailable(error: Exception) -> str:
    said = _said_by_database(error)
    if "locked" in said:
        return "the database is locked by another program"
    if "readonly" in said:
        return "the database is read-only"
    return "the database does not answer"


# SQLAlchemy is loaded only to look at an error, so that commands without a database start sooner.


def _of_database(error: Exception) -> bool:
    from sqlalchemy.exc import OperationalError, TimeoutError  # noqa: PLC0415, A004

    return isinstance(error, OperationalError | TimeoutError)


def _said_by_database(error: Exception) -> str:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    return str(error.orig) if isinstance(error, OperationalError) else ""
