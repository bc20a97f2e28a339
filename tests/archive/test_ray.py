import importlib.util
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.archive.conftest import archive, clips, command, environment, rows
from tests.archive.nodes import Node, kill, tree, two_nodes
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra; make test-ray installs it"),
]
_WITHIN_S = 240


@pytest.fixture
def cluster() -> Iterator[tuple[str, Node]]:
    with two_nodes() as nodes:
        yield nodes


def _works(node: Node) -> bool:
    """Whether one of its processes holds a worker with models."""
    for process in tree(node.pid):
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
        kill(node)
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
