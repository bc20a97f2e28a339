"""Log level and format -> one line an event on standard error: call ids, seconds and counts, never what was said."""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

Format = Literal["auto", "json", "text"]

# These tell of every request and every job at INFO, with query strings and addresses, or at DEBUG of every bucket, key
# and file.
_CHATTY = (
    *("uvicorn", "uvicorn.error", "dbos", "httpx", "httpcore2", "faster_whisper", "alembic"),
    *("fsspec", "s3fs", "aiobotocore", "botocore", "urllib3"),
)
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Nothing but calls has such an id.
_CALL_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


def log_to_stderr(level: str, form: Format = "auto") -> None:
    """`auto`: text on a terminal, else JSON."""
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(_Text(_TEXT) if text else _Json())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # DBOS gives itself a handler with a form of its own, unless there is one.
    dbos = logging.getLogger("dbos")
    dbos.handlers = [logging.NullHandler()]
    dbos.propagate = True


def where(error: BaseException) -> str:
    """An error's type and trace without its message, which may quote a call."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(frames))


class _Text(logging.Formatter):
    """Errors that libraries log are told without their messages, as our own are."""

    def formatException(  # noqa: N802 - the base class's name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return where(ei[1]) if ei[1] else ""


class _Json(_Text):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        if found := _CALL_ID.search(message):
            told["call_id"] = found[0]
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
