"""Timestamps, of an authority that runs here and signs as the real ones do."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest
from cryptography.x509 import Certificate, load_pem_x509_certificates

from app.config import CannotStart, Settings
from app.timestamping import authority, read_roots
from pipelines.evidence.errors import TimestampFailed
from pipelines.evidence.faults import Claim, Wrong
from pipelines.evidence.timestamp import WrongTimestamp, check, request
from pipelines.evidence.verify import verify
from tests.conftest import needs_debian
from tests.evidence.conftest import Maker
from tests.evidence.test_verify import packed, read, signed_anew

CONFIGURATION = """
[tsa]
default_tsa = here
[here]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[stamps]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@dataclass
class Authority:
    """A timestamp authority on this machine; `answer` is sent in place of a token if it is set."""

    folder: Path
    url: str = ""
    answer: tuple[int, bytes] | None = None
    asked: list[bytes] = field(default_factory=list)

    @property
    def roots_file(self) -> Path:
        return self.folder / "root.pem"

    @property
    def roots(self) -> list[Certificate]:
        return load_pem_x509_certificates(self.roots_file.read_bytes())

    def stamp(self, query: bytes) -> bytes:
        (self.folder / "query.tsq").write_bytes(query)
        signer = ("-signer", "stamps.pem", "-inkey", "stamps.key")
        openssl(
            self.folder, "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", *signer, "-out", "reply.tsr"
        )
        return (self.folder / "reply.tsr").read_bytes()


def make_authority(folder: Path) -> Authority:
    (folder / "serial").write_text("01")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "tsa.cnf")
    (folder / "tsa.cnf").write_text(f"[req]\ndistinguished_name = name\n[name]\n{CONFIGURATION}")
    openssl(
        folder,
        "req",
        "-x509",
        *new,
        "-keyout",
        "root.key",
        "-out",
        "root.pem",
        "-subj",
        "/CN=root",
        "-extensions",
        "root",
    )
    openssl(folder, "req", *new, "-keyout", "stamps.key", "-out", "stamps.csr", "-subj", "/CN=stamps")
    issued = ("-CA", "root.pem", "-CAkey", "root.key", "-out", "stamps.pem")
    openssl(folder, "x509", "-req", "-in", "stamps.csr", *issued, "-extfile", "tsa.cnf", "-extensions", "stamps")
    return Authority(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    needs_debian("openssl")
    here = make_authority(tmp_path_factory.mktemp("authority"))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            here.asked.append(query)
            status, token = here.answer or (200, here.stamp(query))
            self.send_response(status)
            self.send_header("content-type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(token)

        def log_message(self, *_: object) -> None:
            """Tests print what they need."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        here.url = f"http://127.0.0.1:{server.server_port}/"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield here
        server.shutdown()
        thread.join()


@pytest.fixture
def tsa(served: Authority) -> Authority:
    served.answer = None
    served.asked.clear()
    return served


@pytest.fixture
def settings(tsa: Authority, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CALLAUDIT_TIMESTAMP_URL", tsa.url)
    monkeypatch.setenv("CALLAUDIT_TIMESTAMP_ROOTS", str(tsa.roots_file))
    return Settings()


@pytest.fixture
def stamped(maker: Maker, settings: Settings, tmp_path: Path) -> Path:
    return maker(tmp_path / "stamped.zip", stamp=authority(settings))


def test_no_authority_is_asked_unless_one_is_set(monkeypatch: pytest.MonkeyPatch, bundled: Path) -> None:
    monkeypatch.delenv("CALLAUDIT_TIMESTAMP_URL", raising=False)
    assert authority(Settings()) is None
    assert "timestamp.tsr" not in read(bundled)


def test_authority_says_when_the_contents_existed(stamped: Path, maker: Maker, tsa: Authority) -> None:
    found = verify(stamped, [maker.public_key], timestamp_roots=tsa.roots)
    assert found.whole
    (told,) = (s for s in found.holds if s.claim is Claim.STAMPED)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(told.detail)).total_seconds()) < 600
    assert Claim.NO_STAMP not in {s.claim for s in found.unknown}


def test_authority_learns_a_hash_and_nothing_else(stamped: Path, tsa: Authority) -> None:
    assert stamped.exists()
    (query,) = tsa.asked
    assert len(query) < 100


def test_without_roots_the_timestamp_is_not_said_to_hold(stamped: Path, maker: Maker) -> None:
    found = verify(stamped, [maker.public_key])
    assert found.whole
    assert Claim.STAMPED not in {s.claim for s in found.holds}
    assert Claim.STAMP_NOT_CHECKED in {s.claim for s in found.unknown}


def test_timestamp_of_another_authority_does_not_hold(stamped: Path, maker: Maker, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    found = verify(stamped, [maker.public_key], timestamp_roots=make_authority(other).roots)
    assert [fault.wrong for fault in found.faults] == [Wrong.TIMESTAMP_WRONG]


def test_openssl_agrees(stamped: Path, tsa: Authority, tmp_path: Path) -> None:
    with ZipFile(stamped) as file:
        file.extractall(tmp_path / "unpacked")
    openssl(
        tmp_path / "unpacked",
        *("ts", "-verify", "-data", "SHA256SUMS", "-in", "timestamp.tsr", "-CAfile", str(tsa.roots_file)),
    )


def test_timestamp_taken_out_is_missed(stamped: Path, maker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "without.zip"
    path.write_bytes(packed({name: c for name, c in read(stamped).items() if name != "timestamp.tsr"}))
    named = {(fault.wrong, fault.what) for fault in verify(path, [maker.public_key]).faults}
    assert named == {(Wrong.MISSING, "timestamp.tsr")}


def test_timestamp_of_other_contents_is_told_even_if_the_signer_put_it_there(
    stamped: Path, maker: Maker, tmp_path: Path
) -> None:
    files = {**read(stamped), "transcript.txt": b"written later\n"}
    path = tmp_path / "later.zip"
    path.write_bytes(packed(signed_anew(files, maker.key)))
    (fault,) = verify(path, [maker.public_key]).faults
    assert (fault.wrong, "other contents" in fault.said()) == (Wrong.TIMESTAMP_WRONG, True)


def test_flipped_bit_in_the_timestamp_is_found_wherever_it_is(stamped: Path, maker: Maker, tmp_path: Path) -> None:
    content, token = stamped.read_bytes(), read(stamped)["timestamp.tsr"]
    start = content.index(token)
    path = tmp_path / "flipped.zip"
    for at in range(start, start + len(token), 97):
        changed = bytearray(content)
        changed[at] ^= 4
        path.write_bytes(changed)
        assert not verify(path, [maker.public_key]).whole, at - start


@pytest.mark.parametrize(
    "said",
    [
        (500, b"", "does not answer as it should"),
        (200, b"no token", "cannot be read"),
        (200, bytes(300_000), "too long"),
    ],
)
def test_authority_that_gives_no_token_is_named_and_no_bundle_is_written(
    maker: Maker, settings: Settings, served: Authority, tmp_path: Path, said: tuple[int, bytes, str]
) -> None:
    served.answer = said[:2]
    with pytest.raises(TimestampFailed, match=said[2]) as error:
        maker(tmp_path / "out.zip", stamp=authority(settings))
    assert served.url in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_authority_that_is_away_is_named(maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLAUDIT_TIMESTAMP_URL", "http://127.0.0.1:9/")
    with pytest.raises(TimestampFailed, match="CALLAUDIT_TIMESTAMP_URL"):
        maker(tmp_path / "out.zip", stamp=authority(Settings()))


def test_token_of_an_earlier_request_is_refused(
    maker: Maker, tsa: Authority, settings: Settings, tmp_path: Path
) -> None:
    """Whoever sits between could hand out an old token for the same contents."""
    first = read(maker(tmp_path / "first.zip", stamp=authority(settings)))
    tsa.answer = (200, first["timestamp.tsr"])
    with pytest.raises(TimestampFailed, match="another request"):
        maker(tmp_path / "second.zip", stamp=authority(settings))


def test_token_is_checked_against_its_message(tsa: Authority) -> None:
    query, nonce = request(b"these bytes")
    token = tsa.stamp(query)
    assert check(token, b"these bytes", tsa.roots, nonce).trusted
    with pytest.raises(WrongTimestamp, match="other contents"):
        check(token, b"other bytes", tsa.roots, nonce)


def test_roots_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_text("no certificate")
    with pytest.raises(CannotStart, match=r"roots\.pem"):
        read_roots(tmp_path / "roots.pem")
    with pytest.raises(CannotStart, match=r"gone\.pem"):
        read_roots(tmp_path / "gone.pem")
