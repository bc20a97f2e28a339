import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.archive.conftest import archive, clips, command, environment, rows
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra"),
]
_WITHIN_S = 240
Node = subprocess.Popen[bytes]


@pytest.fixture
def cluster() -> Iterator[tuple[str, Node]]:
    """Two nodes on this machine, each good for one worker: their address, and the one that is not the head."""
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
            _kill(node)
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


def _kill(node: Node) -> None:
    for process in _tree(node.pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    node.wait()


def _tree(process: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        children = {int(child) for thread in threads for child in (thread / "children").read_text().split()}
    except OSError:
        return [process]
    return [process, *(found for child in sorted(children) for found in _tree(child))]


def _works(node: Node) -> bool:
    """Whether one of its processes holds a worker with models."""
    for process in _tree(node.pid):
        with suppress(OSError):
            if b"UDFActor" in Path(f"/proc/{process}/cmdline").read_bytes():
                return True
    return False


def test_run_is_complete_though_one_of_two_nodes_is_killed(cluster: tuple[str, Node], tmp_path: Path) -> None:
    address, node = cluster
    clips(tmp_path / "in", 24)
    (tmp_path / "in" / "broken.wav").write_text("no sound")
    native = archive("score", tmp_path / "in", "--out", tmp_path / "native", "--workers", "1")
    assert native.returncode == 1, native.stderr
    order = ["score", tmp_path / "in", "--out", tmp_path / "out", "--workers", "2", "--part-size", "1"]
    with subprocess.Popen(
        command(*order, "--ray", address),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=environment(),
        text=True,
    ) as process:
        deadline = time.monotonic() + _WITHIN_S
        while not _works(node) or len(list((tmp_path / "out" / "parts").glob("*.json"))) < 3:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        _kill(node)
        assert process.poll() is None, "it ended before the node was killed"
        told, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 1, told
    for table in ("calls", "utterances", "failures"):
        assert rows(tmp_path / "out", table) == rows(tmp_path / "native", table)


def test_cluster_that_does_not_answer_is_told(tmp_path: Path) -> None:
    clips(tmp_path / "in", 1)
    done = archive("score", tmp_path / "in", "--out", tmp_path / "out", "--ray", "127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert "--ray 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
