"""A configured authority -> RFC 3161 timestamps over HTTP."""

from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cryptography.x509 import Certificate, load_pem_x509_certificates

from app.config import CannotStart, Settings
from pipelines.evidence.errors import TimestampFailed
from pipelines.evidence.timestamp import Stamp, WrongTimestamp, check, request

_LARGEST_TOKEN = 256 * 1024
_WITHIN_S = 20


def authority(settings: Settings) -> Stamp | None:
    """None if no authority is configured. Raises CannotStart if its root certificates cannot be read.

    What is returned sends one hash and nothing else, and raises TimestampFailed.
    """
    if settings.timestamp_url is None:
        return None
    url, roots = str(settings.timestamp_url), read_roots(settings.timestamp_roots)
    return lambda message: _stamp(url, roots, message)


def read_roots(path: Path | None) -> Sequence[Certificate]:
    """Raises CannotStart."""
    if path is None:
        return ()
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise CannotStart(f"CALLAUDIT_TIMESTAMP_ROOTS={path}: {error.strerror}") from error
    except ValueError:
        raise CannotStart(f"CALLAUDIT_TIMESTAMP_ROOTS={path}: no certificates in PEM form in it") from None


def _stamp(url: str, roots: Sequence[Certificate], message: bytes) -> bytes:
    asked, nonce = request(message)
    headers = {"content-type": "application/timestamp-query", "accept": "application/timestamp-reply"}
    try:
        # The setting lets http and https through alone.
        with urlopen(Request(url, asked, headers), timeout=_WITHIN_S) as answer:  # noqa: S310
            token: bytes = answer.read(_LARGEST_TOKEN + 1)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise TimestampFailed(
            f"the timestamp authority {url} does not answer as it should ({error}); try again later, or unset "
            "CALLAUDIT_TIMESTAMP_URL to go without"
        ) from None
    try:
        if len(token) > _LARGEST_TOKEN:
            raise WrongTimestamp("it is too long")
        check(token, message, roots, nonce)
    except WrongTimestamp as error:
        raise TimestampFailed(
            f"the timestamp of {url} does not hold: {error}; "
            "check CALLAUDIT_TIMESTAMP_URL and CALLAUDIT_TIMESTAMP_ROOTS"
        ) from None
    return token
