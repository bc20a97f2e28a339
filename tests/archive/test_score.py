import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.archive.capacity import capacity
from pipelines.archive.engine import Scoring
from pipelines.archive.errors import ArchiveError
from pipelines.archive.run import Order, run
from pipelines.archive.schemas import SCHEMAS
from pipelines.archive.sources import Source
from pipelines.archive.store import Store
from pipelines.decode import DecodeLimits
from pipelines.report import Report
from pipelines.score import EngineOptions
from tests.archive.conftest import archive, clips, command, environment, rows, seen
from tests.conftest import ROOT

TABLES = ("calls", "utterances", "failures")


def test_every_recording_is_one_row_of_calls_or_of_failures(scored: tuple[Path, Path]) -> None:
    source, dest = scored
    wanted = sorted(str(f.relative_to(source)) for f in source.rglob("*") if f.is_file() and f.suffix != ".json")
    found = [row["recording"] for table in ("calls", "failures") for row in rows(dest, table)]
    assert sorted(found) == wanted


def test_broken_recordings_say_why(scored: tuple[Path, Path]) -> None:
    told = {row["recording"]: (row["error"], row["reason"]) for row in rows(scored[1], "failures")}
    assert told["broken.wav"][0] == "UnknownFormat"
    assert told["empty.mp3"][0] == "EmptyRecording"
    assert all(reason for _, reason in told.values())


def test_same_sound_under_two_names_is_scored_once_and_reported_for_both(scored: tuple[Path, Path]) -> None:
    calls = {row["recording"]: row for row in rows(scored[1], "calls")}
    pair = [calls["clip-000.wav"], calls["子/line\nbreak.wav"]]
    assert sorted(row["same_as"] or "" for row in pair) == sorted(
        ["", next(row["recording"] for row in pair if row["same_as"] is None)]
    )
    assert pair[0]["report"] == pair[1]["report"]
    of = [[u for u in rows(scored[1], "utterances") if u["recording"] == row["recording"]] for row in pair]
    assert [u["text"] for u in of[0]] == [u["text"] for u in of[1]]


def test_sidecar_and_report_reach_the_row(scored: tuple[Path, Path]) -> None:
    call = next(row for row in rows(scored[1], "calls") if row["recording"] == "clip-001.flac")
    assert (call["call_id"], call["collector_id"]) == ("crm-1", "c-1")
    assert call["called_at"].isoformat() == "2026-03-01T12:15:00+00:00"
    report = Report.model_validate_json(call["report"])
    assert call["duration_s"] == report.recording.duration
    assert call["utterances"] == len(report.utterances)


def test_archive_says_of_a_call_what_score_says(scored: tuple[Path, Path]) -> None:
    source, dest = scored
    one = [str(source / "clip-003.wav"), "--json"]
    alone = subprocess.run(
        [*command()[:-1], "score", *one], capture_output=True, text=True, cwd=ROOT, env=environment(), check=True
    )
    call = next(row for row in rows(dest, "calls") if row["recording"] == "clip-003.wav")
    assert json.loads(call["report"]) == json.loads(alone.stdout)


@pytest.mark.parametrize("table", TABLES)
def test_schema_is_the_documented_one(scored: tuple[Path, Path], table: str) -> None:
    documented: dict[str, str] = {}
    section = Path("docs/archive.md").read_text("utf8").partition(f"### {table}/\n")[2].partition("\n#")[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            name, kind = (cell.strip().strip("`") for cell in line.split("|")[1:3])
            documented[name] = kind
    assert documented == {field.name: str(field.type) for field in SCHEMAS[table]}
    for file in (scored[1] / table).glob("*.parquet"):
        written = pq.read_schema(file)
        assert written.equals(SCHEMAS[table])
        assert written.metadata[b"callaudit_schema"] == b"1"


def test_run_that_is_killed_goes_on_and_ends_with_the_same_rows(scored: tuple[Path, Path], tmp_path: Path) -> None:
    source, whole = scored
    dest, mark = tmp_path / "archive", f"mark-{uuid4().hex}"
    for parts in (1, 3, 5):
        with subprocess.Popen(
            command("score", source, "--out", dest, "--workers", "1", "--part-size", "2"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment(CALLAUDIT_TEST_MARK=mark),
        ) as process:
            deadline = time.monotonic() + 240
            while len(list((dest / "parts").glob("*.json"))) < parts:
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        _wait_until_gone(mark)
        for table in TABLES:
            assert all(file.stat().st_size for file in (dest / table).glob("*.parquet"))
        names = [row["recording"] for table in ("calls", "failures") for row in rows(dest, table)]
        assert len(names) == len(set(names))
    done = archive("score", source, "--out", dest, "--workers", "1")
    assert done.returncode == 1, done.stderr
    for table in TABLES:
        assert rows(dest, table) == rows(whole, table)
        assert len(seen(dest, table)) == len(rows(dest, table))
    again = archive("score", source, "--out", dest, "--workers", "1")
    assert again.stdout.startswith("0 scored, 0 the same as another, 0 failed, 18 done before"), again.stdout


def _wait_until_gone(mark: str) -> None:
    """Workers notice that their run is dead."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not any(mark.encode() in _environment_of(process) for process in Path("/proc").glob("[0-9]*")):
            return
        time.sleep(0.2)
    raise AssertionError("a worker outlived its run")


def _environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def test_reading_leaves_no_thread_that_could_abort_the_program_at_its_end(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    listing = tmp_path / "calls.parquet"
    pq.write_table(pa.table({"path": ["a.wav"] * 5000}), listing)
    program = (
        "import os, sys\n"
        "from pipelines.archive.listing import read_listing\n"
        "from pipelines.archive.store import Store\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = threads()\n"
        "read = [list(Store(sys.argv[1]).scan(table)) for table in ('calls', 'utterances')]\n"
        "listed = sum(1 for _ in read_listing(sys.argv[2]))\n"
        "print(all(read), listed, threads() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, scored[1], listing], check=False, capture_output=True, text=True
    )
    assert done.stdout == "True 5000 0\n", done.stderr


@given(kept=st.integers(0, 3))
@settings(max_examples=4, deadline=None)
def test_what_was_not_committed_is_no_part_of_the_archive(
    kept: int, scored: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A kill after any of the files of a part: only the last one, the manifest, makes it count."""
    dest = tmp_path_factory.mktemp("half")
    store = Store(str(dest))
    written = {"calls": rows(scored[1], "calls")[:2], "utterances": [], "failures": []}
    with store.writing("audio"):
        first = store.commit(written)
        second = store.commit(written)
    order = [dest / table / f"{second.name}.parquet" for table in ("failures", "utterances", "calls")]
    (dest / "parts" / f"{second.name}.json").unlink()
    for file in order[kept:]:
        file.unlink()
    assert [part.name for part in store.parts()] == [first.name]
    with store.writing("audio"):
        assert {file.stem for file in dest.rglob("*.parquet")} == {first.name}


def test_part_that_replaces_another_counts_even_if_the_other_is_still_there(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    nothing: dict[str, list[dict[str, object]]] = {table: [] for table in TABLES}
    with store.writing("audio"):
        old = store.commit(nothing)
        manifest = (tmp_path / "parts" / f"{old.name}.json").read_bytes()
        new = store.commit(nothing, replaces=[old.name])
    (tmp_path / "parts" / f"{old.name}.json").write_bytes(manifest)  # killed before it could be removed
    assert [part.name for part in store.parts()] == [new.name]
    with store.writing("audio"):
        assert [file.stem for file in (tmp_path / "parts").glob("*.json")] == [new.name]


def test_progress_is_json_where_asked_for(tmp_path: Path) -> None:
    clips(tmp_path / "in", 2)
    done = archive("score", tmp_path / "in", "--out", tmp_path / "out", "--json-progress", "--workers", "1")
    assert done.returncode == 0, done.stderr
    chosen, *lines = done.stderr.splitlines()
    assert chosen.startswith("1 workers with ")
    told = [json.loads(line) for line in lines]
    assert set(told[-1]) == {"files", "done", "failed", "audio_hours", "real_time_factor", "seconds_left"}
    assert (told[-1]["files"], told[-1]["done"], told[-1]["seconds_left"]) == (2, 2, 0)


def test_workers_and_threads_use_all_cores_and_no_more() -> None:
    for cores in (1, 2, 7, 64):
        for memory in (1e9, 4e9, 256e9):
            chosen = capacity(cores=cores, memory=memory)
            assert chosen.workers * chosen.threads <= cores
            assert chosen.workers == 1 or chosen.workers * 1.5 * 2**30 <= memory
    assert (capacity(cores=8, memory=64e9).workers, capacity(cores=8, memory=5e9).threads) == (8, 4)
    assert capacity(3, 2, cores=1, memory=1e9).workers == 3


def _refused(source: Path, dest: Path, **order: Any) -> str:
    """Why a run stops before anything is scored."""
    scoring = Scoring(EngineOptions(), DecodeLimits())
    with pytest.raises(ArchiveError) as told:
        run(Order(Source(str(source)), scoring, workers=1, **order), Store(str(dest)))
    return str(told.value)


def test_source_that_is_empty_or_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert "holds no recordings" in _refused(tmp_path / "in", tmp_path / "out")
    assert "no such folder" in _refused(tmp_path / "nowhere", tmp_path / "out")
    done = archive("score", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="drops rights that only root has to drop")
def test_folders_without_rights_are_told() -> None:
    script = (
        "import fsspec, os, sys; from pipelines.archive.sources import Source\n"
        "fsspec.core.url_to_fs('/')  # loads what could not be read without rights\n"
        "os.setegid(65534); os.seteuid(65534)\n"
        "print([(i.name, i.fault) for i in Source(sys.argv[1]).items()])"
    )
    with TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        clips(root, 1)
        (root / "closed").mkdir(0o700)
        shown = [
            subprocess.run([command()[0], "-c", script, path], capture_output=True, text=True, cwd=ROOT, check=False)
            for path in (root, root / "closed")
        ]
    assert "('closed', ('UnreadableFile'" in shown[0].stdout
    assert "('clip-000.wav', None)" in shown[0].stdout
    assert "you lack the right" in shown[1].stderr.splitlines()[-1]


def test_metadata_that_cannot_be_believed_stops_before_anything_is_scored(tmp_path: Path) -> None:
    clips(tmp_path / "in", 1)
    table = tmp_path / "calls.csv"
    table.write_text("path,call_id,called_at\nclip-000.wav,a,2026-03-01T20:15:00+08:00\nclip-000.wav,b,\n")
    assert "'clip-000.wav' twice" in _refused(tmp_path / "in", tmp_path / "out", metadata=str(table))
    table.write_text("path,call_id\nclip-000.wav,a\nother.wav,a\n")
    assert "'a' twice" in _refused(tmp_path / "in", tmp_path / "out", metadata=str(table))
    table.write_text("path,called_at\nclip-000.wav,2026-03-01 20:15:00\n")
    assert "--time-zone" in _refused(tmp_path / "in", tmp_path / "out", metadata=str(table))
    table.write_text("path,called_at\nclip-000.wav,2926-03-01T20:15:00+08:00\n")
    assert "more than a day ahead" in _refused(tmp_path / "in", tmp_path / "out", metadata=str(table))
    table.write_text("collector_id\nc-1\n")
    assert "neither path nor call_id" in _refused(tmp_path / "in", tmp_path / "out", metadata=str(table))
    table.write_bytes("path,agency\nclip-000.wav,北方\n".encode("gb18030"))
    assert "UTF-8" in _refused(tmp_path / "in", tmp_path / "out", metadata=str(table))
    assert not (tmp_path / "out" / "calls").exists()


def test_metadata_joins_by_path_or_id_and_what_fits_nothing_is_told(tmp_path: Path) -> None:
    clips(tmp_path / "in", 2)
    table = tmp_path / "calls.parquet"
    listed = [
        {"path": "clip-000.wav", "call_id": "a", "agency": "北方", "called_at": "2026-03-01 20:15:00"},
        {"path": None, "call_id": "clip-001", "agency": "南方", "called_at": "2026-03-01 21:15:00"},
        {"path": None, "call_id": "gone", "agency": "南方", "called_at": None},
    ]
    pq.write_table(pa.Table.from_pylist(listed), table)
    options = ["--metadata", table, "--time-zone", "Asia/Shanghai", "--workers", "1"]
    done = archive("score", tmp_path / "in", "--out", tmp_path / "out", *options)
    assert done.returncode == 1, done.stderr
    assert "left" not in done.stderr, "progress that nobody asked for"
    calls = {row["recording"]: row for row in rows(tmp_path / "out", "calls")}
    assert calls["clip-000.wav"]["called_at"].isoformat() == "2026-03-01T12:15:00+00:00"
    assert (calls["clip-000.wav"]["agency"], calls["clip-001.flac"]["agency"]) == ("北方", "南方")
    (failure,) = rows(tmp_path / "out", "failures")
    assert (failure["call_id"], failure["error"]) == ("gone", "MetadataWithoutRecording")
    archive("score", tmp_path / "in", "--out", tmp_path / "out", *options)
    assert len(rows(tmp_path / "out", "failures")) == 1


def test_table_lists_recordings(tmp_path: Path) -> None:
    made = clips(tmp_path / "in", 2)
    listed = [{"path": str(made[0]), "call_id": "a"}, {"path": "in/clip-001.flac"}, {"path": "in/missing.wav"}]
    csv, lines = tmp_path / "list.csv", tmp_path / "list.jsonl"
    csv.write_text("\n".join(["path,call_id", *(f"{row['path']},{row.get('call_id', '')}" for row in listed)]))
    lines.write_text("\n".join(json.dumps(row) for row in listed))
    of_csv, of_lines = ([(item.name, item.place) for item in Source(str(table)).items()] for table in (csv, lines))
    assert of_csv == of_lines
    done = archive("score", csv, "--out", tmp_path / "out", "--workers", "1")
    assert done.returncode == 1, done.stderr
    assert {row["call_id"] for row in rows(tmp_path / "out", "calls")} == {"a", "in/clip-001.flac"}
    assert [row["error"] for row in rows(tmp_path / "out", "failures")] == ["UnreadableFile"]


def test_bad_sidecar_is_a_failure_of_that_call_only(scored: tuple[Path, Path]) -> None:
    (failure,) = (row for row in rows(scored[1], "failures") if row["error"] == "BadMetadata")
    assert failure["recording"] == "bad-sidecar.wav"
    assert "called_at" in failure["reason"]


def test_name_that_is_no_text_is_a_failure_and_one_in_any_script_is_not(tmp_path: Path) -> None:
    for name in ("催收\n录音.wav".encode(), b"\xff.wav", "é [1]*.wav".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    found = {item.name: item.fault for item in Source(str(tmp_path)).items()}
    assert found.pop("\\xff.wav") == ("UnreadableFile", "its name is not UTF-8; rename the file")
    assert found == {"催收\n录音.wav": None, "é [1]*.wav": None}


def test_many_files_are_listed_in_little_memory(tmp_path: Path) -> None:
    for index in range(3000):
        (tmp_path / f"{index:06d}-{'x' * 100}.wav").touch()
    list(Source(str(tmp_path / "x*")).items())  # what is loaded only once
    tracemalloc.start()
    try:
        assert sum(1 for _ in Source(str(tmp_path)).items()) == 3000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000  # their names alone are more


def test_destination_of_another_schema_or_program_is_left_alone(tmp_path: Path) -> None:
    clips(tmp_path / "in", 1)
    (tmp_path / "out" / "calls").mkdir(parents=True)
    assert "another program" in _refused(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text('{"schema": "0", "of": "audio"}')
    assert "schema 0" in _refused(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text('{"schema": "1", "of": "transcripts"}')
    assert "archive of transcripts" in _refused(tmp_path / "in", tmp_path / "out")


def test_two_runs_do_not_write_one_archive(tmp_path: Path) -> None:
    clips(tmp_path / "in", 1)
    with Store(str(tmp_path / "out")).writing("audio"):
        assert "another run" in _refused(tmp_path / "in", tmp_path / "out")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk of its own")
def test_full_disk_stops_the_run_and_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """First that of the archive, then the one for what is decoded."""
    clips(tmp_path / "in", 10)
    clips(tmp_path / "long", 1, 10)[0].rename(tmp_path / "in" / "long.wav")  # the last to be scored
    disk, sounds, stopped = tmp_path / "disk", tmp_path / "sounds", tmp_path / "stopped"
    disk.mkdir()
    sounds.mkdir()
    run = " ".join(f"'{word}'" for word in command("score", tmp_path / "in", "--out", disk / "out", "--part-size", "1"))
    script = (
        f"mount -t tmpfs -o size=200k tmpfs '{disk}' && {run} --workers 1; echo code $?; "
        f"mount -o remount,size=64m '{disk}' && mount -t tmpfs -o size=256k tmpfs '{sounds}' && "
        f"TMPDIR='{sounds}' {run} --workers 1; echo code $?; cp -r '{disk}/out' '{stopped}'; "
        f"{run} --workers 1; echo code $?"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=300,
        check=True,
    )
    assert re.findall("code (.)", done.stdout) == ["2", "2", "0"], done.stderr
    assert "No space left" in done.stderr
    assert "set TMPDIR to a folder that has it" in done.stderr
    assert "Traceback" not in done.stderr
    committed = len(rows(stopped, "calls"))
    assert committed in (9, 10)  # outcomes come in no order: that of the last short one may come after the long one's
    assert re.findall("([0-9]+) done before", done.stdout)[-1] == str(committed)


def test_table_on_disk_that_finds_no_room_says_so() -> None:
    full = """
import resource
from pipelines.archive.scratch import put, scratch
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with scratch("CREATE TABLE names (name TEXT)") as base:
    put(base, "INSERT INTO names VALUES (?)", ((str(number) * 100,) for number in range(10_000)))
"""
    done = subprocess.run([sys.executable, "-c", full], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr.splitlines()[-1].startswith("OSError: [Errno 28] No space left on device; set TMPDIR")
