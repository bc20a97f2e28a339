import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.archive.store import Store
from tests.conftest import CALLS, ROOT

Run = Callable[..., "subprocess.CompletedProcess[str]"]
_CLIP_S = 3


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "app.cli", "archive", *map(str, arguments)]


def environment(**settings: str) -> dict[str, str]:
    # Telling voices apart is half the work of a short call and not what is tested here.
    return {**os.environ, "PYTHONIOENCODING": "utf8", "CALLAUDIT_SPEAKERS": "off", **settings}


def archive(*arguments: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(**settings),
        timeout=300,
        check=False,
    )


def rows(dest: Path | str, table: str) -> list[dict[str, Any]]:
    """Of all committed parts, in an order that does not depend on the run."""
    found = [row for part in Store(str(dest)).scan(table) for row in part.to_pylist()]
    return sorted(found, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def seen(dest: Path, table: str) -> list[dict[str, Any]]:
    """Of all files that lie there, as other programs read them."""
    return [row for file in (dest / table).glob("*.parquet") for row in pq.read_table(file).to_pylist()]


def clips(folder: Path, count: int, seconds: float = _CLIP_S) -> list[Path]:
    """Different stretches of the demo calls, in several formats."""
    folder.mkdir(parents=True, exist_ok=True)
    sounds = [soundfile.read(CALLS / f"{name}.ogg") for name in ("late-first-job", "shop-owner-visits")]
    made = []
    for index in range(count):
        sound, rate = sounds[index % 2]
        begin = int((index // 2) * rate * 1.7) % (len(sound) - int(seconds * rate))
        ending = ("wav", "flac", "ogg")[index % 3]
        path = folder / f"clip-{index:03d}.{ending}"
        soundfile.write(path, sound[begin : begin + int(seconds * rate)], rate)
        made.append(path)
    return made


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Recordings of several formats, two broken, one twice, one with bad metadata; and their archive."""
    source, dest = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dest") / "archive"
    made = clips(source, 14)
    (source / "子").mkdir()
    (source / "子" / "line\nbreak.wav").write_bytes(made[0].read_bytes())
    (source / "broken.wav").write_text("no sound")
    (source / "empty.mp3").write_bytes(b"")
    (source / "bad-sidecar.wav").write_bytes(made[3].read_bytes()[:-100])
    (source / "bad-sidecar.json").write_text('{"called_at": "2026-03-01 20:15"}')
    facts = {"call_id": "crm-1", "collector_id": "c-1", "called_at": "2026-03-01T20:15:00+08:00"}
    made[1].with_suffix(".json").write_text(json.dumps(facts))
    done = archive("score", source, "--out", dest, "--workers", "1")
    assert done.returncode == 1, done.stderr
    return source, dest
