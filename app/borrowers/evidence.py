"""Evidence bundles: made of a recording of a case, and checked for anyone without an account."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app import corrections, signing, timestamping
from app.borrowers.deps import GateDep, PagesDep, RecordingDep, VisitedCase, address_of
from app.borrowers.forms import received
from app.borrowers.recording import report_of
from app.borrowers.route import pages_router
from app.borrowers.transcript import conversation
from app.calls import Status
from app.cases import BORROWER, CaseRecording
from app.custody import custody
from app.decoding import decode_limits
from app.deps import DatabaseDep, RecordingsDep, SettingsDep
from app.pages import CHINA, HEADERS
from app.trouble import Trouble
from pipelines.evidence.bundle import bundle
from pipelines.evidence.errors import EvidenceError
from pipelines.evidence.exhibit import Correction, Stated
from pipelines.evidence.signature import fingerprint, pem
from pipelines.evidence.verify import verify

router = pages_router()

_CHUNK = 2**18
_LONGEST_LINE = 500  # of what is stated in a bundle
_SUFFIXES = {"audio/wav": "wav", "audio/mpeg": "mp3", "audio/ogg": "ogg", "audio/flac": "flac", "audio/amr": "amr"}
_SUFFIXES |= {"audio/mp4": "m4a", "audio/webm": "webm", "audio/x-ms-wma": "wma"}
# Each takes all of the decoding and a typesetter; more at once would only be slower.
_making = threading.Semaphore(2)
_TURN_WITHIN_S = 5.0  # whoever waits keeps a thread from all other requests


@router.get("/case/{link}/recordings/{call_id}/evidence.zip")
def evidence_bundle(
    *,
    request: Request,
    case: VisitedCase,
    recording: RecordingDep,
    database: DatabaseDep,
    recordings: RecordingsDep,
    settings: SettingsDep,
    gate: GateDep,
) -> Response:
    if recording.status is not Status.DONE:
        raise Trouble(409, "not_done")
    gate.admit_bundle(address_of(request))
    report = report_of(database, recording.call_id)
    corrected = corrections.of_call(database, recording.call_id)
    with _turn(), TemporaryDirectory(dir=recordings.incoming) as folder:
        out = Path(folder) / "evidence.zip"
        try:
            with recordings.as_file(case.id, recording.recording_sha256) as path:
                bundle(
                    path,
                    report,
                    custody(database, case.id, recording.call_id),
                    signing.signer(settings),
                    out,
                    stated=_stated(recording),
                    corrections=[
                        Correction(
                            utterance=said.machine.index,
                            text=said.text if said.text_differs and said.text else None,
                            speaker=said.speaker if said.speaker is not said.machine.speaker else None,
                            by=BORROWER,
                            at=said.corrected.newest.created_at if said.corrected else recording.received_at,
                        )
                        for said in conversation(report, corrected, recording.roles_swapped)
                        if said.text_differs or said.speaker is not said.machine.speaker
                    ],
                    stamp=timestamping.authority(settings),
                    limits=decode_limits(settings),
                )
        except EvidenceError:
            raise Trouble(503, "bundle") from None
        size = out.stat().st_size
        file = out.open("rb")  # it outlives its name
    headers = {**HEADERS, "content-length": str(size)}
    headers["content-disposition"] = f'attachment; filename="evidence-{recording.recording_sha256[:12]}.zip"'
    return StreamingResponse(_read(file), headers=headers, media_type="application/zip")


@router.get("/evidence-key.pem")
def public_key(settings: SettingsDep) -> Response:
    """Under which bundles made here can be checked, also elsewhere."""
    return Response(pem(signing.signer(settings).public_key), media_type="application/x-pem-file", headers=HEADERS)


@router.get("/verify")
def verify_page(request: Request, pages: PagesDep, settings: SettingsDep) -> Response:
    key = signing.signer(settings).public_key
    return pages.show(request, "verify.html", found=None, key=fingerprint(key), largest_bytes=settings.max_upload_bytes)


@router.post("/verify")
async def verify_bundle(
    request: Request, pages: PagesDep, settings: SettingsDep, recordings: RecordingsDep, gate: GateDep
) -> Response:
    """Nothing of what is sent is kept."""
    gate.admit_bundle(address_of(request))
    async with received(request, recordings.incoming, settings.max_upload_bytes) as (_, file):
        if file is None:
            raise Trouble(422, "no_bundle")
        key = signing.signer(settings).public_key
        roots = timestamping.read_roots(settings.timestamp_roots)
        found = await run_in_threadpool(verify, file.path, [key], timestamp_roots=roots)
    return pages.show(
        request, "verify.html", found=found, key=fingerprint(key), largest_bytes=settings.max_upload_bytes
    )


@contextmanager
def _turn() -> Iterator[None]:
    """Raises Trouble if others take too long."""
    if not _making.acquire(timeout=_TURN_WITHIN_S):
        raise Trouble(503, "busy", {"retry-after": "30"})
    try:
        yield
    finally:
        _making.release()


def _stated(recording: CaseRecording) -> Stated:
    told = recording.told
    at = f"{told.called_on}T{told.called_time}" if told.called_on and told.called_time else ""
    note = [f"本人陈述的通话日期：{told.called_on}"] if told.called_on and not told.called_time else []
    if told.file_time and not told.called_on:
        note.append(f"录音文件日期（未经核实）：{told.file_time.replace('T', ' ')}")
    return Stated(
        file_name=f"recording.{_SUFFIXES.get(recording.media_type, 'bin')}",
        called_at=datetime.fromisoformat(at).replace(tzinfo=CHINA) if at else None,
        lender=told.lender[:_LONGEST_LINE] or None,
        caller_number=told.caller_number[:_LONGEST_LINE] or None,
        call_id=recording.call_id,
        note="；".join(note) or None,
    )


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
