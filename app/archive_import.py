"""An archive's calls -> the service's tables and recordings, as if the service had scored them."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import sqlalchemy as sa

from app import calls
from app.calls import NewCall, Status
from app.recordings import MEDIA_TYPE_BYTES, Recordings, media_type
from pipelines.archive.schemas import CALLS
from pipelines.archive.store import Store
from pipelines.archive.transcripts import CODEC
from pipelines.archive.work import opened
from pipelines.call_times import latest_call
from pipelines.report import Report

_SENDER = "archive import"
_CHUNK = 2**20
_NAMESPACE: UUID = uuid5(NAMESPACE_URL, "callaudit:archive")
_DETAILS = ("call_id", "collector_id", "agency", "borrower_ref", "direction", "contact")
_YES_OR_NO = ("contact_refused", "agreed_hours")


@dataclass(slots=True)
class Imported:
    """`skipped`: recording and why."""

    added: int = 0
    there: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def import_calls(store: Store, source: str, database: sa.Engine, recordings: Recordings, tenant_id: str) -> Imported:
    """`source`: where the recordings lie that the archive names. Run again, it adds only what is not there yet."""
    done = Imported()
    for table in store.scan(CALLS):
        for row in table.to_pylist():
            name = row["recording"]
            call_id = id_in_service(tenant_id, row)
            if _is_done(database, tenant_id, call_id):
                done.there += 1
            elif row["codec"] == CODEC:
                done.skipped.append((name, "a transcript; the service keeps calls that can be heard"))
            elif (at := row["called_at"]) and at > latest_call():
                done.skipped.append((name, f"its called_at lies more than a day ahead ({at.isoformat()})"))
            elif why := _add(
                row, call_id, _place(source, name), database=database, recordings=recordings, tenant_id=tenant_id
            ):
                done.skipped.append((name, why))
            else:
                done.added += 1
    return done


def id_in_service(tenant_id: str, row: Mapping[str, Any]) -> str:
    """Of the call that such a row of an archive becomes."""
    return str(uuid5(_NAMESPACE, f"{tenant_id}/{row['recording']}/{row['sha256']}"))


def _place(source: str, name: str) -> str:
    return name if "://" in name or name.startswith("/") else f"{source.rstrip('/')}/{name}"


def _is_done(database: sa.Engine, tenant_id: str, call_id: str) -> bool:
    found = calls.find(database, tenant_id, call_id)
    return found is not None and found.status in (Status.DONE, Status.FAILED)


def _add(
    row: dict[str, Any], call_id: str, place: str, *, database: sa.Engine, recordings: Recordings, tenant_id: str
) -> str | None:
    """Why not, if not."""
    try:
        with _copied(place, recordings.incoming) as (copy, sha256, head):
            if sha256 != row["sha256"]:
                return "its bytes are not those that were scored"
            if calls.find(database, tenant_id, call_id) is None:  # else an import was killed half way
                call = _new_call(row, call_id, tenant_id, copy.stat().st_size, head)
                place_recording = partial(recordings.keep, copy, tenant_id, sha256)
                calls.accept(database, call, place_recording, lambda connection, call_id: None)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    attempt = calls.begin(database, call_id)
    if attempt is None or not calls.finish(database, attempt, Report.model_validate_json(row["report"])):
        return "another process took it"
    return None


def _new_call(row: dict[str, Any], call_id: str, tenant_id: str, size: int, head: bytes) -> NewCall:
    called_at: datetime | None = row["called_at"]
    details: dict[str, str | bool] = {name: row[name][:200] for name in _DETAILS if row[name]}
    details |= {name: row[name] for name in _YES_OR_NO if row[name] is not None}
    if called_at:
        details["called_at"] = called_at.isoformat()
    return NewCall(
        id=call_id,
        tenant_id=tenant_id,
        key_prefix=None,
        sender=_SENDER,
        recording_sha256=row["sha256"],
        recording_bytes=size,
        media_type=media_type(head),
        details=json.dumps(details, ensure_ascii=False),
        collector_id=row["collector_id"],
        agency=row["agency"],
        collector_channel=None,
        called_at=called_at or datetime.now(UTC),
    )


@contextmanager
def _copied(place: str, folder: Path) -> Iterator[tuple[Path, str, bytes]]:
    """A copy to be moved into place, its SHA-256 and its first bytes."""
    copy = folder / f"import-{uuid4().hex}"
    try:
        with copy.open("wb") as file, opened(place) as source:
            shutil.copyfileobj(source, file, _CHUNK)
        with copy.open("rb") as file:
            head = file.read(MEDIA_TYPE_BYTES)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        yield copy, sha256, head
    finally:
        copy.unlink(missing_ok=True)
