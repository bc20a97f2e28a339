"""The bytes of a recording that a request wants: as it was sent, or redacted."""

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO

from starlette.responses import Response

from app.calls import Call
from app.errors import refusal
from app.ranges import Asked, answer
from app.recordings import Recordings
from pipelines.decode import DecodeLimits, decode
from pipelines.redaction import parts_to_silence
from pipelines.report import Report
from pipelines.silencing import Stretch, write_silenced

_CHUNK = 256 * 1024


def stream(call: Call, recordings: Recordings, asked: Asked) -> Response:
    """As it was sent."""
    _must_be_there(call, recordings)

    def read(start: int, stop: int) -> Iterator[bytes]:
        return recordings.read(call.tenant_id, call.recording_sha256, start, stop)

    return answer(asked, call.recording_bytes, call.recording_sha256, call.media_type, read)


def stream_redacted(call: Call, report: Report, recordings: Recordings, limits: DecodeLimits, asked: Asked) -> Response:
    """Utterances in which something private is said are silent; nothing else moves."""
    private = parts_to_silence(report)
    if not private:
        return stream(call, recordings, asked)
    _must_be_there(call, recordings)
    stretches = [Stretch(u.channel, u.start, u.end) for u in private]
    file = TemporaryFile()  # noqa: SIM115 - it is closed once it has been sent
    try:
        with (
            recordings.as_file(call.tenant_id, call.recording_sha256) as path,
            decode(path, limits) as recording,
        ):
            write_silenced(recording, stretches, file)
        size = file.tell()
        response = answer(asked, size, f"redacted-{call.recording_sha256}", "audio/wav", lambda a, b: _read(file, a, b))
    except BaseException:
        file.close()
        raise
    if asked.head_only:
        file.close()
    return response


def _must_be_there(call: Call, recordings: Recordings) -> None:
    if not recordings.has(call.tenant_id, call.recording_sha256):
        raise refusal(404, "recording gone", f"the recording of call {call.id} is no longer stored")


def _read(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = stop - start
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
