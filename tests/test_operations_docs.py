"""What docs/webhooks.md and docs/operations.md name is what the service has."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from standardwebhooks import Webhook

from app import doctor
from app.config import Settings
from app.metrics import Metrics
from app.tables import metadata
from app.webhooks import EventType

DOCS = Path(__file__).parent.parent / "docs"
OPERATIONS = (DOCS / "operations.md").read_text("utf8")
WEBHOOKS = (DOCS / "webhooks.md").read_text("utf8")


def test_metrics_are_those_that_are_documented() -> None:
    database = sa.create_engine("sqlite://")
    metadata.create_all(database)
    metrics = Metrics()
    metrics.watch(database, 30)
    exposed = set(re.findall(r"^# TYPE (\w+)", metrics.text().decode(), re.MULTILINE))
    database.dispose()
    documented = set(re.findall(r"^\| `(callaudit_\w+)` \|", OPERATIONS, re.MULTILINE))
    assert {name for name in exposed if not name.endswith("_created")} == documented


def test_checks_are_those_that_are_documented(tmp_path: Path) -> None:
    found = [one.part for one in doctor.examine(Settings(data_dir=tmp_path, threads=1), "127.0.0.1", 8000)]
    table = OPERATIONS[: OPERATIONS.index("## Metrics")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == found


def test_events_are_those_that_are_documented() -> None:
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", WEBHOOKS, re.MULTILINE)) == {str(event) for event in EventType}


def test_example_verifies_a_message() -> None:
    found = re.search(r"```python\n(.+?)```", WEBHOOKS, re.DOTALL)
    assert found
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102 - our own page
    secret, body, now = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"type": "call.done", "data": {}}', datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }

    assert names["received"](secret, headers, body) == ("msg_1", "call.done", {})
