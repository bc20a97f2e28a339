"""Recordings in a folder and in a bucket: what fails there is told, and what was left there stops nothing."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import fsspec
import pytest

from app.config import Settings
from app.recordings import Recordings
from tests.conftest import ROOT

CONTENT = b"RIFF a sound" * 99
NAME = sha256(CONTENT).hexdigest()
TWO_DAYS_AGO = time.time() - 2 * 24 * 3600


def kept(recordings: Recordings) -> None:
    received = recordings.incoming / "received"
    received.write_bytes(CONTENT)
    recordings.keep(received, "north", NAME)


def leave_behind(incoming: Path) -> list[Path]:
    """A file, a folder and a dangling link that are two days old."""
    folder = incoming / "tmp1"
    folder.mkdir(parents=True)
    (folder / "evidence.zip").write_bytes(b"half")
    (incoming / "upload").write_bytes(b"half")
    (incoming / "link").symlink_to("nowhere")
    made = [folder, incoming / "upload", incoming / "link"]
    for left in made:
        os.utime(left, (TWO_DAYS_AGO, TWO_DAYS_AGO), follow_symlinks=False)
    return made


def test_what_a_killed_process_left_is_cleared_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    incoming = tmp_path / ".incoming"
    leave_behind(incoming)
    (incoming / "at-work").mkdir()
    with caplog.at_level(logging.WARNING):
        Recordings(Settings(data_dir=tmp_path, recordings_url=str(tmp_path)))
    assert [left.name for left in incoming.iterdir()] == ["at-work"]
    assert caplog.messages == []


@pytest.mark.skipif(os.geteuid() != 0, reason="drops rights that only root has to drop")
def test_leftover_that_cannot_be_removed_does_not_stop_a_start() -> None:
    script = (
        "import os, sys, tempfile; from app.config import Settings; from app.recordings import Recordings\n"
        # once with all rights: what is imported late may lie where nobody else can read
        "with tempfile.TemporaryDirectory() as other: Recordings(Settings(data_dir=other, recordings_url=other))\n"
        "os.setegid(65534); os.seteuid(65534)\n"
        "Recordings(Settings(data_dir=sys.argv[1], recordings_url=sys.argv[1]))"
    )
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        made = leave_behind(Path(place) / ".incoming")
        done = subprocess.run(
            [sys.executable, "-c", script, place], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert all(left.is_symlink() or left.exists() for left in made)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be removed: PermissionError") == 3, done.stderr


@pytest.mark.parametrize("place", ["recordings", "dir::file://{}/bucket"])
def test_folder_that_fails_is_no_folder_without_the_recording(tmp_path: Path, place: str) -> None:
    url = place.format(tmp_path) if "{}" in place else str(tmp_path / place)
    recordings = Recordings(Settings(data_dir=tmp_path, recordings_url=url))
    kept(recordings)
    (folder,) = (found.parent for found in tmp_path.rglob(NAME))
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder)  # as a disk with errors does, it answers neither yes nor no
    with pytest.raises(OSError, match="symbolic links"):
        recordings.has("north", NAME)
    with pytest.raises(OSError, match="symbolic links"):
        recordings.forget("north", NAME)
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    assert recordings.has("north", NAME)
    recordings.forget("north", NAME)
    recordings.forget("north", NAME)
    assert not recordings.has("north", NAME)


@pytest.fixture
def s3_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    known = fsspec.get_filesystem_class("s3")
    known.clear_instance_cache()  # each has the endpoint it was first used with
    yield
    known.clear_instance_cache()


@pytest.fixture
def bucket(s3: str, s3_keys: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a server that speaks S3, with an empty bucket called shelf."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    with closing(boto3.client("s3")) as client:
        client.create_bucket(Bucket="shelf")
        yield client
        with suppress(client.exceptions.NoSuchBucket):
            delete_bucket(client)


def delete_bucket(client: Any) -> None:
    for stored in client.list_objects_v2(Bucket="shelf").get("Contents", []):
        client.delete_object(Bucket="shelf", Key=stored["Key"])
    client.delete_bucket(Bucket="shelf")


@pytest.mark.parametrize("url", ["s3://shelf/a/b", "s3://shelf"])
def test_bucket_is_ready_while_it_is_there_also_if_it_is_empty(bucket: Any, tmp_path: Path, url: str) -> None:
    recordings = Recordings(Settings(data_dir=tmp_path, recordings_url=url))
    recordings.check()
    kept(recordings)
    recordings.check()
    assert recordings.has("north", NAME)
    assert b"".join(recordings.read("north", NAME, 4, 9)) == CONTENT[4:9]
    with recordings.as_file("north", NAME) as path:
        assert path.read_bytes() == CONTENT
    recordings.forget("north", NAME)
    recordings.forget("north", NAME)
    assert not recordings.has("north", NAME)
    assert "Contents" not in bucket.list_objects_v2(Bucket="shelf")
    kept(recordings)
    recordings.check()
    assert bucket.list_objects_v2(Bucket="shelf")["Contents"]
    delete_bucket(bucket)
    with pytest.raises(FileNotFoundError):
        recordings.check()
    with pytest.raises(FileNotFoundError):
        kept(recordings)
    with pytest.raises(FileNotFoundError):  # who deleted the bucket does not find another one of its name
        recordings.check()


def test_bucket_that_does_not_answer_is_an_error_of_the_system(
    s3_keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{once.getsockname()[1]}")
    recordings = Recordings(Settings(data_dir=tmp_path, recordings_url="s3://calls/a"))
    for ask in (
        recordings.check,
        lambda: kept(recordings),
        lambda: recordings.has("north", NAME),
        lambda: recordings.forget("north", NAME),
        lambda: list(recordings.read("north", NAME, 0, 9)),
        lambda: recordings.as_file("north", NAME).__enter__(),
    ):
        with pytest.raises(OSError, match="EndpointConnectionError"):
            ask()
    assert (recordings.incoming / "received").exists()
