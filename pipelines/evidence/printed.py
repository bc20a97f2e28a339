"""Report, and what people added -> the report on paper: a PDF, or a page where no Chinese font is to be had."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from models.call import KINDS, Evidence, Utterance
from pipelines.evidence.clips import clip_name
from pipelines.evidence.exhibit import Correction, CustodyEvent, Stated
from pipelines.evidence.fonts import Font, printable
from pipelines.evidence.typeset import typeset
from pipelines.evidence.waveform import COLOURS
from pipelines.evidence.words import FORMS, LABELS, ROLES, SPEAKERS, Words, clock, highest, kinds, probability, reason
from pipelines.hearing import doubts
from pipelines.report import Report, UtterancePart, accused

METHOD = Words(
    "录音先被解码为 16 kHz 的声道，由人声检测找出说话的时段，再由 Whisper 语音识别模型写成文字，并按句切分；"
    "单声道录音按嗓音区分说话人。随后，分类模型给每一句话打出三种行为(威胁恐吓、侮辱辱骂、联系第三方)各自的概率，"
    "超过阈值的被标记。被标记的句子会被再次识别，两次结果不一致的，以及证据薄弱的，标为需人工确认。"
    "模型的名称、版本和校验值见上表。",
    "The recording was decoded to channels at 16 kHz; a voice detector found where people speak; a Whisper model wrote "
    "down what is said, which was cut into utterances; on one channel, voices were told apart by their sound. A "
    "classifier then gave each utterance a probability for each of three kinds of conduct, and those over a threshold "
    "were flagged. Flagged utterances were recognised a second time; where the two differ, or where the evidence is "
    "weak, a person must confirm. The models, their versions and hashes are listed above.",
)

LIMITS = Words(
    "本报告由机器生成，仅供参考，不构成法律意见，也不能替代人耳：识别会听错、漏听，甚至写出没有人说过的话；分类会误判和漏判；"
    "说话人的判断可能有误。文字与录音不一致时，以录音为准。签名和校验值只证明：自签名以后，本证据包中的文件没有被改动；"
    "不能证明录音在交来之前未被剪辑、是何时由何人录制，也不能证明通话双方的身份。“提交人自述”一栏未经核实。",
    "A machine made this report. It is for reference, no legal advice, and no substitute for listening: recognition "
    "mishears, misses, and at times writes what nobody said; the classifier errs both ways; who speaks may be wrong. "
    "Where text and recording differ, the recording decides. Signature and hashes show one thing: that the files of "
    "this bundle have not changed since they were signed. They do not show that the recording was not edited before it "
    "was handed in, when or by whom it was made, or who the parties are. What the submitter states was not checked.",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A name in two languages, and its value."""

    zh: str
    en: str
    value: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance as the tables show it; `zh` and `en` say what holds of it."""

    time: str
    speaker: Words
    text: str
    zh: str
    en: str
    reasons: tuple[Words, ...] = ()
    corrections: tuple[str, ...] = ()
    clip: str = ""
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Paper:
    """All that the paper shows, in order; every text is fit to print."""

    facts: tuple[Row, ...]
    stated: tuple[Row, ...]
    verdict: Words
    waveforms: tuple[str, ...]  # SVG
    bands: tuple[tuple[str, str], ...]  # name of a kind, its colour
    flagged: tuple[Spoken, ...]
    unclear: tuple[Spoken, ...]
    suppressed: tuple[Spoken, ...]
    models: tuple[tuple[str, str, str], ...]  # role, name and version, hash
    custody: tuple[tuple[str, str, str], ...]  # when, who, what
    method: Words
    limits: Words


def paper(
    report: Report,
    waveforms: Sequence[str],
    stated: Stated,
    corrections: Sequence[Correction],
    custody: Sequence[CustodyEvent],
    *,
    font: Font | None,
) -> Paper:
    def fit(text: str) -> str:
        return printable(text, font)

    return Paper(
        facts=tuple(_facts(report)),
        stated=tuple(_stated(stated, fit)),
        verdict=_verdict(report),
        waveforms=tuple(waveforms),
        bands=tuple((LABELS[kind].both, COLOURS[kind]) for kind in KINDS),
        flagged=tuple(_flagged(said, corrections, fit) for said in accused(report.utterances)),
        unclear=tuple(_unclear(report, fit)),
        suppressed=tuple(
            Spoken(
                f"{clock(part.start)} – {clock(part.end)}",
                Words(f"声道 {part.channel}", f"channel {part.channel}"),
                fit(part.text),
                "",
                "",
                (_fit(reason(part.reason), fit),),
            )
            for part in report.suppressed
        ),
        models=tuple((ROLES[m.role].both, fit(f"{m.name} {m.version}"), m.sha256) for m in report.models),
        custody=tuple(_custody(event, fit) for event in custody),
        method=METHOD,
        limits=LIMITS,
    )


def as_pdf(shown: Paper, font: Font, at: datetime) -> bytes:
    """PDF/A-2a and PDF/UA-1, so with its fonts inside; the same bytes for the same paper, font and time."""
    template = (resources.files("pipelines.evidence") / "report.typ").read_bytes()
    told = {"paper": json.dumps(asdict(shown), ensure_ascii=False)}
    return typeset(template, told, font, pdf_standards=["a-2a", "ua-1"], timestamp=at)


def as_html(shown: Paper, why_no_pdf: str) -> bytes:
    """One file that loads nothing and runs nothing."""
    environment = Environment(
        loader=PackageLoader("pipelines.evidence", "."), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    return environment.get_template("report.html").render(paper=shown, why_no_pdf=why_no_pdf).encode()


def _facts(report: Report) -> Iterator[Row]:
    yield Row("录音 SHA-256", "recording SHA-256", report.recording.sha256)
    yield Row("时长", "duration", clock(report.recording.duration))
    yield Row("编码与声道", "codec and channels", f"{report.recording.codec}, {report.recording.channels}")
    yield Row("语句", "utterances", str(len(report.utterances)))


def _stated(stated: Stated, fit: Callable[[str], str]) -> Iterator[Row]:
    names = {
        "file_name": Words("文件名", "file name"),
        "called_at": Words("通话时间", "time of the call"),
        "lender": Words("放贷机构", "lender"),
        "caller_number": Words("来电号码", "caller's number"),
        "call_id": Words("通话编号", "call id"),
        "collector_id": Words("催收员编号", "collector id"),
        "agency": Words("催收公司", "agency"),
        "borrower_ref": Words("借款人编号", "borrower reference"),
        "direction": Words("呼叫方向", "direction"),
        "collector_channel": Words("催收方声道", "collector's channel"),
        "note": Words("备注", "note"),
    }
    told = stated.model_dump(mode="json")
    for field, name in names.items():
        if told[field] is not None:
            yield Row(name.zh, name.en, fit(str(told[field])))


def _verdict(report: Report) -> Words:
    waiting = report.summary.awaiting_review
    held = kinds(report.summary.verdict)
    if not held.zh:
        held = Words("未认定催收方有违规言语", "no abuse established in the collector's speech")
    if not waiting:
        return held
    return Words(
        f"{held.zh}；另有 {waiting} 句被标记的话须由人听过才能认定",
        f"{held.en}; flagged utterances that a person must hear first: {waiting}",
    )


def _flagged(said: UtterancePart, corrections: Sequence[Correction], fit: Callable[[str], str]) -> Spoken:
    held, sure = kinds(said.labels), probability(said)
    forms = [FORMS[form] for form in said.forms]
    return Spoken(
        time=f"{clock(said.start)} – {clock(said.end)}",
        speaker=SPEAKERS[said.speaker],
        text=fit(said.text),
        zh="；".join(filter(None, (held.zh, "、".join(f.zh for f in forms), f"{sure.zh} ({highest(said):.0%})"))),
        en="; ".join(filter(None, (held.en, ", ".join(f.en for f in forms), sure.en))),
        reasons=tuple(_fit(reason(told), fit) for told in said.review_reasons),
        corrections=tuple(fit(told) for told in _corrected(said.index, corrections)),
        clip=clip_name(said),
        colour=COLOURS[said.labels[0]],
    )


def _corrected(index: int, corrections: Sequence[Correction]) -> Iterator[str]:
    for correction in corrections:
        if correction.utterance == index:
            speaker = f" [{SPEAKERS[correction.speaker].both}]" if correction.speaker else ""
            yield f"{correction.by}{speaker}: {correction.text or '—'}"


def _unclear(report: Report, fit: Callable[[str], str]) -> Iterator[Spoken]:
    for said in report.utterances:
        if why := list(doubts(_heard(said))):
            yield Spoken(
                f"{clock(said.start)} – {clock(said.end)}",
                SPEAKERS[said.speaker],
                fit(said.text),
                "",
                "",
                tuple(_fit(reason(told), fit) for told in why),
            )


def _heard(said: UtterancePart) -> Utterance:
    evidence = Evidence(**said.evidence.model_dump()) if said.evidence else None
    return Utterance(
        said.channel, said.speaker, said.start, said.end, said.text, said.raw_text, said.asr_confidence, evidence
    )


def _custody(event: CustodyEvent, fit: Callable[[str], str]) -> tuple[str, str, str]:
    facts = "; ".join(f"{name}: {value}" for name, value in sorted(event.facts.items()))
    return (
        event.at.isoformat(timespec="seconds"),
        fit(event.actor),
        fit(f"{event.action} — {facts}" if facts else event.action),
    )


def _fit(words: Words, fit: Callable[[str], str]) -> Words:
    return Words(fit(words.zh), fit(words.en))
