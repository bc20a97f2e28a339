"""Log level -> one line an event on standard error: call ids, seconds and counts, never what was said."""

import logging
import traceback


def log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    # These tell of every request and every job at INFO, with query strings and addresses.
    for chatty in ("uvicorn", "uvicorn.error", "dbos", "httpx", "faster_whisper", "alembic", "fsspec"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def where(error: BaseException) -> str:
    """An error's type and trace without its message, which may quote a call."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(frames))
