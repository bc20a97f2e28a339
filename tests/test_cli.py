import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.report import Report
from tests.conftest import CALLS, ROOT

DEMO = CALLS / "fake-police.mp3"
OTHER = CALLS / "instalment-plan.wav"


def callaudit(*arguments: str | Path, sent: bytes = b"", **settings: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf8", **settings}
    done = subprocess.run(command, input=sent, capture_output=True, cwd=ROOT, env=environment, timeout=300, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_table_shows_who_said_what_and_how_it_is_labelled() -> None:
    done = callaudit("score", DEMO)
    assert done.returncode == 0, done.stderr
    for heading in ("start", "end", "speaker", "label", "probability", "text", DEMO.name):
        assert heading in done.stdout
    assert "utterances:" in done.stdout.splitlines()[-1]
    assert done.stderr == ""  # no progress bar where nobody looks


def test_json_is_one_report_a_line_and_bad_files_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    missing = tmp_path / "missing.wav"
    done = callaudit("score", DEMO, bad, missing, OTHER, "--json")
    assert done.returncode == 1
    reports = [Report.model_validate_json(line) for line in done.stdout.splitlines()]
    assert len(reports) == 2
    told = done.stderr.splitlines()
    assert len(told) == 2
    assert told[0].startswith(f"{bad}: ")
    assert told[1].startswith(f"{missing}: ")


def test_page_is_written_and_its_path_printed(tmp_path: Path) -> None:
    pytest.importorskip("app.page")
    done = callaudit("score", DEMO, "--html", tmp_path / "one.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "one.html")
    assert "<html" in (tmp_path / "one.html").read_text("utf8")


def test_pages_of_several_calls_go_into_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("app.page")
    done = callaudit("score", DEMO, OTHER, "--html", tmp_path / "pages")
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "pages").iterdir()} == {f"{DEMO.stem}.html", f"{OTHER.stem}.html"}


def test_transcript_has_segments_and_words() -> None:
    done = callaudit("transcribe", DEMO, "--json")
    assert done.returncode == 0, done.stderr
    channels = json.loads(done.stdout)["channels"]
    segments = [segment for channel in channels for segment in channel["segments"]]
    assert segments
    for segment in segments:
        assert set(segment) == {"start", "end", "text", "words"}
        assert segment["text"] == "".join(word["text"] for word in segment["words"])
        assert segment["start"] <= segment["words"][0]["start"] <= segment["end"]


def test_transcript_of_what_is_no_recording_names_it(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"")
    done = callaudit("transcribe", tmp_path / "bad.wav")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(str(tmp_path / "bad.wav"))


def test_lines_are_labelled_one_by_one() -> None:
    texts = ["您好，请问是张先生吗？", "再不还钱我就打断你的腿！"]
    done = callaudit("classify", sent="\n".join(texts).encode() + b"\n\n")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == texts
    for answer in answers:
        assert answer["label"] == (answer["labels"] or ["compliant"])[0]
        assert set(answer) == {"text", "label", "labels", "scores"}
        assert set(answer["scores"]) == {"threat", "insult", "third_party_contact"}


def test_lines_may_carry_what_was_said_before() -> None:
    lines = [{"text": "好的。"}, {"text": "那我就去找她。", "previous": ["你不还是吧？", "你妈妈住哪里我知道。"]}]
    done = callaudit("classify", "--context", sent="\n".join(map(json.dumps, lines)).encode())
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["好的。", "那我就去找她。"]


def test_lines_that_cannot_be_labelled_are_named_and_the_others_are_done() -> None:
    lines = [b'{"text": "a"}', b"no json", b"", b'{"previous": []}', b'{"text": " "}', b"\xff", b'{"text": "b"}']
    done = callaudit("classify", "--context", sent=b"\n".join(lines))
    assert done.returncode == 1
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["a", "b"]
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["line 2", "line 4", "line 5", "line 6"]


def test_lines_are_answered_as_they_come() -> None:
    command = [sys.executable, "-m", "app.cli", "classify"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin
        assert process.stdout
        for text in ("你好。", "再见。"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score"], "files"),
        (["score", "--json", "--html", "x", DEMO], "--html"),
        (["score", "--collector-channel", "2", DEMO], "collector-channel"),
        (["sing"], "sing"),
        (["serve", "--port", "70000"], "port"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(arguments: list[str], words: str) -> None:
    done = callaudit(*arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_missing_model_is_told_in_one_line() -> None:
    done = callaudit("score", DEMO, CALLAUDIT_ASR_MODEL="/no/model")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "CALLAUDIT_ASR_MODEL=/no/model" in done.stderr


def test_version_and_help_come_without_loading_models() -> None:
    assert callaudit("--version").stdout.startswith("callaudit ")
    shown = callaudit("--help").stdout
    for command in ("serve", "worker", "score", "transcribe", "classify"):
        assert command in shown
    loaded = "import sys, app.cli; print(sorted({'torch', 'fastapi', 'faster_whisper', 'dbos'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_scoring_loads_no_web_code() -> None:
    watched = (
        "import sys; sys.argv = ['callaudit', 'score', sys.argv[1], '--json']\n"
        "from app.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'fastapi', 'uvicorn', 'dbos'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", watched, str(OTHER)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.endswith("[]\n")


def test_someone_who_waits_at_a_terminal_sees_progress(long_call: Path, tmp_path: Path) -> None:
    sound, rate = soundfile.read(long_call)
    longer = tmp_path / "longer.wav"  # than anyone is left to wait without a word, also on a fast machine
    soundfile.write(longer, np.concatenate([sound[:, 0]] * 4), rate)
    screen, terminal = pty.openpty()
    shown: list[bytes] = []

    def watch() -> None:
        try:
            while chunk := os.read(screen, 4096):
                shown.append(chunk)
        except OSError:
            return  # the other end is closed

    watcher = threading.Thread(target=watch)
    watcher.start()
    command: list[Any] = [sys.executable, "-m", "app.cli", "score", longer, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, cwd=ROOT, check=True)
    os.close(terminal)
    watcher.join()
    os.close(screen)
    assert Report.model_validate_json(done.stdout)
    assert longer.name in b"".join(shown).decode()
