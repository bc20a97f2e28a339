import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.call import Speaker
from models.classifier import Classifier
from pipelines.archive.differences import differences
from pipelines.archive.engine import Scoring
from pipelines.archive.errors import ArchiveError
from pipelines.archive.run import Order, run
from pipelines.archive.sources import Source
from pipelines.archive.store import Store
from pipelines.archive.transcripts import BadTranscript, Sentence, read_transcript
from pipelines.decode import DecodeLimits
from pipelines.report import Report
from pipelines.score import EngineOptions
from tests.archive.conftest import archive, rows
from tests.conftest import ROOT

CLASSIFIER = ROOT / "models" / "bundled" / "classifier"
SAID = [
    ("collector", 0.5, 2.0, "喂，您好，请问是张先生吗？"),
    ("borrower", 2.1, 3.0, "是我。"),
    ("collector", 3.2, 6.0, "今天再不还钱，我就带人去你家坐着。"),
]


def lines() -> bytes:
    return "\n".join(
        json.dumps({"speaker": who, "start": start, "end": end, "text": text}, ensure_ascii=False)
        for who, start, end, text in SAID
    ).encode()


def srt() -> bytes:
    blocks = [
        f"{number}\n00:00:{int(start):02d},{round(start % 1 * 1000):03d} --> 00:00:{int(end):02d},"
        f"{round(end % 1 * 1000):03d}\n{ {'collector': '坐席', 'borrower': '客户'}[who] }：{text}"
        for number, (who, start, end, text) in enumerate(SAID, start=1)
    ]
    return "\r\n\r\n".join(blocks).encode("utf-8-sig")


def vendor(**extra: Any) -> bytes:
    sentences = [
        {"ChannelId": int(who == "borrower"), "BeginTime": start * 1000, "EndTime": end * 1000, "Text": text, **extra}
        for who, start, end, text in SAID
    ]
    return json.dumps({"data": {"Sentences": sentences}}, ensure_ascii=False).encode()


def test_all_three_forms_say_the_same() -> None:
    wanted = [(start, end, text) for _, start, end, text in SAID]
    for name, content in (("a.jsonl", lines()), ("a.srt", srt()), ("a.json", vendor())):
        found = read_transcript(name, content).sentences
        assert [(round(s.start_s, 3), round(s.end_s, 3), s.text) for s in found] == wanted, name
    assert [s.speaker for s in read_transcript("a.srt", srt()).sentences] == [
        Speaker.COLLECTOR,
        Speaker.BORROWER,
        Speaker.COLLECTOR,
    ]
    assert [s.channel for s in read_transcript("a.json", vendor()).sentences] == [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jsonl", b"", "empty"),
        ("a.jsonl", b"\xff\xfe", "UTF-8"),
        ("a.jsonl", b'{"text": "a"}', "line 1: start"),
        ("a.jsonl", b'{"start": 0, "end": 1, "text": "a"}\nno', "line 2"),
        ("a.json", b'[{"Text": "a"}]', "sentence 1"),
        ("a.json", b'[{"Text": "a", "BeginTime": "x", "EndTime": 3}]', "sentence 1"),
        ("a.json", b'[{"Text": "a", "BeginTime": 1, "EndTime": 3, "ChannelId": 7}]', "channel 7"),
        ("a.json", b"[1]", "not an object"),
        ("a.srt", "1\n你好".encode(), "block 1"),
        ("a.jsonl", json.dumps({"start": 0, "end": 1, "text": "啊" * 10_001}).encode(), "10000"),
    ],
)
def test_what_is_no_transcript_is_told(name: str, content: bytes, why: str) -> None:
    with pytest.raises(BadTranscript) as told:
        read_transcript(name, content)
    assert why in str(told.value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of the reader
@given(st.binary(max_size=300), st.sampled_from(["a.srt", "a.json", "a.jsonl"]))
def test_no_bytes_do_more_than_be_refused(content: bytes, name: str) -> None:
    try:
        found = read_transcript(name, content)
    except BadTranscript:
        return
    assert all(isinstance(s, Sentence) and s.text for s in found.sentences)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["text", "start", "end", "data", "result", "BeginTime", "EndTime", "channel"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_does_more_than_be_refused(value: Any) -> None:
    try:
        read_transcript("a.json", json.dumps(value).encode())
    except BadTranscript:
        return


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("transcripts")
    (made / "a.jsonl").write_bytes(lines())
    (made / "b.srt").write_bytes(srt())
    (made / "c.json").write_bytes(vendor())
    (made / "c.json.meta.json").write_text('{"call_id": "crm-3", "collector_channel": 0}')
    (made / "d.json").write_text("no transcript")
    return made


@pytest.fixture(scope="module")
def classified(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("classified") / "archive"
    done = archive("score", folder, "--out", dest, "--transcripts", "--workers", "1")
    assert done.returncode == 1, done.stderr
    return dest


def test_transcripts_are_classified_as_one_call_each(classified: Path) -> None:
    calls = {row["recording"]: row for row in rows(classified, "calls")}
    assert set(calls) == {"a.jsonl", "b.srt", "c.json"}
    assert calls["c.json"]["call_id"] == "crm-3"
    for call in calls.values():
        assert (call["codec"], call["utterances"], call["transcriber_sha256"]) == ("transcript", 3, None)
        assert call["duration_s"] == 6.0
        speakers = [u.speaker for u in Report.model_validate_json(call["report"]).utterances]
        assert speakers == [Speaker.COLLECTOR, Speaker.BORROWER, Speaker.COLLECTOR]
    assert [row["error"] for row in rows(classified, "failures")] == ["BadTranscript"]


def test_batches_say_what_the_classifier_says_of_one_call(classified: Path) -> None:
    texts = [text for *_, text in SAID]
    alone = Classifier(threads=1)(texts, [texts[max(0, i - 2) : i] for i in range(3)])
    found = sorted((u for u in rows(classified, "utterances") if u["recording"] == "a.jsonl"), key=lambda u: u["index"])
    for utterance, judgement in zip(found, alone, strict=True):
        for kind, probability in judgement.scores.items():
            assert utterance[kind] == pytest.approx(probability, abs=0.05)  # int8 answers shift a little by batch


def _other_classifier(folder: Path, threshold: float) -> Path:
    shutil.copytree(CLASSIFIER, folder)
    calibration = json.loads((folder / "calibration.json").read_text())
    calibration["threshold"] = dict.fromkeys(calibration["threshold"], threshold)
    (folder / "calibration.json").write_text(json.dumps(calibration))
    return folder


def test_new_model_is_refused_until_asked_for_and_then_replaces_and_can_be_compared(
    folder: Path, classified: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "archive"
    shutil.copytree(classified, dest)
    other = str(_other_classifier(tmp_path / "eager", 0.0))  # flags everything
    scoring = Scoring(EngineOptions(classifier=other), DecodeLimits(), transcripts=True)
    with pytest.raises(ArchiveError, match="--since-model"):
        run(Order(Source(str(folder), transcripts=True), scoring, workers=1), Store(str(dest)))
    assert rows(dest, "calls") == rows(classified, "calls")

    order = ["score", folder, "--out", dest, "--transcripts", "--workers", "1"]
    again = archive(*order, "--since-model", CALLAUDIT_CLASSIFIER=other)
    assert again.returncode == 1, again.stderr
    assert again.stdout.startswith("3 scored, 0 the same as another, 0 failed, 1 done before")
    assert {row["classifier_sha256"] for row in rows(dest, "calls")}.isdisjoint(
        {row["classifier_sha256"] for row in rows(classified, "calls")}
    )
    assert len(rows(dest, "calls")) == 3
    assert len(rows(dest, "failures")) == 1
    assert archive(*order, "--since-model", CALLAUDIT_CLASSIFIER=other).stdout.startswith("0 scored")

    told = archive("diff", classified, dest, "--json")
    assert told.returncode == 0, told.stderr
    found = [json.loads(line) for line in told.stdout.splitlines()]
    assert {difference["recording"] for difference in found} == {"a.jsonl", "b.srt", "c.json"}
    for difference in found:
        assert set(difference["verdict_after"]) == {"threat", "insult", "third_party_contact"}
        assert len(difference["after"]) == 2  # the borrower's words never count
    assert list(differences(Store(str(dest)), Store(str(dest)))) == []
    with pytest.raises(ArchiveError, match="no archive"):
        list(differences(Store(str(folder)), Store(str(dest))))


def test_only_what_is_new_or_failed_is_scored_and_the_rest_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    source, dest = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.jsonl").write_text("no")
    order = ["score", source, "--out", dest, "--transcripts", "--workers", "1"]
    assert archive(*order).returncode == 1
    kept = Store(str(dest)).parts()
    shutil.copy(folder / "a.jsonl", source)
    shutil.copy(folder / "b.srt", source)
    again = archive(*order, "--since-model")
    assert again.stdout.startswith("1 scored, 0 the same as another, 0 failed, 1 done before (1 failed)"), again.stdout
    assert kept[0] in Store(str(dest)).parts()
    assert archive(*order, "--retry-failed").returncode == 0
    assert (len(rows(dest, "calls")), rows(dest, "failures")) == (2, [])


def test_transcript_without_words_is_a_call_in_which_nobody_speaks(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text("[]")
    assert (
        archive("score", tmp_path / "in", "--out", tmp_path / "out", "--transcripts", "--workers", "1").returncode == 0
    )
    (call,) = rows(tmp_path / "out", "calls")
    assert (call["utterances"], call["verdict"], call["duration_s"]) == (0, [], 0.0)


def test_many_tiny_files_are_each_one_row_and_found_done_again(tmp_path: Path) -> None:
    source, dest = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for index in range(500):
        (source / f"{index:04d}.json").write_text(json.dumps({"call": index, "sentences": []}))
    order = ["score", source, "--out", dest, "--transcripts", "--workers", "1"]
    assert archive(*order, "--part-size", "100").returncode == 0
    assert [row["recording"] for row in rows(dest, "calls")] == sorted(f"{index:04d}.json" for index in range(500))
    assert archive(*order).stdout.startswith("0 scored, 0 the same as another, 0 failed, 500 done before")
