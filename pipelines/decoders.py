"""What to decode, and descriptors -> what its own process answered, and how that process ended.

Each recording has a process of its own. They are forked by one that has loaded the codecs once: to load them takes
ten times as long as to decode a call of a minute.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")


def run_decoder(order: Mapping[str, object], descriptors: Sequence[int], wall_s: float) -> tuple[bytes, int]:
    """What the decoder wrote and its exit code, negative where a signal ended it.

    `order` holds the fields of decoder_process.Order but the outputs, `descriptors` are the recording, a file for
    complaints, and one file for each channel.
    Raises TimeoutError after `wall_s` seconds, by when the decoder is being killed.
    """
    deadline = time.monotonic() + wall_s
    line, far_end = socket.socketpair()
    with line:  # closed, it tells the server to kill what still runs
        with far_end:
            server = _send(json.dumps(order).encode(), [far_end.fileno(), *descriptors])
        received = bytearray()
        while True:
            line.settimeout(max(deadline - time.monotonic(), 1e-3))
            if not (piece := line.recv(1 << 16)):
                break
            received += piece
    answer, _, code = received.rpartition(b"\n")
    if not code or int(code) < 0:
        # Forks share their addresses in memory, which a hostile file must not find out by crashing one after another.
        _retire(server)
    return bytes(answer), int(code or -9)  # without a code the server was killed, and its forks with it


class _Server:
    """A process that forks decoders for as long as its socket is open, and ends with the last of them."""

    def __init__(self) -> None:
        self.orders, far_end = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with far_end:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "pipelines.decoder_server", str(far_end.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[far_end.fileno()],
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )


_lock = threading.Lock()
_serving: list[_Server] = []  # at most one: like its children, it belongs to the whole process
_retired: list[_Server] = []


def _send(order: bytes, descriptors: Sequence[int]) -> _Server:
    with _lock:
        if _serving and _serving[0].process.poll() is not None:  # it was killed since the last recording
            _serving.pop().orders.close()
        if not _serving:
            _serving.append(_Server())
        with suppress(ConnectionError):  # it died just now; then nobody answers on the line
            socket.send_fds(_serving[0].orders, [order], descriptors)
        return _serving[0]


def _retire(server: _Server) -> None:
    with _lock:
        if server in _serving:
            _serving.remove(server)
            _retired.append(server)
        server.orders.close()
        _retired[:] = [old for old in _retired if old.process.poll() is None]


def _environment() -> dict[str, str]:
    """Without the service's secrets: a codec taken over by its input should find none."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([*filter(None, sys.path), str(_ROOT)])
    environment["OPENBLAS_NUM_THREADS"] = "1"  # each thread would reserve memory
    return environment


@atexit.register
def _close() -> None:
    for server in [*_serving, *_retired]:
        server.orders.close()
        server.process.kill()  # and its forks die with it
        server.process.wait()


def _forget() -> None:
    """In a fork, whose decoders are not the parent's; and only without these copies does the server see its end."""
    global _lock  # noqa: PLW0603 - a thread that the fork lacks may hold it
    _lock = threading.Lock()
    for server in [*_serving, *_retired]:
        server.orders.close()
        server.process.returncode = 0  # not this process's child: neither to be waited for nor to be missed
    _serving.clear()
    _retired.clear()


os.register_at_fork(after_in_child=_forget)
