"""Of whatever is sent: it is taken as it is described, or refused with an error that is described; nothing else."""

import io
import json
import string
import time
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from app import fields, ranges
from app.conditional import tagged
from app.errors import Refused
from app.idempotency import same_json
from app.lenders.calls import _cursor, _number
from app.lenders.schemas import CallPage, CallResult, Metadata, ObjectCall, Texts, parsed
from app.moments import Moment
from app.plain_json import refuse_unclear
from models.errors import CallError, DecoderLimit
from pipelines import decoder_process, pcm
from pipelines.decode import decode
from pipelines.redaction import MASK, private_spans, private_spans_of_call, redact
from tests.conftest import ROOT

DATA = ROOT / "tests" / "data"
SAMPLES = [
    file.read_bytes()[:6000]
    for file in (
        DATA / "recordings" / "tone-wb.amr",
        DATA / "calls" / "mother-callback.amr",
        DATA / "calls" / "fake-police.mp3",
        DATA / "calls" / "late-first-job.ogg",
        DATA / "calls" / "instalment-plan.wav",
    )
]
SILK = b"\x02#!SILK_V3" + b"\x10\x00" + bytes(range(16)) * 4

some = settings(deadline=None, max_examples=60, database=None, derandomize=True)
many = settings(deadline=None, max_examples=200, database=None, derandomize=True)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recording with some bytes changed, cut out or put in, or its end cut off."""
    sound = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 6))):
        # Heads are where formats go wrong.
        at = draw(st.one_of(st.integers(0, 200), st.integers(0, len(sound))))
        piece = draw(st.binary(max_size=8))
        sound[at : at + draw(st.integers(0, 8))] = piece
    return bytes(sound[: draw(st.integers(0, len(sound)))]) if draw(st.booleans()) else bytes(sound)


@some
@given(st.one_of(mutated(), st.binary(max_size=2000)))
@example(b"RIFF")
@example(b"RIFF\xff\xff\xff\xffWAVEfmt \x00\x00\x00\x00")
@example(b"OggS" + b"\xff" * 100)
def test_any_bytes_are_decoded_or_refused(sound: bytes) -> None:
    """As the decoding process does it, without starting one for each."""
    with TemporaryFile("wb", buffering=0) as left, TemporaryFile("wb", buffering=0) as right:
        try:
            found = decoder_process._decode(io.BytesIO(sound), (left, right), 60.0)
        except (pcm.Refused, MemoryError):
            return
        assert found["kept"]


@pytest.mark.parametrize("sound", [SILK, SILK[:11], SAMPLES[2][:100] + SILK, b"\0" * 1000], ids=range(4))
def test_any_file_is_decoded_or_refused(sound: bytes) -> None:
    """Through the process, whose death would be told as an error of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "call"
        file.write_bytes(sound)
        try:
            with decode(file) as recording:
                assert recording.channels
        except CallError as error:
            _is_no_crash(error)


def _is_no_crash(error: CallError) -> None:
    assert not isinstance(error, DecoderLimit), error


def _is_refused(error: Refused, status: int, kind: str) -> None:
    assert (error.problem.status, error.problem.type) == (status, f"urn:callaudit:problem:{kind}")


def _quotes_nothing(error: RequestValidationError) -> None:
    assert all("input" not in fault for fault in error.errors())  # it may be a call


TEXT = st.text(max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
NEARLY_METADATA = st.dictionaries(st.sampled_from([*Metadata.model_fields, "colour"]), ANY_JSON, max_size=4)


@many
@given(st.one_of(st.binary(max_size=60), ANY_JSON.map(lambda one: json.dumps(one).encode())))
def test_any_body_is_clear_json_or_refused(body: bytes) -> None:
    try:
        refuse_unclear(body)
        read = json.loads(body)
    except (Refused, ValueError):
        return
    again = json.dumps(read, ensure_ascii=False, allow_nan=False).encode()  # what is clear can be stored
    assert same_json(again) == same_json(body)


@many
@given(NEARLY_METADATA.map(lambda one: json.dumps(one).encode()))
@example(b'{"called_at": "0001-01-01T00:00:00+14:00"}')
@example(b'{"collector_channel": true}')
def test_any_metadata_are_kept_whole_or_refused(body: bytes) -> None:
    try:
        taken = parsed(Metadata, body)
    except (Refused, RequestValidationError):
        return
    assert Metadata.model_validate_json(taken.model_dump_json(exclude_none=True)) == taken
    assert all(len(value) <= 200 for value in taken.model_dump().values() if isinstance(value, str))


@some
@given(st.sampled_from([ObjectCall, Texts]), ANY_JSON.map(lambda one: json.dumps(one).encode()))
def test_any_request_is_taken_or_refused(model: Any, body: bytes) -> None:
    try:
        parsed(model, body)
    except Refused as refused:
        _is_refused(refused, 422, "unclear-json")
    except RequestValidationError as invalid:
        _quotes_nothing(invalid)


@many
@given(st.one_of(TEXT, st.datetimes(timezones=st.timezones()).map(lambda one: one.isoformat()), st.floats(), st.none()))
def test_any_time_is_taken_with_its_offset_or_refused(sent: Any) -> None:
    try:
        moment = TypeAdapter(Moment).validate_python(sent)
    except ValidationError:
        return
    assert moment.utcoffset() is not None
    assert isinstance(sent, str)


@many
@given(st.integers(1, 2**63 - 1), st.text(alphabet=string.printable + "页", max_size=30))
def test_cursor_is_what_was_given_or_refused(number: int, forged: str) -> None:
    assert _number(_cursor(number)) == number
    try:
        assert _cursor(_number(forged)) == forged
    except Refused as refused:
        _is_refused(refused, 422, "unknown-cursor")


@many
@given(st.sampled_from([CallPage, CallResult]), st.text(alphabet="idreport.,summary_ \0页", max_size=30))
def test_any_fields_are_known_or_refused(model: Any, asked: str) -> None:
    try:
        assert fields.parse(model, asked)
    except Refused as refused:
        _is_refused(refused, 422, "unknown-field")


def test_every_field_that_is_listed_may_be_asked_for() -> None:
    listed = fields.paths(CallResult)
    assert {"id", "report.utterances.text", "report.utterances.scores.threat"} <= set(listed)
    for path in listed:
        assert fields.parse(CallResult, path)


@many
@given(
    st.one_of(st.text(alphabet="bytes=0123456789-, ", max_size=30), st.from_regex(r"bytes=\d*-\d*", fullmatch=True)),
    st.integers(1, 10_000),
)
@example("bytes=-0", 1)
@example("bytes=0-" + "9" * 5000, 1)
def test_any_range_lies_within_the_recording_or_is_refused(header: str, size: int) -> None:
    given_back: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> Any:
        given_back.append((start, stop))
        return iter(())

    try:
        answer = ranges.answer(ranges.Asked(header, None, False), size, "tag", "audio/wav", read)
    except Refused as refused:
        _is_refused(refused, 416, "range-not-satisfiable")
        return
    ((start, stop),) = given_back
    assert 0 <= start < stop <= size
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.status_code == (206 if "content-range" in answer.headers else 200)


@many
@given(st.text(alphabet='W/"*,abc \\', max_size=30))
def test_any_condition_is_met_or_not(if_none_match: str) -> None:
    answer = tagged(Response(b"{}"), if_none_match)
    assert answer.status_code in (200, 304)
    assert answer.headers["etag"]


_TALK = st.text(alphabet="您好张三a1 ，。-\n\0😀é％Ａ零幺元\ud7ff", max_size=30)


@some
@given(_TALK, st.text(alphabet=string.digits, min_size=7, max_size=25), _TALK)
@example("", "1380013", "")
@example("１２", "1234567", "％")
def test_no_run_of_seven_digits_is_shown_in_any_text(before: str, digits: str, after: str) -> None:
    text = f"{before}，{digits}，{after}"
    shown = redact(text)
    assert len(shown) == len(text)
    at = len(before) + 1
    assert shown[at : at + len(digits)] == MASK * len(digits)
    for span in private_spans(text):
        assert 0 <= span.start < span.stop <= len(text)


@some
@given(st.lists(_TALK, max_size=6), st.text(alphabet=string.digits, min_size=8, max_size=12))
def test_turns_of_any_text_are_redacted_each_within_its_own_bounds(turns: list[str], digits: str) -> None:
    said = [*turns, f"我电话是{digits[:4]}", digits[4:]]
    spans = private_spans_of_call(said)
    assert len(spans) == len(said)
    for text, found in zip(said, spans, strict=True):
        edges = [0, *(edge for span in found for edge in (span.start, span.stop)), len(text)]
        assert edges == sorted(edges)
    assert spans[-1]  # the second half of a number is as private as the first


@pytest.mark.parametrize("piece", ["7", "八", "a", "点", "1 ", "两个", "a@", "1要", "路1", "1号楼", "京A", "1嗯嗯嗯嗯"])
def test_no_text_takes_long_to_redact(piece: str) -> None:
    began = time.process_time()
    redact(piece * (1000 // len(piece)))
    assert (
        time.process_time() - began < 2
    )  # it takes a tenth of a second, and took for ever where a pattern was unclear
