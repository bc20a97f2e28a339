"""A Ray cluster of two nodes on this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.archive.conftest import environment
from tests.conftest import ROOT

_WITHIN_S = 240
Node = subprocess.Popen[bytes]


@contextmanager
def two_nodes() -> Iterator[tuple[str, Node]]:
    """Each good for one worker: their address, and the one that is not the head."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    head = _start("--head", "--port", address.partition(":")[2], "--include-dashboard", "false", "--temp-dir", folder)
    nodes = [head]
    try:
        _wait_for(address)
        nodes.append(_start("--address", address))
        yield address, nodes[1]
    finally:
        for node in nodes:
            kill(node)
        shutil.rmtree(folder, ignore_errors=True)


def _start(*options: str) -> Node:
    told = ["--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--object-store-memory", "100000000", "--block"]
    return subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *told, "--disable-usage-stats"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=os.pathsep.join([str(ROOT), *filter(None, sys.path)])),
    )


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + _WITHIN_S
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the head of the cluster did not start"
            time.sleep(0.2)


def kill(node: Node) -> None:
    for process in tree(node.pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    node.wait()


def tree(process: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        children = {int(child) for thread in threads for child in (thread / "children").read_text().split()}
    except OSError:
        return [process]
    return [process, *(found for child in sorted(children) for found in tree(child))]
