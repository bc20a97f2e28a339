"""An empty database -> one with a year of calls of several tenants, by COPY, in the tables that the service made."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from tests.benchmarks.reads_conversations import Conversation, conversations

# Name, share of the calls.
TENANTS = (("north", 0.6), ("east", 0.25), ("south", 0.1), ("west", 0.05))
_DISTINCT = 1500  # conversations; calls share them
_COLLECTOR_EVERY, _AGENCIES = 250, 8  # calls
_FAILED, _REVIEWED, _OPEN_AT_END = 0.007, 0.3, 20
_WEBHOOK_DAYS = 30
_INDEXES_AT_ONCE = 4
_LABELS = ("threat", "insult", "third_party_contact")

_COLUMNS = {
    "calls": (
        "number, id, tenant_id, status, progress, attempts, recording_sha256, recording_bytes, media_type, details,"
        " collector_id, agency, seconds, called_at, received_at, finished_at, report, problem"
    ),
    "utterances": (
        'tenant_id, call_id, collector_id, agency, called_at, id, place, speaker, start, stop, "text", label, threat,'
        " insult, third_party_contact, needs_review, suppressed"
    ),
    "call_labels": "call_id, label",
    "call_verdicts": "call_id, label",
    "reviews": "id, tenant_id, call_id, utterance, kind, verdict, labels, note, reviewer, created_at",
    "audit_log": "tenant_id, position, at, actor, action, subject, facts, hash",
    "webhook_messages": (
        "id, webhook_id, call_id, event, payload, state, attempts, created_at, due_at, give_up_at, settled_at"
    ),
}
_PROBLEM = json.dumps(
    {
        "type": "urn:callaudit:problem:no-speech",
        "title": "No speech",
        "status": 422,
        "detail": "no speech found in any channel",
    }
)


@dataclass(frozen=True, slots=True)
class Made:
    calls: int
    utterances: int


def fill(database_url: str, calls: int, seed: int = 20260101) -> Made:
    """Indexes that are there are made anew at the end, which is quicker, and are then as good as new ones."""
    rows = _Rows(calls, random.Random(seed))
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")  # rows fit each other; no need to look each up
        connection.execute("SET default_toast_compression = lz4")
        for name, _ in TENANTS:
            connection.execute("INSERT INTO tenants (id, created_at) VALUES (%s, now())", (name,))
            connection.execute(
                "INSERT INTO webhooks (id, tenant_id, url, events, description, redacted, secret, created_at)"
                " VALUES (%s, %s, 'https://lender.example/hook', 'call.done', '', true, 'whsec_AAAA', now())",
                (f"we_{name}", name),
            )
        indexes = _take_indexes(connection)
        for table, write in rows.tables().items():
            print(f"writing {table}", flush=True)
            with connection.cursor().copy(f"COPY {table} ({_COLUMNS[table]}) FROM STDIN".encode()) as copy:
                for block in write():
                    copy.write(block)
        for table, column in (("calls", "number"), ("utterances", "id")):
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}".encode()  # noqa: S608
            )
    with ThreadPoolExecutor(_INDEXES_AT_ONCE) as pool:
        list(pool.map(lambda definition: _run(database_url, definition), indexes))
    _run(database_url, "VACUUM ANALYZE")
    return Made(calls, rows.utterances)


@dataclass(frozen=True, slots=True)
class _Call:
    number: int
    id: str
    tenant: str
    status: str
    collector: str
    agency: str
    called_at: datetime
    said: Conversation

    @property
    def received_at(self) -> datetime:
        return self.called_at + timedelta(minutes=5)


class _Rows:
    def __init__(self, calls: int, draw: random.Random) -> None:
        self._draw = draw
        self._calls = list(_calls(calls, draw))
        self.utterances = 0

    def tables(self) -> dict[str, Callable[[], Iterator[str]]]:
        return {
            "calls": self._call_rows,
            "utterances": self._utterance_rows,
            "call_labels": lambda: self._label_rows(lambda said: said.found),
            "call_verdicts": lambda: self._label_rows(lambda said: said.verdict),
            "reviews": self._review_rows,
            "audit_log": self._audit_rows,
            "webhook_messages": self._message_rows,
        }

    def _done(self) -> Iterator[_Call]:
        return (call for call in self._calls if call.status == "done")

    def _call_rows(self) -> Iterator[str]:
        for call in self._calls:
            sha256 = hashlib.sha256(call.id.encode()).hexdigest()
            details = {"call_id": f"pbx-{call.number}", "collector_id": call.collector, "agency": call.agency}
            finished = call.received_at + timedelta(minutes=1)
            done = call.status == "done"
            values = (
                call.number,
                call.id,
                call.tenant,
                call.status,
                1.0 if done else 0.0,
                1,
                sha256,
                round(16_000 * call.said.seconds),
                "audio/wav",
                json.dumps(details),
                call.collector,
                call.agency,
                call.said.seconds if done else None,
                call.called_at,
                call.received_at,
                finished if done or call.status == "failed" else None,
                call.said.report_of(sha256) if done else None,
                _PROBLEM if call.status == "failed" else None,
            )
            yield _line(*values)

    def _utterance_rows(self) -> Iterator[str]:
        for call in self._done():
            known = _line(call.tenant, call.id, call.collector, call.agency, call.called_at).rstrip("\n")
            first = self.utterances + 1
            self.utterances += len(call.said.rows)
            yield "".join(f"{known}\t{number}\t{row}\n" for number, row in enumerate(call.said.rows, first))

    def _label_rows(self, of: Callable[[Conversation], tuple[str, ...]]) -> Iterator[str]:
        for call in self._done():
            yield "".join(_line(call.id, label) for label in of(call.said))

    def _review_rows(self) -> Iterator[str]:
        for call in self._done():
            for utterance in call.said.flagged:
                if self._draw.random() < _REVIEWED:
                    verdict, labels = self._draw.choice((("confirm", self._draw.choice(_LABELS)), ("reject", "")))
                    given = ("review", verdict, labels, "", f"key:{self._draw.randrange(4)}", call.received_at)
                    yield _line(self._id(), call.tenant, call.id, utterance, *given)

    def _audit_rows(self) -> Iterator[str]:
        positions = dict.fromkeys((name for name, _ in TENANTS), 0)
        for call in self._calls:
            positions[call.tenant] += 1
            facts = json.dumps({"bytes": 1_000_000, "recording_sha256": hashlib.sha256(call.id.encode()).hexdigest()})
            at = call.received_at.isoformat(timespec="microseconds")
            told = ("key:0123456789ab", "call.accepted", call.id, facts, hashlib.sha256(at.encode()).hexdigest())
            yield _line(call.tenant, positions[call.tenant], at, *told)

    def _message_rows(self) -> Iterator[str]:
        since = datetime.now(UTC) - timedelta(days=_WEBHOOK_DAYS)
        for call in self._done():
            if call.received_at < since:
                continue
            state = self._draw.choices(("delivered", "pending", "dead"), (0.985, 0.01, 0.005))[0]
            payload = json.dumps({"type": "call.done", "data": {"call": {"id": call.id}, "filler": "x" * 600}})
            at, later = call.received_at, call.received_at + timedelta(days=1)
            settled = None if state == "pending" else at
            # What is due is due much later, so that the worker leaves it alone.
            due = datetime.now(UTC) + timedelta(days=300)
            told = (f"we_{call.tenant}", call.id, "call.done", payload, state, 1, at, due, later, settled)
            yield _line(f"msg_{self._id()[:32]}", *told)

    def _id(self) -> str:
        return str(UUID(int=self._draw.getrandbits(128), version=4))


def _calls(number: int, draw: random.Random) -> Iterator[_Call]:
    """In the order of receipt, over the last year, with calls that came up to two days late."""
    made = conversations(_DISTINCT, draw.randrange(2**32))
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=365)
    for at in range(1, number + 1):
        tenant, share = draw.choices(TENANTS, [share for _, share in TENANTS])[0]
        status = "failed" if draw.random() < _FAILED else "done"
        agency = draw.randrange(_AGENCIES)
        collector = draw.randrange(max(_AGENCIES, round(number * share / _COLLECTOR_EVERY)))
        late = timedelta(days=draw.uniform(0, 2) if draw.random() < 0.05 else 0)
        yield _Call(
            number=at,
            id=str(UUID(int=draw.getrandbits(128), version=4)),
            tenant=tenant,
            status="queued" if at > number - _OPEN_AT_END else status,
            collector=f"{tenant}-{collector:04d}",
            agency=f"{tenant} agency {(collector + agency // 7) % _AGENCIES}",
            called_at=began + at * timedelta(days=365) / number - late,
            said=draw.choice(made),
        )


def _line(*values: object) -> str:
    return "\t".join("\\N" if value is None else str(value).replace("\\", "\\\\") for value in values) + "\n"


def _take_indexes(connection: "psycopg.Connection[tuple[str, ...]]") -> list[str]:
    """How to make them again; what takes longest first."""
    found = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY(%s) AND NOT EXISTS"
        " (SELECT FROM pg_constraint WHERE conname = indexname) ORDER BY indexdef LIKE '%% gin %%' DESC",
        (list(_COLUMNS),),
    ).fetchall()
    for name, _ in found:
        connection.execute(f'DROP INDEX "{name}"'.encode())
    return [definition for _, definition in found]


def _run(database_url: str, command: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        print(command, flush=True)
        connection.execute(command.encode())
