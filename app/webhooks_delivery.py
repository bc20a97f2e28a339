"""Messages that are due -> signed requests, in order per call and webhook, until each is delivered or given up.

A claim puts the message's next attempt some minutes off, so that what a killed worker had in hand is sent again by
another. A receiver may thus get a message twice, under the same id; it never gets two of a call in the wrong order.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from standardwebhooks import Webhook as Signer

from app import audit
from app import webhooks as endpoints
from app.audit import Action
from app.encryption import Keyring
from app.errors import Refused as Problematic
from app.logs import where
from app.tables import webhook_messages, webhooks
from app.traces import span
from app.webhooks import EventType, State, unsealed
from app.webhooks_connection import Answer, NoAnswer, Refused
from pipelines.version import installed_version

_log = logging.getLogger(__name__)

_AT_ONCE = 4
_POLL_S = 0.5
_PAUSE_WITHOUT_DATABASE_S = 5.0
_CLAIMED_FOR = timedelta(minutes=2)  # longer than any request may take
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 3600.0
_KEPT = timedelta(days=30)
_GONE = 410  # as of Standard Webhooks: the receiver wants nothing more
_OFF = "the webhook was switched off, since its receiver answered 410 Gone"


class Poster(Protocol):
    def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Raises Refused or NoAnswer."""


@dataclass(frozen=True, slots=True)
class _Claimed:
    number: int
    attempt: int
    id: str
    webhook_id: str
    tenant_id: str
    call_id: str
    event: str
    payload: str
    give_up_at: datetime
    url: str
    redacted: bool
    secret: str
    previous_secret: str | None
    previous_until: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Failure:
    problem: str
    wait_s: float = 0.0  # the shortest pause that the receiver asks for
    for_good: bool = False  # nothing more is to be sent to this receiver


class Deliverer:
    """One thread looks for what is due, a few send it; of one webhook, a process sends one message at a time."""

    def __init__(self, database: sa.Engine, keyring: Keyring, post: Poster, count: Callable[[str], None]) -> None:
        """`count` is told what became of each attempt: delivered, failed, dead or refused."""
        self._database, self._keyring, self._post, self._count = database, keyring, post, count
        self._stopping = threading.Event()
        self._free = threading.Semaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._watcher = threading.Thread(target=self._watch, name="webhooks", daemon=True)

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        """Takes up nothing more."""
        self._stopping.set()

    def wait(self, within_s: float) -> None:
        """Once stopped: what is not sent by then is sent again by another worker."""
        self._watcher.join(within_s)
        if any(not self._free.acquire(timeout=within_s / _AT_ONCE) for _ in range(_AT_ONCE)):
            _log.warning("a webhook does not answer; what it was being told goes out again later")

    def deliver_one(self) -> bool:
        """False if nothing is due."""
        claimed = self._claim()
        if claimed is None:
            return False
        self._deliver(claimed)
        return True

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if not self._free.acquire(timeout=_POLL_S):
                continue
            pause_s = _POLL_S
            try:
                claimed = self._claim()
            except sa.exc.SQLAlchemyError as error:
                _log.warning("webhooks wait for the database: %s", where(error))
                claimed, pause_s = None, _PAUSE_WITHOUT_DATABASE_S
            if claimed is None:
                self._free.release()
                self._stopping.wait(pause_s)
                continue
            threading.Thread(target=self._send, args=(claimed,), name="webhook", daemon=True).start()

    def _send(self, claimed: _Claimed) -> None:
        try:
            self._deliver(claimed)
        except sa.exc.SQLAlchemyError as error:
            _log.warning("what became of message %s is not noted, so it goes out again: %s", claimed.id, where(error))
        finally:
            self._free.release()

    def _claim(self) -> _Claimed | None:
        now = datetime.now(UTC)
        with self._lock:
            busy = set(self._busy)
        m, earlier = webhook_messages.c, webhook_messages.alias()
        blocked = sa.exists().where(
            earlier.c.webhook_id == m.webhook_id,
            earlier.c.call_id == m.call_id,
            earlier.c.state == State.PENDING,
            earlier.c.number < m.number,
        )
        due = (m.state == State.PENDING, m.due_at <= now, ~blocked, m.webhook_id.not_in(busy))
        names = ("url", "redacted", "secret", "previous_secret", "previous_until", "disabled_at", "tenant_id")
        query = (
            sa.select(
                *(m[name] for name in ("number", "id", "webhook_id", "call_id", "event", "payload", "give_up_at")),
                (m.attempts + 1).label("attempt"),
                *(webhooks.c[name] for name in names),
            )
            .join(webhooks, webhooks.c.id == m.webhook_id)
            .where(*due)
            .order_by(m.due_at, m.number)
            .limit(1)
        )
        with self._database.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        claimed = _Claimed(**row._asdict())
        # Another worker may have seen the same row: only one of them changes it.
        unclaimed = (
            m.number == claimed.number,
            m.state == State.PENDING,
            m.attempts == claimed.attempt - 1,
            m.due_at <= now,
        )
        with self._database.begin() as connection:
            taken = connection.execute(
                sa.update(webhook_messages)
                .where(*unclaimed)
                .values(attempts=claimed.attempt, due_at=now + _CLAIMED_FOR)
            ).rowcount
        if not taken:
            return None
        with self._lock:
            self._busy.add(claimed.webhook_id)
        return claimed

    def _deliver(self, claimed: _Claimed) -> None:
        try:
            with span("deliver webhook", call_id=claimed.call_id, message_id=claimed.id, event=claimed.event):
                failure = self._attempt(claimed)
            self._settle(claimed, failure)
        finally:
            with self._lock:
                self._busy.discard(claimed.webhook_id)

    def _attempt(self, claimed: _Claimed) -> _Failure | None:
        """What went wrong; None if nothing did."""
        if claimed.disabled_at is not None:  # it was written while its webhook was being switched off
            return _Failure(_OFF, for_good=True)
        now = datetime.now(UTC)
        sealed = [claimed.secret]
        if claimed.previous_secret and claimed.previous_until and claimed.previous_until > now:
            sealed.append(claimed.previous_secret)
        try:
            signers = [Signer(unsealed(secret, self._keyring)) for secret in sealed]
        except Problematic:
            return _Failure("its secret is sealed with a key that CALLAUDIT_ENCRYPTION_KEY does not hold")
        headers = {
            "content-type": "application/json",
            "user-agent": f"callaudit/{installed_version()}",
            "webhook-id": claimed.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(claimed.id, now, claimed.payload) for signer in signers),
        }
        try:
            answer = self._post(claimed.url, claimed.payload.encode(), headers)
        except Refused as error:
            self._count("refused")
            return _Failure(str(error))
        except NoAnswer as error:
            return _Failure(str(error))
        return _judged(answer)

    def _settle(self, claimed: _Claimed, failure: _Failure | None) -> None:
        now = datetime.now(UTC)
        values: dict[str, object] = {"last_problem": failure.problem[:300] if failure else None}
        wait_s = failure.wait_s if failure else 0.0
        due_at = now + timedelta(seconds=max(_pause_s(claimed.attempt), min(wait_s, _LONGEST_PAUSE_S)))
        if failure is None:
            values |= {"state": State.DELIVERED, "settled_at": now}
        elif failure.for_good or due_at > claimed.give_up_at:
            values |= {"state": State.DEAD, "settled_at": now}
        else:
            values["due_at"] = due_at
        m = webhook_messages.c
        ours = (m.number == claimed.number, m.attempts == claimed.attempt, m.state == State.PENDING)
        with self._database.begin() as connection:
            changed = connection.execute(sa.update(webhook_messages).where(*ours).values(values)).rowcount
            actor = f"webhook:{claimed.webhook_id}"
            if changed and failure is None and not claimed.redacted and claimed.event == EventType.CALL_FLAGGED:
                audit.record(connection, claimed.tenant_id, actor, Action.REPORT_SEEN, claimed.call_id)
            if failure and failure.for_good and endpoints.disable(connection, claimed.webhook_id, _OFF):
                audit.record(connection, claimed.tenant_id, actor, Action.WEBHOOK_DISABLED, claimed.webhook_id)
        became = "delivered" if failure is None else "dead" if "settled_at" in values else "failed"
        self._count(became)
        level = logging.INFO if failure is None else logging.WARNING
        _log.log(
            level,
            "message %s of call %s to webhook %s, attempt %d: %s%s",
            claimed.id,
            claimed.call_id,
            claimed.webhook_id,
            claimed.attempt,
            became,
            f" ({failure.problem})" if failure else "",
        )


def _judged(answer: Answer) -> _Failure | None:
    if 200 <= answer.status < 300:
        return None
    if answer.status == _GONE:
        return _Failure("it answered 410 Gone, so the webhook was switched off", for_good=True)
    redirect = ", and redirects are not followed" if 300 <= answer.status < 400 else ""
    return _Failure(f"it answered {answer.status}{redirect}", answer.retry_after_s or 0.0)


def forget_settled(engine: sa.Engine) -> int:
    """Messages that were delivered or given up a month ago; how many."""
    m = webhook_messages.c
    old = (m.state.in_([State.DELIVERED, State.DEAD]), m.settled_at < datetime.now(UTC) - _KEPT)
    with engine.begin() as connection:
        return connection.execute(sa.delete(webhook_messages).where(*old)).rowcount


def _pause_s(attempt: int) -> float:
    """Doubles up to an hour; uneven, so that what failed together does not come again together."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 20), _LONGEST_PAUSE_S) * random.uniform(0.8, 1.2)  # noqa: S311
