"""Borrowers' cases: recordings of one borrower under one unguessable link, opened by a short code.

Each case is a tenant of its own, so that calls, recordings and the log of one case do not exist for another. Of link,
code and visits the tables hold hashes only: who reads the database cannot open a case's pages.
"""

import hashlib
import hmac
import logging
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from app import calls as stored_calls
from app.calls import Status
from app.database import hold
from app.erasure import overwrite_deleted
from app.errors import Refused
from app.keys import add_tenant
from app.logs import where
from app.tables import calls, case_recordings, case_visits, cases

_log = logging.getLogger(__name__)

BORROWER = "borrower"  # as the audit log names whoever has the code
WRONG_CODES = 10
LOCKED_FOR = timedelta(minutes=15)
VISIT_LASTS = timedelta(days=1)
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a new case is opened with. It all follows from a random value, so that a form sent twice makes one case."""

    case_id: str
    link: str
    code: str
    code_hash: str

    @classmethod
    def of(cls, once: str) -> "Secrets":
        """`once`: at least 256 random bits, known to whoever makes the case and to nobody else."""

        def derived(what: str) -> bytes:
            return hmac.digest(once.encode(), what.encode(), "sha256")

        case_id = f"case-{derived('case').hex()[:32]}"
        code = f"{int.from_bytes(derived('code')) % 10**8:08}"
        link = urlsafe_b64encode(derived("link")).decode()[:22]
        return cls(case_id, link, code, _slow_hash(case_id, code))


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    created_at: datetime
    expires_at: datetime
    deleted_at: datetime | None
    letter: str | None
    letter_version: int


@dataclass(frozen=True, slots=True)
class Told:
    """What the borrower says of a call; empty where nothing is said. Dates and times are local."""

    called_on: str = ""  # 2026-03-05
    called_time: str = ""  # 21:40
    file_time: str = ""  # 2026-03-05T21:40, of the file as the browser knows it
    lender: str = ""
    caller_number: str = ""


@dataclass(frozen=True, slots=True)
class CaseRecording:
    call_id: str
    told: Told
    roles_swapped: bool
    status: Status
    progress: float
    problem: str | None  # JSON
    seconds: float | None
    recording_sha256: str
    recording_bytes: int
    media_type: str
    received_at: datetime


class CaseGone(Exception):
    """The case was deleted, or its time is over."""


@dataclass(frozen=True, slots=True)
class Opened:
    """How an attempt with a code went."""

    result: Literal["open", "wrong", "locked"]
    visit: str = ""
    tries_left: int = 0
    locked_until: datetime | None = None


def find(engine: sa.Engine, link: str) -> Case | None:
    """Deleted cases too, so that their link can be told from one that never was."""
    query = sa.select(*(cases.c[name] for name in Case.__slots__)).where(cases.c.link_sha256 == _sha256(link))
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return Case(*row) if row else None


def add_recording(
    connection: sa.Connection,
    new: Secrets | str,
    *,
    call_id: str,
    sha256: str,
    upload: str | None,
    told: Told,
    days: int,
) -> None:
    """In the transaction that accepts the call. `new`: what opens a case that need not be there yet, or a case's id.

    The case's time starts anew. Raises CaseGone; sqlalchemy.exc.IntegrityError if the case has this recording already,
    or another request makes the same case at this moment.
    """
    now = datetime.now(UTC)
    case_id = new if isinstance(new, str) else new.case_id
    here = connection.execute(sa.select(sa.exists().where(cases.c.id == case_id))).scalar()
    if not here and isinstance(new, Secrets):
        add_tenant(connection, case_id)
        connection.execute(
            sa.insert(cases).values(
                id=case_id,
                link_sha256=_sha256(new.link),
                code_hash=new.code_hash,
                wrong_codes=0,
                created_at=now,
                expires_at=now,
                letter_version=0,
            )
        )
    alive = (cases.c.id == case_id, cases.c.deleted_at.is_(None))
    expires_at = now + timedelta(days=days)
    if not connection.execute(sa.update(cases).where(*alive).values(expires_at=expires_at)).rowcount:
        raise CaseGone
    values = {name: getattr(told, name) for name in Told.__slots__}
    values |= {"call_id": call_id, "case_id": case_id, "recording_sha256": sha256, "upload": upload}
    connection.execute(sa.insert(case_recordings).values(**values, roles_swapped=False))


def has_recording(engine: sa.Engine, case_id: str, sha256: str | None = None, upload: str | None = None) -> bool:
    """By the hash of its bytes, or of the name of the upload that it came by."""
    wanted = [case_recordings.c.case_id == case_id]
    if sha256 is not None:
        wanted.append(case_recordings.c.recording_sha256 == sha256)
    if upload is not None:
        wanted.append(case_recordings.c.upload == upload)
    with engine.connect() as connection:
        return bool(connection.execute(sa.select(sa.exists().where(*wanted))).scalar())


def recordings(engine: sa.Engine, case_id: str) -> list[CaseRecording]:
    """In the order in which they came."""
    query = (
        sa.select(*_RECORDING)
        .join_from(case_recordings, calls, calls.c.id == case_recordings.c.call_id)
        .where(case_recordings.c.case_id == case_id, calls.c.tenant_id == case_id)
        .order_by(calls.c.number)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    found = []
    for row in rows:
        values = dict(row)
        told = Told(**{name: values.pop(name) for name in Told.__slots__})
        found.append(CaseRecording(**{**values, "told": told, "status": Status(values["status"])}))
    return found


def tell(engine: sa.Engine, case_id: str, call_id: str, told: Told) -> None:
    """The file's own time stays what it was."""
    values = {name: getattr(told, name) for name in Told.__slots__ if name != "file_time"}
    _change_recording(engine, case_id, call_id, **values)


def swap_roles(engine: sa.Engine, case_id: str, call_id: str, swapped: bool) -> None:
    """Whether collector and borrower are to be read the other way round than the machine has them."""
    _change_recording(engine, case_id, call_id, roles_swapped=swapped)


def begin_visit(engine: sa.Engine, case_id: str) -> str:
    """For who made the case, or told its code; the secret is to be presented with every later request."""
    with engine.begin() as connection:
        return _visit(connection, case_id)


def is_visiting(engine: sa.Engine, case_id: str, secret: str) -> bool:
    mine = (case_visits.c.secret_sha256 == _sha256(secret), case_visits.c.case_id == case_id)
    query = sa.select(sa.exists().where(*mine, case_visits.c.expires_at > datetime.now(UTC)))
    with engine.connect() as connection:
        return bool(connection.execute(query).scalar())


def end_visit(engine: sa.Engine, case_id: str, secret: str) -> None:
    mine = (case_visits.c.secret_sha256 == _sha256(secret), case_visits.c.case_id == case_id)
    with engine.begin() as connection:
        connection.execute(sa.delete(case_visits).where(*mine))


def open_with_code(engine: sa.Engine, case_id: str, code: str) -> Opened:
    """After ten wrong codes no code opens the case for a while, so that nobody tries them all."""
    now = datetime.now(UTC)
    mine = cases.c.id == case_id
    tried = _slow_hash(case_id, code)  # before the lock, which on SQLite everyone waits for
    with engine.begin() as connection:
        hold(connection, f"case/{case_id}")  # tries at once are counted one by one
        row = connection.execute(
            sa.select(cases.c.code_hash, cases.c.wrong_codes, cases.c.locked_until).where(mine)
        ).one()
        if row.locked_until is not None and row.locked_until > now:
            return Opened("locked", locked_until=row.locked_until)
        if hmac.compare_digest(row.code_hash, tried):
            connection.execute(sa.update(cases).where(mine).values(wrong_codes=0, locked_until=None))
            return Opened("open", visit=_visit(connection, case_id))
        wrong = row.wrong_codes + 1
        locked_until = now + LOCKED_FOR if wrong >= WRONG_CODES else None
        kept = 0 if locked_until else wrong
        connection.execute(sa.update(cases).where(mine).values(wrong_codes=kept, locked_until=locked_until))
    if locked_until:
        return Opened("locked", locked_until=locked_until)
    return Opened("wrong", tries_left=WRONG_CODES - wrong)


def opens(engine: sa.Engine, new: Secrets) -> bool:
    """Whether the case still has the code that it was made with."""
    with engine.connect() as connection:
        known = connection.execute(sa.select(cases.c.code_hash).where(cases.c.id == new.case_id)).scalar()
    return known == new.code_hash


def new_code(engine: sa.Engine, case_id: str) -> str:
    """In place of the old one, which opens nothing from now on."""
    code = f"{secrets.randbelow(10**8):08}"
    values = {"code_hash": _slow_hash(case_id, code), "wrong_codes": 0, "locked_until": None}
    with engine.begin() as connection:
        connection.execute(sa.update(cases).where(cases.c.id == case_id).values(values))
    return code


def save_letter(engine: sa.Engine, case_id: str, text: str | None, seen: int) -> bool:
    """False, and nothing is changed, if another version than `seen` is there. None: as it is filled from the case."""
    mine = (cases.c.id == case_id, cases.c.letter_version == seen, cases.c.deleted_at.is_(None))
    with engine.begin() as connection:
        changed = sa.update(cases).where(*mine).values(letter=text, letter_version=seen + 1)
        return bool(connection.execute(changed).rowcount)


def bars(engine: sa.Engine, case_id: str, call_id: str) -> str | None:
    """Of the waveform, as JSON; None until they are kept."""
    with engine.connect() as connection:
        return connection.execute(sa.select(case_recordings.c.bars).where(*_mine(case_id, call_id))).scalar()


def keep_bars(engine: sa.Engine, case_id: str, call_id: str, bars: str) -> None:
    _change_recording(engine, case_id, call_id, bars=bars)


def sound(engine: sa.Engine, case_id: str, call_id: str) -> tuple[str, int] | None:
    """Hash and bytes of the sound for listening; None until it is kept."""
    columns = (case_recordings.c.sound_sha256, case_recordings.c.sound_bytes)
    with engine.connect() as connection:
        row = connection.execute(sa.select(*columns).where(*_mine(case_id, call_id))).one_or_none()
    return None if row is None or row.sound_sha256 is None else (row.sound_sha256, row.sound_bytes)


def keep_sound(
    engine: sa.Engine, case_id: str, call_id: str, *, sha256: str, size: int, place: Callable[[], None]
) -> None:
    """Nothing is kept if the recording was deleted meanwhile."""
    with engine.begin() as connection:
        hold(connection, f"call/{call_id}")  # a deletion is over, or will see this sound
        hold(connection, f"{case_id}/{sha256}")  # and forgets no file that is placed here
        values = {"sound_sha256": sha256, "sound_bytes": size}
        if connection.execute(sa.update(case_recordings).where(*_mine(case_id, call_id)).values(values)).rowcount:
            place()


def remove_recording(
    engine: sa.Engine,
    case_id: str,
    call_id: str,
    forget_recording: Callable[[str, str], None],
    drop_job: Callable[[str], None],
    *,
    actor: str = BORROWER,
) -> None:
    """With all that was made of it. Does nothing if it is not there. Raises Refused if it is held."""
    if not stored_calls.remove(engine, case_id, actor, call_id, forget_recording):
        return
    try:
        drop_job(call_id)
    except sa.exc.SQLAlchemyError as error:
        # A job without its call does nothing, and the sweep clears it away.
        _log.warning("the job of removed call %s is left to the sweep: %s", call_id, where(error))


def remove(
    engine: sa.Engine,
    case_id: str,
    forget_recording: Callable[[str, str], None],
    drop_job: Callable[[str], None],
    *,
    actor: str = BORROWER,
) -> None:
    """Of the case stays that its link is a deleted one's. What cannot be removed now is left for the next sweep."""
    with engine.begin() as connection:
        connection.execute(sa.delete(case_visits).where(case_visits.c.case_id == case_id))
        values = {"deleted_at": datetime.now(UTC), "letter": None, "code_hash": ""}
        connection.execute(sa.update(cases).where(cases.c.id == case_id, cases.c.deleted_at.is_(None)).values(values))
    for recording in recordings(engine, case_id):
        try:
            remove_recording(engine, case_id, recording.call_id, forget_recording, drop_job, actor=actor)
        except (OSError, Refused, sa.exc.SQLAlchemyError) as error:
            _log.warning("recording %s of a deleted case is still there: %s", recording.call_id, where(error))
    overwrite_deleted(engine)


def remove_expired(
    engine: sa.Engine, forget_recording: Callable[[str, str], None], drop_job: Callable[[str], None]
) -> int:
    """How many cases went, for their time is over or they were not removed whole before."""
    now = datetime.now(UTC)
    rest = sa.exists().where(case_recordings.c.case_id == cases.c.id)
    query = sa.select(cases.c.id).where(
        sa.or_(sa.and_(cases.c.deleted_at.is_(None), cases.c.expires_at < now), cases.c.deleted_at.is_not(None) & rest)
    )
    with engine.begin() as connection:
        connection.execute(sa.delete(case_visits).where(case_visits.c.expires_at < now))
    with engine.connect() as connection:
        expired = list(connection.execute(query.limit(_AT_ONCE)).scalars())
    for case_id in expired:
        remove(engine, case_id, forget_recording, drop_job, actor="retention")
    return len(expired)


_OF_CALL = (
    "status",
    "progress",
    "problem",
    "seconds",
    "recording_sha256",
    "recording_bytes",
    "media_type",
    "received_at",
)
_RECORDING = (
    *(case_recordings.c[name] for name in ("call_id", *Told.__slots__, "roles_swapped")),
    *(calls.c[name] for name in _OF_CALL),
)


def _change_recording(engine: sa.Engine, case_id: str, call_id: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(case_recordings).where(*_mine(case_id, call_id)).values(**values))


def _visit(connection: sa.Connection, case_id: str) -> str:
    secret = secrets.token_urlsafe(32)
    values = {"case_id": case_id, "expires_at": datetime.now(UTC) + VISIT_LASTS}
    connection.execute(sa.insert(case_visits).values(secret_sha256=_sha256(secret), **values))
    return secret


def _mine(case_id: str, call_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (case_recordings.c.case_id == case_id, case_recordings.c.call_id == call_id)


def _slow_hash(case_id: str, code: str) -> str:
    # A code has 27 bits: slow, so that who reads the table does not know it in a moment.
    return hashlib.scrypt(code.encode(), salt=case_id.encode(), n=2**14, r=8, p=1, dklen=32).hex()


def _sha256(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
