import signal
import subprocess
import time
from pathlib import Path

import boto3
import pytest

from tests.archive.conftest import archive, clips, command, environment, rows
from tests.conftest import ROOT

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def bucket(s3: str) -> str:
    """A server's address; it has a bucket called calls."""
    client = _client(s3)
    client.create_bucket(Bucket="calls")
    client.close()
    return s3


def _client(endpoint: str):  # type: ignore[no-untyped-def]
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )


def test_bucket_gives_what_the_folder_gives_also_if_the_run_is_killed(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clips(tmp_path / "in", 6)
    (tmp_path / "in" / "子 [1].wav").write_bytes(made[0].read_bytes())
    (tmp_path / "in" / "broken.mp3").write_text("no sound")
    (tmp_path / "in" / "clip-001.json").write_text('{"call_id": "crm-1"}')
    client = _client(bucket)
    for file in (tmp_path / "in").iterdir():
        client.upload_file(str(file), "calls", f"in/{file.name}")
    whole = archive("score", tmp_path / "in", "--out", tmp_path / "out", "--workers", "1")
    assert whole.returncode == 1, whole.stderr

    keys = {**KEYS, "AWS_ENDPOINT_URL": bucket}
    order = ["score", "s3://calls/in", "--out", "s3://calls/out", "--workers", "1"]
    with subprocess.Popen(
        command(*order, "--part-size", "1"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment(**keys),
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 240
        while client.list_objects_v2(Bucket="calls", Prefix="out/parts/")["KeyCount"] < 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    # An upload that was cut off shows no object; one without its manifest does not count.
    client.create_multipart_upload(Bucket="calls", Key="out/calls/cut-off.parquet")
    client.put_object(Bucket="calls", Key="out/utterances/stray.parquet", Body=b"half")
    client.close()

    done = archive(*order, **keys)
    assert done.returncode == 1, done.stderr
    assert not done.stdout.startswith("6 scored"), done.stdout
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    for table in ("calls", "utterances", "failures"):
        assert _plain(rows("s3://calls/out", table)) == _plain(rows(tmp_path / "out", table))
    listed = _client(bucket)
    names = [found["Key"] for found in listed.list_objects_v2(Bucket="calls", Prefix="out/")["Contents"]]
    listed.close()
    assert not [name for name in names if "stray" in name]
    assert "out/summary.html" in names


def _plain(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Which of two names comes first is the listing's choice."""
    same = [{**row, "same_as": None} for row in found]
    return sorted(same, key=str)


def test_bucket_that_is_not_there_is_told(bucket: str, tmp_path: Path) -> None:
    keys = {**KEYS, "AWS_ENDPOINT_URL": bucket}
    done = archive("score", "s3://nowhere/in", "--out", tmp_path / "out", **keys)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "s3://nowhere/in" in done.stderr
