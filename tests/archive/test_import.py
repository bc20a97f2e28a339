import json
import shutil
from pathlib import Path

from tests.archive.conftest import archive, rows
from tests.conftest import Start


def test_service_shows_imported_calls_as_its_own(
    scored: tuple[Path, Path], tmp_path: Path, start_program: Start
) -> None:
    source, dest = scored
    some = tmp_path / "in"
    shutil.copytree(source, some)
    (some / "clip-002.ogg").write_bytes(b"another")
    (some / "clip-003.wav").unlink()
    settings = {"CALLAUDIT_DATA_DIR": str(tmp_path / "data")}
    done = archive("import", dest, "--source", some, **settings)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "13 added, 0 there already, 2 left out\n"
    told = sorted(done.stderr.splitlines())
    assert told[0].startswith("'clip-002.ogg': its bytes are not those")
    assert told[1].startswith("'clip-003.wav': it cannot be read")
    again = archive("import", dest, "--source", source, **settings)
    assert (again.returncode, again.stdout) == (0, "2 added, 13 there already, 0 left out\n")

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
