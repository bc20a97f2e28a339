"""Traces go where they are told to go, hold no words, and go nowhere else."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.config import Settings
from app.traces import send_traces, span
from tests.conftest import CALLS, ROOT, Start


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An OpenTelemetry collector's address, and what came in."""
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_call_is_traced_to_the_address_that_is_set(
    start_program: Start, tmp_path: Path, collector: tuple[str, list[tuple[str, bytes]]]
) -> None:
    url, got = collector
    program = start_program(tmp_path, settings={"CALLAUDIT_TRACES_URL": f"{url}/v1/traces"})
    call_id = program.accepted(CALLS / "fake-police.mp3")
    call = program.finished(call_id)
    assert program.stop() == 0  # what is left is sent at the end
    spans = []
    for path, body in got:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans += [one for scope in resource.scope_spans for one in scope.spans]
    (scored,) = (one for one in spans if one.name == "score call")
    assert {one.key: one.value.string_value for one in scored.attributes}["call_id"] == call_id
    assert scored.end_time_unix_nano > scored.start_time_unix_nano
    words = [u["text"].encode() for u in call["report"]["utterances"] if len(u["text"]) > 3]
    assert words
    assert [word for word in words if any(word in body for _, body in got)] == []


def test_nothing_goes_anywhere_by_default() -> None:
    with send_traces(Settings(), "test"), span("score call", call_id="1") as current:
        assert not current.is_recording()


def test_error_in_a_span_is_told_by_its_kind_alone(collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    url, got = collector
    code = (
        "from app.config import Settings\nfrom app.traces import send_traces, span\n"
        f"with send_traces(Settings(traces_url='{url}/v1/traces'), 'test'):\n"
        " try:\n  with span('score call'): raise ValueError('words that were said')\n except ValueError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
    assert b"ValueError" in got[0][1]
    assert b"words that were said" not in got[0][1]


def test_missing_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['opentelemetry.sdk'] = None\n"
        "sys.argv = ['callaudit', 'worker']\nfrom app.cli import main\nmain()"
    )
    settings = {"CALLAUDIT_TRACES_URL": "http://127.0.0.1:1/v1/traces", "CALLAUDIT_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **settings}, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "callaudit: CALLAUDIT_TRACES_URL needs the extra: pip install 'callaudit[traces]'"
    )
