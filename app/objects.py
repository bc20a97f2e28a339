"""A lender's object, as s3://bucket/key -> its bytes, if the lender may have it fetched."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.errors import Refused, refusal
from app.logs import where
from models.errors import TooLarge

_log = logging.getLogger(__name__)
T = TypeVar("T")

_CHUNK = 2**20
_PREFIX = re.compile(r"(?:(?P<tenant>[a-z0-9-]+)=)?(?P<url>[a-z][a-z0-9+.-]*://.+/)")
_ODD = re.compile(r"[\x00-\x1f\x7f\\]|::")
# These follow wherever a server sends them, or run what they are told.
_FORBIDDEN = ("http", "https", "ftp", "data", "ssh", "sftp", "github", "git", "reference", "libarchive")


class StoreSilent(Refused):
    """The store of an object does not answer."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Which tenant's objects may lie where."""

    known: Sequence[tuple[str | None, str]]  # the tenant, None: all, each with its {tenant}; and the URL up to a /

    @classmethod
    def read(cls, setting: str) -> "Prefixes":
        """`TENANT=s3://bucket/folder/` or `s3://bucket/{tenant}/`, several with commas. Raises ValueError."""
        known: list[tuple[str | None, str]] = []
        for part in filter(None, (part.strip() for part in setting.split(","))):
            found = _PREFIX.fullmatch(part)
            if found is None:
                raise ValueError(f"{part!r} is no prefix; write TENANT=s3://bucket/folder/, with the / at its end")
            if found["tenant"] is None and "{tenant}" not in found["url"]:
                raise ValueError(
                    f"{part!r} must say whose objects these are, as TENANT={part} or by a {{tenant}} in it"
                )
            if found["url"].partition("://")[0] in _FORBIDDEN or "::" in found["url"]:
                raise ValueError(f"{part!r} must be a bucket or a folder, as s3://bucket/folder/ or file:///folder/")
            known.append((found["tenant"], found["url"]))
        return cls(known)

    def of(self, tenant_id: str) -> list[str]:
        return [url.replace("{tenant}", tenant_id) for tenant, url in self.known if tenant in (None, tenant_id)]


def fetch(url: str, prefixes: Sequence[str], largest_bytes: int) -> Iterator[bytes]:
    """In pieces. Raises Refused if it may not or cannot be had, StoreSilent, or TooLarge."""
    prefix = _allowing(url, prefixes)
    left = largest_bytes
    with closing(_ask(url, lambda: _open(url, prefix, largest_bytes))) as file:
        while chunk := _ask(url, lambda: file.read(_CHUNK)):
            left -= len(chunk)
            if left < 0:
                raise TooLarge(largest_bytes)
            yield chunk


def _allowing(url: str, prefixes: Sequence[str]) -> str:
    for prefix in prefixes:
        rest = url.removeprefix(prefix)
        # No name of an object needs these, and each is something else to some file system.
        plain = all(part not in ("", ".", "..") for part in rest.split("/")) and not _ODD.search(rest)
        if url.startswith(prefix) and plain:
            return prefix
    told = f"this tenant's objects may lie under {' or '.join(prefixes)}" if prefixes else "no place is set for any"
    raise refusal(422, "object not allowed", f"the object is not fetched: {told}; see CALLAUDIT_OBJECT_PREFIXES")


def _open(url: str, prefix: str, largest_bytes: int) -> IO[bytes]:
    files, path = fsspec.core.url_to_fs(url)
    if isinstance(files, LocalFileSystem):
        # A link in the folder may lead out of it.
        root = os.path.realpath(files._strip_protocol(prefix))
        path = os.path.realpath(path)
        if os.path.commonpath([root, path]) != root:
            raise FileNotFoundError
    found = files.info(path)
    if found["type"] != "file":
        raise FileNotFoundError
    if (found.get("size") or 0) > largest_bytes:
        raise TooLarge(largest_bytes)
    return cast(IO[bytes], files.open(path, "rb"))


def _ask(url: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except (Refused, TooLarge):
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise refusal(422, "object not found", "there is no such object; look at its address") from None
    except PermissionError:
        detail = "the service may not read this object; whoever runs the service has to be let in"
        raise refusal(422, "object not readable", detail) from None
    except Exception as error:  # every store's client has its own errors
        _log.warning("the store of %s:// does not answer: %s", url.partition("://")[0], where(error))
        detail = "the object's store does not answer; send it again later"
        told = refusal(503, "object store unavailable", detail)
        raise StoreSilent(told.problem, {"retry-after": "30"}) from None
