"""callaudit evidence, as it is typed; the signing key; and the commands that check a bundle without callaudit."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app import signing
from app.config import CannotStart, Settings
from app.signing import KeyFile
from pipelines.evidence.signature import fingerprint, pem
from tests.conftest import CALLS, ROOT, needs_debian
from tests.evidence.conftest import Maker

CALL = CALLS / "fake-police.mp3"


def callaudit(data_dir: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLAUDIT_")}
    environment |= {"CALLAUDIT_DATA_DIR": str(data_dir), "CALLAUDIT_THREADS": "1"}
    command = [sys.executable, "-m", "app.cli", "evidence", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def made(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a demo call, scored with the models that ship."""
    out = tmp_path_factory.mktemp("made") / "bundle.zip"
    metadata = json.dumps({"lender": "某某小贷", "called_at": "2026-03-01T20:15:00+08:00"})
    done = callaudit(data_dir, "bundle", CALL, "--out", out, "--metadata", metadata)
    assert done.returncode == 0, done.stderr
    return out


def test_bundle_of_a_scored_call_is_whole_for_who_made_it(made: Path, data_dir: Path) -> None:
    with ZipFile(made) as file:
        assert file.read("recording.mp3") == CALL.read_bytes()
        report = json.loads(file.read("report.json"))
        clips = [name for name in file.namelist() if name.startswith("clips/")]
        assert json.loads(file.read("stated.json"))["file_name"] == CALL.name
    assert report["utterances"]
    assert len(clips) == sum(bool(u["labels"]) and u["speaker"] != "borrower" for u in report["utterances"])
    checked = callaudit(data_dir, "verify", made)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.endswith(": whole\n")


def test_bundle_again_from_its_own_report_is_the_same_bytes(made: Path, data_dir: Path, tmp_path: Path) -> None:
    with ZipFile(made) as file:
        file.extract("report.json", tmp_path)
        metadata = file.read("stated.json").decode()
    again = tmp_path / "again.zip"
    report = tmp_path / "report.json"
    done = callaudit(data_dir, "bundle", CALL, "--out", again, "--report", report, "--metadata", metadata)
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == made.read_bytes()


def test_another_machine_needs_the_key_and_says_so(made: Path, data_dir: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    checked = callaudit(there, "verify", made)
    assert checked.returncode == 1
    assert "not among the keys that you trust" in checked.stdout
    assert not there.exists()  # looking makes no key
    key = tmp_path / "key.pem"
    key.write_text(callaudit(data_dir, "key").stdout)
    assert callaudit(there, "verify", made, "--key", key).returncode == 0


def test_broken_bundle_is_told_with_exit_code_1(made: Path, data_dir: Path, tmp_path: Path) -> None:
    content = bytearray(made.read_bytes())
    content[content.index(b"transcript.srt") + 200] ^= 1
    broken = tmp_path / "broken.zip"
    broken.write_bytes(content)
    checked = callaudit(data_dir, "verify", broken)
    assert checked.returncode == 1
    assert re.search(r"^broken: .*\w", checked.stdout, re.MULTILINE)
    assert checked.stdout.endswith(": NOT WHOLE\n")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--metadata", '{"lender": 5}'), 2, "lender"),
        (("--metadata", '{"colour": "red"}'), 2, "colour"),
        (("--metadata", "{"), 2, "--metadata"),
        (("--metadata", '{"lender": "' + "x" * 501 + '"}'), 2, "lender"),
        (("--report", "gone.json"), 2, "gone.json"),
        (("--report", str(ROOT / "pyproject.toml")), 2, "no report"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_written(
    data_dir: Path, tmp_path: Path, arguments: tuple[str, str], code: int, told: str
) -> None:
    done = callaudit(data_dir, "bundle", CALL, "--out", tmp_path / "out.zip", *arguments)
    assert done.returncode == code
    assert told in " ".join(done.stderr.replace("│", " ").split())  # however long a path, lines break anywhere
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_recordings_and_places_are_named(made: Path, data_dir: Path, tmp_path: Path, tone: Path) -> None:
    with ZipFile(made) as file:
        file.extract("report.json", tmp_path)
    report = ("--report", tmp_path / "report.json")
    for recording, out, code, told in (
        (tmp_path / "gone.wav", tmp_path / "out.zip", 1, "gone.wav"),
        (tone, tmp_path / "out.zip", 1, "the report is about the recording"),
        (CALL, tmp_path / "no" / "out.zip", 2, "--out"),
    ):
        done = callaudit(data_dir, "bundle", recording, "--out", out, *report)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert told in done.stderr
        assert not out.exists()


def test_wrong_key_is_named(made: Path, data_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    public = X25519PrivateKey.generate().public_key()
    other.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for key, told in ((other, "another kind"), (CALL, "no public key"), (tmp_path / "gone", "gone")):
        done = callaudit(data_dir, "verify", made, "--key", key)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CALLAUDIT_DATA_DIR", str(tmp_path / "data"))
    return Settings()


def test_key_is_made_once_and_for_its_owner_alone(settings: Settings) -> None:
    assert signing.known_key(settings) is None
    first = signing.signer(settings)
    file = signing.key_file(settings)
    assert file.stat().st_mode & 0o777 == 0o600
    assert pem(signing.signer(settings).public_key) == pem(first.public_key)
    assert list(file.parent.iterdir()) == [file]


def test_programs_that_start_at_once_get_the_same_key(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: fingerprint(signing.signer(settings).public_key), range(8)))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_that_others_may_read_is_refused(settings: Settings, mode: int) -> None:
    signing.signer(settings)
    signing.key_file(settings).chmod(mode)
    with pytest.raises(CannotStart, match="chmod 600"):
        signing.signer(settings)


@pytest.mark.parametrize("content", [b"", b"no key", b"x25519"])
def test_key_that_is_none_is_refused_and_not_replaced(settings: Settings, content: bytes) -> None:
    if content == b"x25519":
        content = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = signing.key_file(settings)
    file.parent.mkdir()
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(CannotStart, match="restore it from a backup"):
        signing.signer(settings)
    assert file.read_bytes() == content


def test_commands_of_the_documentation_check_a_bundle_and_find_what_was_changed(maker: Maker, tmp_path: Path) -> None:
    needs_debian("openssl", "unzip")
    shells = re.findall(r"```sh\n(.+?)```", (ROOT / "docs" / "evidence.md").read_text("utf8"), re.DOTALL)
    check, show_key = shells[0], shells[1]

    def run(shell: str) -> "subprocess.CompletedProcess[str]":
        command = ["bash", "-euo", "pipefail", "-c", shell]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    maker(tmp_path / "FILE.zip")
    (tmp_path / "PUBLIC.pem").write_text(pem(maker.public_key))
    done = run(check)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert done.stdout.count(": OK") == 11
    assert "SHA256SUMS: listed" in done.stdout
    assert run(show_key).stdout.split()[0] == fingerprint(maker.public_key)

    commands = check.splitlines()[1:]
    (tmp_path / "unpacked" / "transcript.txt").write_text("nothing was said\n")
    found = run("cd unpacked\n" + "\n".join(commands))
    assert found.returncode != 0
    assert "transcript.txt: FAILED" in found.stdout
    shutil.rmtree(tmp_path / "unpacked")
    maker(tmp_path / "FILE.zip", key=KeyFile(Ed25519PrivateKey.generate()))
    assert run(check).returncode != 0
