"""Nothing is delivered to addresses inside, whatever name, redirect or encoding leads there."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.webhooks_connection import Address, NoAnswer, Post, Refused, check_address, resolve
from tests.lenders.receiver import receiver

OWN = (ip_network("127.0.0.0/8"),)
PUBLIC = "93.184.215.14"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2001:db8::1",
    ],
)
def test_address_inside_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="not a public address"):
        check_address(ip_address(address), (), plain=False)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",  # all of link-local
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    ],
)
def test_metadata_of_machines_are_refused_whatever_is_allowed(address: str) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    with pytest.raises(Refused, match="metadata"):
        check_address(ip_address(address), everything, plain=False)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::808:808"])
def test_public_address_is_delivered_to_with_tls_only(address: str) -> None:
    check_address(ip_address(address), (), plain=False)
    with pytest.raises(Refused, match="https"):
        check_address(ip_address(address), (), plain=True)


def test_own_network_is_open_and_its_neighbours_are_not() -> None:
    own = (ip_network("10.1.0.0/16"),)
    check_address(ip_address("10.1.2.3"), own, plain=True)
    check_address(ip_address("::ffff:10.1.2.3"), own, plain=True)
    for other in ("10.2.0.1", "127.0.0.1"):
        with pytest.raises(Refused):
            check_address(ip_address(other), own, plain=False)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::ffff:7f00:1]"])
def test_names_of_this_machine_are_refused_when_connected_to(host: str) -> None:
    with receiver() as inside:
        with pytest.raises((Refused, NoAnswer)) as error:
            Post()(f"https://{host}:{inside.port}/", b"{}", {})
        assert inside.requests == []
    assert "not a public address" in str(error.value) or "cannot be resolved" in str(error.value)


class _Rebinding:
    """A name whose address changes from one question to the next, as an attacker's name server has it."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        return [ip_address(text) for text in self._answers[min(self.asked, len(self._answers)) - 1]]


def test_name_that_moves_inside_after_it_was_checked_leads_nowhere() -> None:
    """The connection goes to the address that was checked; the name is not asked a second time."""
    with receiver() as inside:
        port = inside.port
        outside = _Rebinding(["127.0.0.2"], ["127.0.0.1"])  # nobody listens on the first; the second is the prize
        with pytest.raises(NoAnswer, match="refused"):
            Post((ip_network("127.0.0.2/32"),), outside, within_s=3)(f"http://rebind.example:{port}/", b"{}", {})
        assert outside.asked == 1
        # At the next attempt it has moved, and is checked again.
        with pytest.raises(Refused, match=r"127\.0\.0\.1"):
            Post((ip_network("127.0.0.2/32"),), outside, within_s=3)(f"http://rebind.example:{port}/", b"{}", {})
        assert inside.requests == []


def test_name_that_points_outside_and_inside_is_refused_whole() -> None:
    with receiver() as inside, pytest.raises(Refused):
        Post(resolve=_Rebinding([PUBLIC, "127.0.0.1"]), within_s=3)(f"https://both.example:{inside.port}/", b"{}", {})
    assert inside.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    with receiver() as lender, receiver() as inside:
        lender.status, lender.headers = status, {"location": inside.url}
        assert Post(OWN)(lender.url, b"{}", {}).status == status
    assert len(lender.requests) == 1
    assert inside.requests == []


def test_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as lender, receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert Post(OWN)(lender.url, b"{}", {}).status == 204
    assert proxy.requests == []


def test_name_is_resolved_by_the_system() -> None:
    assert ip_address("127.0.0.1") in resolve("localhost", 443)
    with pytest.raises(OSError):  # noqa: PT011 - whatever the system says
        resolve("does-not-exist.invalid", 443)
    with pytest.raises(NoAnswer, match="resolved"):
        Post()("https://does-not-exist.invalid/", b"{}", {})


@contextmanager
def _saying(*pieces: bytes, pause_s: float = 0.0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that says this to whoever connects, piece by piece, without end if nothing ends it; its port."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            try:
                connection: socket.socket = listener.accept()[0]
                with tls.wrap_socket(connection, server_side=True) if tls else connection as talking:
                    talking.recv(65536)
                    for piece in pieces:
                        talking.sendall(piece)
                        if stop.wait(pause_s):
                            return
                    stop.wait(20)
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(
    ("pieces", "pause_s"),
    [((), 0.0), ([b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 100], 0.2)],
    ids=["silent", "a header now and then"],
)
def test_slow_receiver_is_left_in_time(pieces: Any, pause_s: float) -> None:
    began = time.monotonic()
    with _saying(*pieces, pause_s=pause_s) as port, pytest.raises(NoAnswer, match="within 1 s"):
        Post(OWN, within_s=1.0)(f"http://127.0.0.1:{port}/", b"{}", {})
    assert time.monotonic() - began < 5


def test_endless_body_is_not_read() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n"
    began = time.monotonic()
    with _saying(head, *[b"x" * 1000] * 50, pause_s=0.1) as port:
        assert Post(OWN, within_s=10)(f"http://127.0.0.1:{port}/", b"{}", {}).status == 200
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100, b"x" * 200_000])
def test_what_is_not_http_is_no_answer(said: bytes) -> None:
    with _saying(said) as port, pytest.raises(NoAnswer):
        Post(OWN, within_s=2)(f"http://127.0.0.1:{port}/", b"{}", {})


def _certificate(folder: Path, name: str) -> Path:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, form, plain)
    )
    return file


def test_certificate_must_be_valid_for_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to an address, and the name is what the certificate has to prove."""
    file = _certificate(tmp_path, "lender.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    post = Post(OWN, _Rebinding(["127.0.0.1"]), within_s=5)
    with _saying(answer, tls=context) as port, pytest.raises(NoAnswer, match="certificate is not valid"):
        post(f"https://lender.example:{port}/", b"{}", {})
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with _saying(answer, tls=context) as port:
        assert post(f"https://lender.example:{port}/", b"{}", {}).status == 204
    with _saying(answer, tls=context) as port, pytest.raises(NoAnswer, match="certificate is not valid"):
        post(f"https://other.example:{port}/", b"{}", {})
