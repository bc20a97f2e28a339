"""A lender's address -> an HTTP answer, over a connection to nowhere but where it may go.

A name is resolved once, every address that it has is checked, and the connection goes to a checked address: a name
that resolves to another address a moment later (DNS rebinding) changes nothing. Redirects are not followed, and no
proxy of the environment is asked.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import httpcore2
from httpcore2 import NetworkBackend, NetworkStream, SyncBackend

from app.config import Network

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], list[Address]]

_WITHIN_S = 15.0
_CONNECT_WITHIN_S = 5.0

# They hand a machine's credentials to whoever asks from it, so no setting opens them.
_METADATA = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # AWS, Google, Azure, Tencent
        "fd00:ec2::/32",  # AWS over IPv6
        "fd20:ce::/32",  # Google over IPv6
        "100.100.100.200/32",  # Aliyun
        "168.63.129.16/32",  # Azure's host, in a public range
        "192.0.0.0/24",  # Oracle, and protocols' own addresses
    )
)
# Public by their looks, with another address inside.
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


class Refused(Exception):
    """The address is not one that may be delivered to; nothing was sent."""


class NoAnswer(Exception):
    """The other side could not be reached, or did not answer in time or in HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    retry_after_s: float | None


def check_url(url: str, private: tuple[Network, ...]) -> None:
    """As far as can be told before the name is resolved. Raises Refused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refused("url: is no URL") from None
    if parts.scheme not in ("https", "http") or not host or not url.isascii() or not url.isprintable():
        raise Refused("url: send an absolute https:// URL in ASCII")
    if parts.username is not None or parts.password is not None or parts.fragment or " " in url:
        raise Refused("url: leave out user, password, fragment and spaces")
    if port == 0:
        raise Refused("url: port 0 is no port")
    if parts.scheme == "http" and not private:
        raise Refused("url: must be https; plain http goes only to networks in CALLAUDIT_WEBHOOK_PRIVATE_NETWORKS")
    try:
        address = ip_address(host)
    except ValueError:
        return
    check_address(address, private, plain=parts.scheme == "http")


def check_address(address: Address, private: tuple[Network, ...], *, plain: bool) -> None:
    """Raises Refused. `plain`: without TLS, and so only within the lender's own networks."""
    for inner in _inside(address) or (address,):
        if any(inner in network for network in _METADATA):
            raise Refused(f"{address} is an address of machines' metadata; nothing is delivered there")
        if any(inner in network for network in private):
            continue
        if not inner.is_global or inner.is_multicast or inner.is_reserved or inner.is_unspecified:
            raise Refused(
                f"{address} is not a public address; if it is the lender's own, name its network in"
                " CALLAUDIT_WEBHOOK_PRIVATE_NETWORKS"
            )
        if plain:
            raise Refused(f"{address} is a public address, and those are delivered to by https only")


def resolve(host: str, port: int) -> list[Address]:
    """Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Post:
    """Sends one request at a time, each over a connection of its own."""

    private: tuple[Network, ...] = ()
    resolve: Resolve = resolve
    within_s: float = _WITHIN_S

    def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Raises Refused or NoAnswer, after `within_s` at the latest whatever the other side does."""
        check_url(url, self.private)
        deadline = time.monotonic() + self.within_s
        backend = _Checked(self.private, self.resolve, deadline, plain=url.startswith("http:"))
        timeout = dict.fromkeys(("read", "write", "pool"), self.within_s) | {"connect": _CONNECT_WITHIN_S}
        with httpcore2.ConnectionPool(
            ssl_context=_tls(), network_backend=backend, max_connections=1, max_keepalive_connections=0
        ) as pool:
            try:
                # Only the head is read: what a stranger writes below it is of no use.
                with pool.stream(
                    "POST", url, headers=list(headers.items()), content=body, extensions={"timeout": timeout}
                ) as answer:
                    return Answer(answer.status, _seconds(dict(answer.headers).get(b"retry-after")))
            except Refused:
                raise
            except (httpcore2.TimeoutException, TimeoutError) as error:
                raise NoAnswer(f"no answer within {self.within_s:.0f} s") from error
            except (
                httpcore2.NetworkError,
                httpcore2.ProtocolError,
                httpcore2.UnsupportedProtocol,
                OSError,
                ValueError,  # idna, of a name that is none
            ) as error:
                raise NoAnswer(_told(error)) from error


class _Checked(NetworkBackend):
    def __init__(self, private: tuple[Network, ...], resolve: Resolve, deadline: float, *, plain: bool) -> None:
        self._private, self._resolve, self._deadline, self._plain = private, resolve, deadline, plain
        self._sockets = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        try:
            addresses = self._resolve(host.strip("[]"), port)
        except OSError as error:
            raise NoAnswer(f"the name of the host cannot be resolved ({error.strerror})") from error
        # All of them: a name that points both inside and outside is no lender's.
        for address in addresses:
            check_address(address, self._private, plain=self._plain)
        failed: Exception = NoAnswer("the name of the host has no address")
        for address in addresses:
            within = min(timeout or _CONNECT_WITHIN_S, _left(self._deadline))
            try:
                stream = self._sockets.connect_tcp(str(address), port, within, local_address, socket_options)
            except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
                failed = error
                continue
            return _Timed(stream, self._deadline)
        raise failed


class _Timed(NetworkStream):
    """Ends at a deadline, also against a receiver that sends a byte now and then."""

    def __init__(self, stream: NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        within = min(_CONNECT_WITHIN_S, _left(self._deadline))
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, within), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _tls() -> ssl.SSLContext:
    """The system's authorities, or those of SSL_CERT_FILE for a lender's own."""
    return ssl.create_default_context()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _inside(address: Address) -> tuple[Address, ...]:
    """The IPv4 addresses that an IPv6 address stands for on machines that translate."""
    if isinstance(address, IPv4Address):
        return ()
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(inner for inner in found if inner is not None)


def _seconds(retry_after: bytes | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdigit() and len(retry_after) <= 6 else None


def _told(error: Exception) -> str:
    """Without what the other side wrote, which has no business in our tables."""
    # httpcore2 hands on what it was told as its own error's argument.
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return "no TLS connection could be made"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    if isinstance(error, httpcore2.NetworkError):
        return "the connection broke off"
    return "the answer is not HTTP"
