"""Programs are killed for real here; what was accepted must be scored, and once."""

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import Program, Start, write_tone

QUICK = {"CALLAUDIT_WORKER_TIMEOUT_SECONDS": "2", "CALLAUDIT_STOP_WITHIN_SECONDS": "5"}
HTTP_ONLY = ("serve", "--port", "0", "--no-worker")

Where = dict[str, str]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> Where:
    """Settings for a database of its own."""
    if request.param == "sqlite":
        return dict(QUICK)
    return {**QUICK, "CALLAUDIT_DATABASE_URL": request.getfixturevalue("postgres_database")}


@pytest.fixture
def start(start_program: Start) -> Iterator[Start]:
    """As start_program, but what runs on is killed after each test."""
    started: list[Program] = []

    def _start(*arguments: Any, **options: Any) -> Program:
        started.append(start_program(*arguments, **options))
        return started[-1]

    yield _start
    for program in started:
        if program.process.poll() is None:
            program.kill()


def just_accepted(call: dict[str, Any]) -> bool:
    return True


def just_taken(call: dict[str, Any]) -> bool:
    return bool(call["status"] == "processing")


def half_way(call: dict[str, Any]) -> bool:
    return bool(call["status"] == "processing" and call["progress"] > 0)


def just_finished(call: dict[str, Any]) -> bool:
    return bool(call["status"] == "done")


@pytest.mark.parametrize("moment", [just_accepted, just_taken, half_way, just_finished])
def test_service_killed_at_any_moment_reports_every_call_once(
    start: Start, tmp_path: Path, long_call: Path, moment: Callable[[dict[str, Any]], bool]
) -> None:
    first = start(tmp_path, settings=QUICK)
    call_id = first.accepted(long_call)
    first.until(call_id, moment)
    first.kill()
    second = start(tmp_path, settings=QUICK)
    call = second.finished(call_id)
    assert call["status"] == "done", call
    assert call["report"]["utterances"]
    assert len(second.get("/v1/calls").json()["calls"]) == 1
    assert len(recordings(tmp_path)) == 1
    if moment is just_finished:  # the kill may come between the report and its line
        assert reports_of(call_id, first, second, within_s=1) <= 1
    else:
        assert reports_of(call_id, first, second) == 1
    assert_no_job_left(second)


def test_service_killed_again_and_again_loses_nothing(start: Start, tmp_path: Path) -> None:
    accepted: list[str] = []
    programs: list[Program] = []
    for round_ in range(2):
        programs.append(start(tmp_path, settings=QUICK))
        for index in range(2):
            file = tmp_path / f"{round_}-{index}.wav"
            write_tone(file, 0.5, 200.0 + 10 * round_ + index)
            accepted.append(programs[-1].accepted(file))
        time.sleep(0.5 * round_)
        programs[-1].kill()
    programs.append(start(tmp_path, settings=QUICK))
    for call_id in accepted:
        assert programs[-1].finished(call_id)["status"] == "done"
        assert reports_of(call_id, *programs, within_s=1) <= 1
    assert_no_job_left(programs[-1])


@pytest.mark.parametrize("moment", [just_taken, half_way])
def test_call_of_a_killed_worker_goes_to_another(
    start: Start, tmp_path: Path, long_call: Path, where: Where, moment: Callable[[dict[str, Any]], bool]
) -> None:
    service = start(tmp_path, *HTTP_ONLY, settings=where)
    first = start(tmp_path, "worker", settings={**where, "CALLAUDIT_EXECUTOR_ID": "a"})
    call_id = service.accepted(long_call)
    service.until(call_id, moment)
    first.kill()
    second = start(tmp_path, "worker", settings={**where, "CALLAUDIT_EXECUTOR_ID": "b"})
    assert service.finished(call_id)["status"] == "done"
    assert "worker a is dead" in second.log
    assert reports_of(call_id, first, second) == 1
    assert_no_job_left(service, second)


def test_worker_that_hangs_is_replaced_and_what_it_still_says_is_refused(
    start: Start, tmp_path: Path, long_call: Path
) -> None:
    service = start(tmp_path, *HTTP_ONLY, settings=QUICK)
    hung = start(tmp_path, "worker", settings={**QUICK, "CALLAUDIT_EXECUTOR_ID": "a"})
    hung.wait_for("worker a is ready")
    call_id = service.accepted(long_call)
    service.until(call_id, half_way)
    hung.process.send_signal(signal.SIGSTOP)
    other = start(tmp_path, "worker", settings={**QUICK, "CALLAUDIT_EXECUTOR_ID": "b"})
    other.wait_for("worker a is dead")
    service.until(call_id, half_way)
    hung.process.send_signal(signal.SIGCONT)
    assert service.finished(call_id)["status"] == "done"
    hung.wait_for(f"call {call_id} was removed or taken over")
    assert reports_of(call_id, hung, other) == 1


def test_several_workers_share_the_calls(start: Start, tmp_path: Path, where: Where) -> None:
    service = start(tmp_path, *HTTP_ONLY, settings=where)
    workers = [start(tmp_path, "worker", settings=where) for _ in range(2)]
    names = {worker.wait_for(r"worker \S+ is ready") for worker in workers}
    assert len(names) == 2
    accepted = []
    for index in range(6):
        write_tone(tmp_path / f"{index}.wav", 0.5, 300.0 + index)
        accepted.append(service.accepted(tmp_path / f"{index}.wav"))
    for call_id in accepted:
        assert service.finished(call_id)["status"] == "done"
        assert reports_of(call_id, *workers) == 1
    assert all(any(reports_of(call_id, worker, within_s=0) for call_id in accepted) for worker in workers)


def test_stopped_service_gives_its_call_back(start: Start, tmp_path: Path, long_call: Path) -> None:
    first = start(tmp_path, settings=QUICK)
    call_id = first.accepted(long_call)
    first.until(call_id, half_way)
    assert first.stop() == 0
    status, attempts = query(tmp_path, "SELECT status, attempts FROM calls")[0]
    assert (status, attempts) == ("queued", 0)
    second = start(tmp_path, settings=QUICK)
    assert second.finished(call_id)["status"] == "done"
    assert reports_of(call_id, first, second) == 1


def test_removed_call_is_no_longer_scored(start: Start, tmp_path: Path, long_call: Path) -> None:
    service = start(tmp_path, settings=QUICK)
    call_id, waiting = service.accepted(long_call), service.accepted(long_call)
    service.until(call_id, half_way)
    for gone in (call_id, waiting):
        assert httpx2.delete(f"{service.url}/v1/calls/{gone}").status_code == 204
        assert service.get(f"/v1/calls/{gone}").status_code == 404
    service.wait_for(f"call {call_id} was removed")
    assert recordings(tmp_path) == []
    assert reports_of(call_id, service, within_s=0) == reports_of(waiting, service, within_s=0) == 0
    assert_no_job_left(service)


def test_call_that_kills_its_worker_every_time_is_given_up(start: Start, tmp_path: Path, long_call: Path) -> None:
    first = start(tmp_path, settings=QUICK)
    call_id = first.accepted(long_call)
    first.until(call_id, just_taken)
    first.kill()
    with sqlite3.connect(tmp_path / "callaudit.db") as connection:
        connection.execute("UPDATE calls SET attempts = 5")  # as if it had been killed so often
    connection.close()
    call = start(tmp_path, settings=QUICK).finished(call_id)
    assert call["status"] == "failed"
    assert call["error"]["status"] == 500
    assert "died 5 times" in call["error"]["detail"]


def test_call_whose_job_was_lost_is_found_again(start: Start, tmp_path: Path, tone: Path) -> None:
    first = start(tmp_path, *HTTP_ONLY, settings=QUICK)
    call_id = first.accepted(tone)
    with sqlite3.connect(tmp_path / "callaudit.db") as connection:
        connection.execute("UPDATE workflow_status SET status = 'CANCELLED', queue_name = NULL")
    connection.close()
    start(tmp_path, "worker", settings=QUICK)
    assert first.finished(call_id)["status"] == "done"


def test_reports_survive_a_restart(start: Start, tmp_path: Path, tone: Path) -> None:
    first = start(tmp_path, settings=QUICK)
    done = first.finished(first.accepted(tone, metadata=json.dumps({"agency": "north"})))
    assert first.stop() == 0
    second = start(tmp_path, settings=QUICK)
    assert second.get(f"/v1/calls/{done['id']}").json() == done


def reports_of(call_id: str, *programs: Program, within_s: float = 5.0) -> int:
    """How often the programs said that they reported the call, which they say just after they did.

    One that was killed in between has said nothing.
    """
    deadline = time.monotonic() + within_s
    while True:
        told = sum(f"call {call_id} done" in line for program in programs for line in list(program.lines))
        if told or time.monotonic() > deadline:
            return told
        time.sleep(0.05)


def recordings(data_dir: Path) -> list[Path]:
    return [file for file in (data_dir / "recordings").rglob("*") if file.is_file()]


def query(data_dir: Path, question: str) -> list[Any]:
    connection = sqlite3.connect(data_dir / "callaudit.db")
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


def assert_no_job_left(*programs: Program) -> None:
    """Neither waiting nor in work; the sweep also clears what DBOS remembers of finished ones."""
    data_dir = programs[0].data_dir
    if not (data_dir / "callaudit.db").exists():
        return
    deadline = time.monotonic() + 15
    while left := query(data_dir, "SELECT workflow_uuid, status FROM workflow_status"):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
