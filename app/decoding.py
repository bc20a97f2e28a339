"""Settings -> how much of a recording is decoded, and whether a file is one at all."""

from pathlib import Path

from app.config import Settings
from models.errors import TooLong
from pipelines.decode import DecodeLimits, decode

_PROBE_S = 1.0


def decode_limits(settings: Settings) -> DecodeLimits:
    return DecodeLimits(longest_s=settings.max_recording_seconds, largest_bytes=settings.max_upload_bytes)


def refuse_unreadable(path: Path, settings: Settings, largest_bytes: int) -> None:
    """Decodes the start, so that what is no recording is told at once and not by a failed call. Raises CallError."""
    longest_s = settings.max_recording_seconds
    try:
        with decode(path, DecodeLimits(longest_s=min(_PROBE_S, longest_s), largest_bytes=largest_bytes)):
            pass
    except TooLong as error:
        # It goes on after the start, as it should. Not every file states its length; the rest is found in scoring.
        if error.stated_s is not None and error.stated_s > longest_s:
            raise TooLong(longest_s) from None
