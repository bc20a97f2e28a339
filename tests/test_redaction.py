"""What is private must not be read, also when it was spoken; all else must stay as it was said."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.call import Label, Speaker
from pipelines.redaction import MASK, Private, mask, private_spans, private_spans_of_call, redact, redact_report
from pipelines.report import RecordingPart, Report, Scores, UtterancePart, summarise

HERE = Path(__file__).parent
PRIVATE = [json.loads(line) for line in (HERE / "data" / "redaction" / "private.jsonl").read_text("utf8").splitlines()]
CORPUS = HERE.parent / "pipelines" / "training" / "corpus" / "calls.jsonl"


def hidden(row: dict[str, list[object]]) -> bool:
    """Whether not one character of what is private is left."""
    turns = [str(turn) for turn in row["turns"]]
    shown = [mask(t, spans) for t, spans in zip(turns, private_spans_of_call(turns), strict=True)]
    kept = set(" ,，、.。·-嗯杠")
    return all(set(shown[turn][start:stop]) <= {MASK} | kept for turn, start, stop in row["private"])  # type: ignore[misc,index]


def test_private_numbers_are_found_when_spoken() -> None:
    missed = [row["turns"] for row in PRIVATE if not hidden(row)]
    recall = 1 - len(missed) / len(PRIVATE)
    print(f"redaction: {len(PRIVATE)} private utterances, recall {recall:.3f}; missed: {missed}")
    assert len(PRIVATE) >= 300
    assert recall >= 0.97


def test_talk_without_private_numbers_is_left_alone() -> None:
    talk = [json.loads(line)["text"] for line in CORPUS.read_text("utf8").splitlines()]
    touched = sum(bool(private_spans(text)) for text in talk)
    print(f"redaction: {touched} of {len(talk)} utterances of collection talk touched")
    assert len(talk) > 5000
    assert touched / len(talk) <= 0.01


@pytest.mark.parametrize(
    "text",
    [
        "欠了一千四百六十块",
        "本金一万两千三百四十五块六毛",
        "二零二六年三月十二号到期",
        "我工号三二一五",
        "您十二号那笔今天没扣成功",
        "一天打你一百个电话",
        "分三期还，每期八百三",
        "逾期九十三天了",
        "百分之二十四的利率",
        "客服是一二三七八，您可以投诉",
        "一五一十地说清楚",
        "怪不得跟这种老赖住一栋楼",
        "12345678元",
        "就是就是，吧吧吧",
        "",
    ],
)
def test_sums_dates_and_counts_stay(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("16300123456", Private.MOBILE),
        ("幺六三洞洞幺两三四五六", Private.MOBILE),
        ("零二一六二三四五六七八", Private.LANDLINE),
        ("99010119900307001X", Private.NUMBER),
        ("990101199003070015", Private.ID_CARD),
        ("6200001234567890128", Private.BANK_CARD),
        ("粤B12345", Private.PLATE),
        ("someone@example.com", Private.EMAIL),
    ],
)
def test_private_number_is_named_by_its_kind(text: str, kind: Private) -> None:
    (span,) = private_spans(f"是{text}。")
    assert (span.kind, span.start, span.stop) == (kind, 1, 1 + len(text))


def test_number_spread_over_turns_is_hidden_and_the_turns_between_are_not() -> None:
    turns = ["我电话是一六三", "嗯", "零零一二", "三四五六，没了"]
    shown = [mask(t, spans) for t, spans in zip(turns, private_spans_of_call(turns), strict=True)]
    assert shown == ["我电话是***", "嗯", "****", "****，没了"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("驗證碼是1234", "驗證碼是****"),
        ("車牌是粵B12345", "車牌是*******"),
        ("幸福路三號院二號樓", "幸福路******"),
        ("abc艾特qq點com", MASK * 11),
        ("欠了兩萬塊，十二號還", "欠了兩萬塊，十二號還"),
    ],
)
def test_traditional_characters_hide_no_less_than_simplified_ones(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_raw_text_in_traditional_characters_is_masked_as_the_text_beside_it() -> None:
    heard = UtterancePart(
        index=0, channel=0, speaker=Speaker.BORROWER, speaker_confidence=1.0, start=0.0, end=2.0,
        text="验证码是1234", raw_text="驗證碼是1234", label=Label.COMPLIANT, labels=(),
        scores=Scores(threat=0, insult=0, third_party_contact=0), asr_confidence=0.9, needs_review=False,
    )  # fmt: skip
    recording = RecordingPart(sha256="0" * 64, duration=2, channels=1, codec="pcm_s16le")
    report = Report(recording=recording, models=(), utterances=(heard,), summary=summarise([heard]))
    (said,) = redact_report(report).utterances
    assert (said.text, said.raw_text) == ("验证码是****", "驗證碼是****")


_TALK = st.text(alphabet="零一二三幺洞拐456 ,，要吧个Xx@点com京A号栋路元年嗯\n\0😀點號滬\ud800", max_size=60)


@given(_TALK)
@example("一" * 60)
@example("1 " * 30)
@example("a" * 60)
@settings(deadline=None, max_examples=200, database=None)
def test_any_text_keeps_its_length_and_its_other_characters(text: str) -> None:
    shown = redact(text)
    assert len(shown) == len(text)
    assert all(a in (b, MASK) for a, b in zip(shown, text, strict=True))


@given(st.lists(_TALK, max_size=8))
@settings(deadline=None, max_examples=100, database=None)
def test_spans_lie_within_their_utterance_and_do_not_overlap(turns: list[str]) -> None:
    for text, spans in zip(turns, private_spans_of_call(turns), strict=True):
        edges = [0, *(edge for span in spans for edge in (span.start, span.stop)), len(text)]
        assert edges == sorted(edges)
