import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.conduct_import import import_findings
from pipelines.archive.across import judge_conduct
from pipelines.archive.errors import ArchiveError
from pipelines.archive.schemas import CALLS, FAILURES, FINDINGS, UTTERANCES
from pipelines.archive.store import Store
from pipelines.conduct import load_rules
from tests.archive.conftest import archive, rows
from tests.conftest import Start

NIGHT = datetime(2026, 3, 1, 16, tzinfo=UTC)  # midnight where the rules are at home


def judged(scored: Path, place: Path) -> Store:
    """The archive as if three of its calls had been made at night, two of them without the borrower's leave."""
    calls = rows(scored, CALLS)
    for index, name in enumerate(("clip-001.flac", "clip-003.wav", "clip-005.ogg")):
        (call,) = (call for call in calls if call["recording"] == name)
        call |= {"called_at": NIGHT, "direction": "outbound", "borrower_ref": f"b-{index}", "agreed_hours": index == 2}
    store = Store(str(place))
    with store.writing("audio"):
        store.commit({CALLS: calls, UTTERANCES: [], FAILURES: []})
    assert judge_conduct(store, load_rules()).findings == 2
    return store


def test_service_shows_imported_calls_and_findings_as_its_own(
    scored: tuple[Path, Path], tmp_path: Path, start_program: Start
) -> None:
    source, dest = scored[0], tmp_path / "archive"
    judged(scored[1], dest)
    some = tmp_path / "in"
    shutil.copytree(source, some)
    (some / "clip-002.ogg").write_bytes(b"another")
    (some / "clip-003.wav").unlink()
    settings = {"CALLAUDIT_DATA_DIR": str(tmp_path / "data")}
    done = archive("import", dest, "--source", some, **settings)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "13 added, 0 there already, 2 left out",
        "findings: 1 added, 0 there already, 0 replaced, 1 left out, whose calls are not there",
    ]
    told = sorted(done.stderr.splitlines())
    assert told[0].startswith("'clip-002.ogg': its bytes are not those")
    assert told[1].startswith("'clip-003.wav': it cannot be read")
    again = archive("import", dest, "--source", source, **settings)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [
        "2 added, 13 there already, 0 left out",
        "findings: 1 added, 1 there already, 0 replaced, 0 left out, whose calls are not there",
    ]

    service = start_program(tmp_path / "data", "serve", "--port", "0", "--no-worker")
    listed = service.get("/v1/calls?limit=100").json()["calls"]
    assert len(listed) == 15
    assert {call["status"] for call in listed} == {"done"}
    (known,) = (call for call in listed if call["metadata"].get("call_id") == "crm-1")
    assert known["metadata"]["collector_id"] == "c-1"
    shown = service.get(f"/v1/calls/{known['id']}").json()
    stored = next(row for row in rows(dest, "calls") if row["call_id"] == "crm-1")
    assert shown["report"]["utterances"] == json.loads(stored["report"])["utterances"]
    assert service.get("/v1/collectors").json()["scorecards"][0]["name"] == "c-1"
    findings = service.get("/v1/conduct").json()["findings"]
    assert {finding["borrower_ref"] for finding in findings} == {"b-0", "b-1"}
    (hers,) = (finding for finding in findings if finding["collectors"] == ["c-1"])
    assert (hers["rule"]["id"], hers["calls"][0]["id"]) == ("cn-call-hours", known["id"])
    assert datetime.fromisoformat(hers["first_at"]) == NIGHT


def test_findings_that_do_not_tell_their_rules_are_not_imported(scored: tuple[Path, Path], tmp_path: Path) -> None:

    store = judged(scored[1], tmp_path / "archive")
    table = store.read_table(FINDINGS)
    assert table is not None
    store.write_table(FINDINGS, table.replace_schema_metadata({}))
    with pytest.raises(ArchiveError, match="run `callaudit archive conduct` again"):
        import_findings(store, sa.create_engine("sqlite://"), "default")
