import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.archive_import import import_calls
from app.conduct_import import import_findings
from app.config import Settings
from app.database import open_database
from app.recordings import Recordings
from app.tables import DEFAULT_TENANT
from models.call import Label
from pipelines.archive.across import judge_conduct
from pipelines.archive.errors import ArchiveError
from pipelines.archive.facts import Facts
from pipelines.archive.rows import add_report, nothing
from pipelines.archive.schemas import CALLS, FINDINGS
from pipelines.archive.store import Store
from pipelines.conduct import load_rules
from tests.archive.conftest import archive, rows
from tests.conftest import Start
from tests.lenders.conftest import Said, report

NIGHT = datetime(2026, 3, 1, 16, tzinfo=UTC)  # midnight where the rules are at home
TALK = (Said("不还就打断你的腿", (Label.THREAT,)), Said("您好"))


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Path, Store]:
    """Recordings, and their archive with findings: a night call of two borrowers, and one that was agreed."""
    source = tmp_path / "recordings"
    (source / "子").mkdir(parents=True)
    made = nothing()
    facts = {
        "a.wav": Facts(call_id="crm-1", collector_id="c-1", borrower_ref="b-1", called_at=NIGHT, direction="outbound"),
        "b.wav": Facts(borrower_ref="b-2", called_at=NIGHT, direction="outbound"),
        "c.wav": Facts(borrower_ref="b-3", called_at=NIGHT, direction="outbound", agreed_hours=True),
        "子/line\nbreak.wav": Facts(),
    }
    for name, known in facts.items():
        content = b"RIFF" + name.encode()
        (source / name).write_bytes(content)
        add_report(made, name, known, report(TALK, hashlib.sha256(content).hexdigest()))
    store = Store(str(tmp_path / "archive"))
    with store.writing("audio"):
        store.commit(made)
    assert judge_conduct(store, load_rules()).findings == 2
    return source, store


def test_service_shows_imported_calls_and_findings_as_its_own(
    judged: tuple[Path, Store], tmp_path: Path, start_program: Start
) -> None:
    source, store = judged
    whole = (source / "b.wav").read_bytes()
    (source / "b.wav").write_bytes(b"another")
    (source / "c.wav").rename(tmp_path / "c.wav")
    settings = {"CALLAUDIT_DATA_DIR": str(tmp_path / "data")}
    done = archive("import", store.place, "--source", source, **settings)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "2 added, 0 there already, 2 left out",
        "findings: 1 added, 0 there already, 0 replaced, 1 left out, whose calls are not there",
    ]
    told = sorted(done.stderr.splitlines())
    assert told[0].startswith("'b.wav': its bytes are not those")
    assert told[1].startswith("'c.wav': it cannot be read")
    (source / "b.wav").write_bytes(whole)
    (tmp_path / "c.wav").rename(source / "c.wav")
    again = archive("import", store.place, "--source", source, **settings)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [
        "2 added, 2 there already, 0 left out",
        "findings: 1 added, 1 there already, 0 replaced, 0 left out, whose calls are not there",
    ]

    service = start_program(tmp_path / "data", "serve", "--port", "0", "--no-worker")
    listed = service.get("/v1/calls?limit=100").json()["calls"]
    assert len(listed) == 4
    assert {call["status"] for call in listed} == {"done"}
    assert [call["metadata"]["agreed_hours"] for call in listed if "agreed_hours" in call["metadata"]].count(True) == 1
    (known,) = (call for call in listed if call["metadata"].get("call_id") == "crm-1")
    assert known["metadata"]["collector_id"] == "c-1"
    shown = service.get(f"/v1/calls/{known['id']}").json()
    stored = next(row for row in rows(store.place, CALLS) if row["call_id"] == "crm-1")
    assert shown["report"]["utterances"] == json.loads(stored["report"])["utterances"]
    assert service.get("/v1/collectors").json()["scorecards"][0]["name"] == "c-1"
    findings = service.get("/v1/conduct").json()["findings"]
    assert {finding["borrower_ref"] for finding in findings} == {"b-1", "b-2"}
    (hers,) = (finding for finding in findings if finding["collectors"] == ["c-1"])
    assert (hers["rule"]["id"], hers["calls"][0]["id"]) == ("cn-call-hours", known["id"])
    assert datetime.fromisoformat(hers["first_at"]) == NIGHT


def test_call_of_a_day_to_come_is_left_out(tmp_path: Path) -> None:
    made, content = nothing(), b"RIFFa.wav"
    (tmp_path / "a.wav").write_bytes(content)
    # As archives have them that were made before such times were refused.
    late = Facts.model_construct(called_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    add_report(made, "a.wav", late, report(TALK, hashlib.sha256(content).hexdigest()))
    store, settings = Store(str(tmp_path / "archive")), Settings(data_dir=tmp_path / "data")
    with store.writing("audio"):
        store.commit(made)
    with open_database(settings) as database:
        done = import_calls(store, str(tmp_path), database, Recordings(settings), DEFAULT_TENANT)
    assert (done.added, done.there) == (0, 0)
    assert done.skipped == [("a.wav", "its called_at lies more than a day ahead (9999-12-31T23:59:59+00:00)")]


def test_findings_that_do_not_tell_their_rules_are_not_imported(judged: tuple[Path, Store]) -> None:
    _, store = judged
    table = store.read_table(FINDINGS)
    assert table is not None
    store.write_table(FINDINGS, table.replace_schema_metadata({}))
    with pytest.raises(ArchiveError, match="run `callaudit archive conduct` again"):
        import_findings(store, sa.create_engine("sqlite://"), "default")
