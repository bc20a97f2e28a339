"""Cases on SQLite and on PostgreSQL, with requests at the same moment."""

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from app import cases, corrections
from app.borrowers.intake import Intake
from app.cases import Secrets, Told
from app.config import Settings
from app.corrections import Correction
from app.database import open_database
from app.incoming import Upload
from app.jobs import JobQueue
from app.recordings import Recordings
from models.call import Speaker
from tests.borrowers.conftest import sound
from tests.lenders.conftest import files_under
from tests.postgres import new_database


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def intake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else None
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), database_url=SecretStr(url) if url else None)
    with open_database(settings) as database:
        jobs = JobQueue(database)
        yield Intake(settings, database, Recordings(settings), jobs)
        jobs.close()


def came(intake: Intake, content: bytes) -> Upload:
    path = intake.recordings.incoming / secrets.token_hex(8)
    path.write_bytes(content)
    return Upload(path, hashlib.sha256(content).hexdigest(), len(content), content[:16])


def at_once(*deeds: Callable[[], object]) -> list[object]:
    start = threading.Barrier(len(deeds))

    def do(deed: Callable[[], object]) -> object:
        start.wait()
        return deed()

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(do, deeds))


def test_one_form_at_once_makes_one_case_and_keeps_every_recording_once(intake: Intake, tmp_path: Path) -> None:
    new = Secrets.of(secrets.token_urlsafe(32))
    contents = [sound(tmp_path / f"{n}.wav").read_bytes() for n in range(2)] * 2
    files = [came(intake, content) for content in contents]
    at_once(*(lambda file=file: intake.take(new, [file], Told()) for file in files))
    found = cases.recordings(intake.database, new.case_id)
    assert {r.recording_sha256 for r in found} == {file.sha256 for file in files}
    assert len(found) == 2
    case = cases.find(intake.database, new.link)
    assert case
    assert case.id == new.case_id

    cases.remove(intake.database, case.id, intake.recordings.forget, intake.jobs.drop)
    assert not [f for f in files_under(intake.settings.data_dir / "recordings") if case.id in str(f)]
    with pytest.raises(cases.CaseGone):
        intake.take(new, [came(intake, contents[0])], Told())
    assert not [f for f in files_under(intake.settings.data_dir / "recordings") if case.id in str(f)]


def test_codes_tried_at_once_are_counted_one_by_one(intake: Intake, tmp_path: Path) -> None:
    new = Secrets.of(secrets.token_urlsafe(32))
    intake.take(new, [came(intake, sound(tmp_path / "a.wav").read_bytes())], Told())
    wrong = f"{(int(new.code) + 1) % 10**8:08}"
    tried = at_once(*(lambda: cases.open_with_code(intake.database, new.case_id, wrong) for _ in range(10)))
    results = [one.result for one in tried if isinstance(one, cases.Opened)]
    assert sorted(results) == ["locked"] + ["wrong"] * 9
    assert cases.open_with_code(intake.database, new.case_id, new.code).result == "locked"


def test_corrections_at_once_are_all_kept(intake: Intake, tmp_path: Path) -> None:
    new = Secrets.of(secrets.token_urlsafe(32))
    intake.take(new, [came(intake, sound(tmp_path / "a.wav").read_bytes())], Told())
    call_id = cases.recordings(intake.database, new.case_id)[0].call_id
    one = Correction(0, 3, "", Speaker.COLLECTOR, 0, datetime.now(UTC))
    texts = [f"第{n}个" for n in range(6)]
    at_once(
        *(
            lambda text=text: corrections.add(
                intake.database, new.case_id, cases.BORROWER, call_id, replace(one, text=text)
            )
            for text in texts
        )
    )
    kept = corrections.of_call(intake.database, call_id)[3]
    assert sorted(c.text for c in kept.all) == texts
    assert kept.unseen == kept.all[-2]


def test_secrets_of_two_cases_have_nothing_in_common() -> None:
    one, other = (Secrets.of(secrets.token_urlsafe(32)) for _ in range(2))
    assert {one.case_id, one.link, one.code}.isdisjoint({other.case_id, other.link, other.code})
    assert len(one.link) == 22
    assert Secrets.of("x" * 43) == Secrets.of("x" * 43)


def test_tables_hold_no_secret_as_it_is(intake: Intake, tmp_path: Path) -> None:
    new = Secrets.of(secrets.token_urlsafe(32))
    intake.take(new, [came(intake, sound(tmp_path / "a.wav").read_bytes())], Told())
    visit = cases.begin_visit(intake.database, new.case_id)
    assert cases.is_visiting(intake.database, new.case_id, visit)
    assert not cases.is_visiting(intake.database, "case-other", visit)
    with intake.database.connect() as connection:
        stored = str([connection.execute(sa.text(f"SELECT * FROM {t}")).all() for t in ("cases", "case_visits")])  # noqa: S608
    for secret in (new.link, new.code, visit):
        assert secret not in stored
