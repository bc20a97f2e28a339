"""Cases on SQLite and on PostgreSQL, with requests at the same moment."""

import hashlib
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import soundfile
import sqlalchemy as sa
from pydantic import SecretStr

from app import cases, corrections
from app.borrowers.intake import Intake
from app.borrowers.listening import Listener, new_locks
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


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_file_stays_until_the_last_recording_that_needs_it_goes(
    intake: Intake, tmp_path: Path, order: tuple[int, ...]
) -> None:
    new, listener = Secrets.of(secrets.token_urlsafe(32)), listener_of(intake)
    wav, flac = sound(tmp_path / "a.wav"), tmp_path / "a.flac"
    samples, rate = soundfile.read(wav, dtype="int16")
    soundfile.write(flac, samples, rate)
    intake.take(new, [came(intake, wav.read_bytes()), came(intake, flac.read_bytes())], Told())
    made = {listener.sound(new.case_id, one) for one in cases.recordings(intake.database, new.case_id)}
    (mp3,) = (b"".join(intake.recordings.read(new.case_id, one.sha256, 0, sys.maxsize)) for one in made)
    intake.take(new, [came(intake, mp3)], Told())  # who saved the sound sends it in as a recording

    all_three = cases.recordings(intake.database, new.case_id)
    assert all_three[2].recording_sha256 in {one.sha256 for one in made}
    for number in order:
        remove_recording(intake, new, all_three[number].call_id)
        needed = {one.recording_sha256 for one in cases.recordings(intake.database, new.case_id)}
        sounds = (cases.sound(intake.database, new.case_id, one.call_id) for one in all_three)
        needed |= {one[0] for one in sounds if one}
        assert files_of(intake, new) == needed
    assert files_of(intake, new) == set()


def test_sound_kept_while_its_recording_is_deleted_goes_too(intake: Intake, tmp_path: Path) -> None:
    new = Secrets.of(secrets.token_urlsafe(32))
    intake.take(new, [came(intake, sound(tmp_path / "a.wav").read_bytes())], Told())
    (recording,) = cases.recordings(intake.database, new.case_id)
    made = came(intake, b"a sound")
    with ThreadPoolExecutor(1) as pool:

        def place() -> None:
            pool.submit(remove_recording, intake, new, recording.call_id)
            time.sleep(0.5)  # the deletion comes as far as it gets beside this
            intake.recordings.keep(made.path, new.case_id, made.sha256)

        keep_sound(intake, new, recording.call_id, made, place)
    assert cases.recordings(intake.database, new.case_id) == []
    assert files_of(intake, new) == set()

    late = came(intake, b"a sound")
    keep_sound(
        intake, new, recording.call_id, late, lambda: intake.recordings.keep(late.path, new.case_id, late.sha256)
    )
    assert files_of(intake, new) == set()


def test_sound_kept_while_another_with_the_same_goes_stays(intake: Intake, tmp_path: Path) -> None:
    new = Secrets.of(secrets.token_urlsafe(32))
    intake.take(new, [came(intake, sound(tmp_path / f"{n}.wav").read_bytes()) for n in range(2)], Told())
    going, staying = cases.recordings(intake.database, new.case_id)
    made, again = came(intake, b"a sound"), came(intake, b"a sound")

    def placed(file: Upload) -> Callable[[], None]:
        return lambda: intake.recordings.keep(file.path, new.case_id, file.sha256)

    keep_sound(intake, new, going.call_id, made, placed(made))
    with ThreadPoolExecutor(1) as pool:

        def forget(case_id: str, sha256: str) -> None:
            if sha256 == made.sha256:
                pool.submit(keep_sound, intake, new, staying.call_id, again, placed(again))
                time.sleep(0.5)
            intake.recordings.forget(case_id, sha256)

        cases.remove_recording(intake.database, new.case_id, going.call_id, forget, intake.jobs.drop)
    assert cases.sound(intake.database, new.case_id, staying.call_id) == (again.sha256, again.size)
    assert files_of(intake, new) == {staying.recording_sha256, again.sha256}


def listener_of(intake: Intake) -> Listener:
    return Listener(intake.settings, intake.database, intake.recordings, new_locks())


def keep_sound(intake: Intake, new: Secrets, call_id: str, made: Upload, place: Callable[[], None]) -> None:
    cases.keep_sound(intake.database, new.case_id, call_id, sha256=made.sha256, size=made.size, place=place)


def remove_recording(intake: Intake, new: Secrets, call_id: str) -> None:
    cases.remove_recording(intake.database, new.case_id, call_id, intake.recordings.forget, intake.jobs.drop)


def files_of(intake: Intake, new: Secrets) -> set[str]:
    """The hashes of the case's files."""
    kept = files_under(intake.settings.data_dir / "recordings" / "tenants" / new.case_id)
    return {file.name for file in kept}


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
