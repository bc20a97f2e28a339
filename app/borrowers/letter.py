"""A case -> the draft of a letter of complaint; in Chinese, since that is what the desks read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from app.borrowers.rules import Rule, Rules
from app.borrowers.timeline import Timeline, timeline, when
from app.borrowers.transcript import Said, kinds_in
from app.cases import CaseRecording
from app.pages import short_clock
from pipelines.evidence.words import LABELS, SPEAKERS, probability

_MOST_QUOTES = 12  # of one recording; the bundle has them all
_BLANK = "（请填写）"
_SPEAKERS = {speaker: words.zh for speaker, words in SPEAKERS.items()}


@dataclass(frozen=True, slots=True)
class Heard:
    """A recording of the case that is done."""

    recording: CaseRecording
    said: Sequence[Said]


def draft(heard: Sequence[Heard], recordings: Sequence[CaseRecording], rules: Rules, today: date) -> str:
    """`recordings`: all of the case, for the timeline; `heard`: those whose conversation is known."""
    lines = [
        "投诉书",
        "",
        f"投诉人：{_BLANK}",
        f"联系方式：{_BLANK}",
        f"被投诉人（放款机构或催收机构）：{_each(r.told.lender for r in recordings)}",
        f"来电号码：{_each(r.told.caller_number for r in recordings)}",
        f"相关借款（合同编号、时间、金额）：{_BLANK}",
        "",
        "一、投诉事项",
        "",
        *_matters(heard, timeline(recordings, rules.limits), rules),
        "",
        "二、事实经过",
        "",
        *_facts(heard),
        "三、有关规定（供参考，以正式文本为准）",
        "",
        *_cited(heard, timeline(recordings, rules.limits), rules),
        "",
        "四、投诉请求",
        "",
        "1. 请核实上述通话，要求被投诉人停止上述催收行为；",
        "2. 请要求被投诉人只与本人联系，通过书面方式说明债权、金额及计算依据；",
        "3. 请对违规行为依法处理，并把处理结果书面告知本人；",
        f"4. {_BLANK}",
        "",
        "五、附件",
        "",
        *(f"{n}. 通话录音，文件校验值 SHA-256：{r.recording_sha256}" for n, r in enumerate(recordings, 1)),
        "",
        "以上内容由投诉人核对，录音由投诉人提供。文字由机器识别，标明“经本人更正”的除外；文字与录音不一致时，以录音为准。",
        "",
        "投诉人（签名）：",
        f"日期：{today.year}年{today.month}月{today.day}日",
    ]
    return "\n".join(lines) + "\n"


def _matters(heard: Sequence[Heard], days: Timeline, rules: Rules) -> Iterator[str]:
    number = 0
    for kind in kinds_in([one for some in heard for one in some.said]):
        number += 1
        yield f"{number}. 催收通话中疑似存在{LABELS[kind].zh}的言语；"
    if days.at_night:
        number += 1
        hours = f"{rules.limits.night_from:%H:%M}至次日{rules.limits.night_to:%H:%M}"
        yield f"{number}. 在{hours}之间来电{days.at_night}次；"
    if days.days_over_limit:
        number += 1
        yield f"{number}. 有{days.days_over_limit}天单日通话超过{rules.limits.calls_per_day}次；"
    yield f"{number + 1}. {_BLANK}"


def _facts(heard: Sequence[Heard]) -> Iterator[str]:
    for number, one in enumerate(heard, 1):
        at = when(one.recording)
        told = "时间未填写"
        if at:
            clock = f" {at.at:%H:%M}" if at.at else ""
            whose = "本人陈述" if at.stated else "录音文件日期"
            told = f"{at.day.year}年{at.day.month}月{at.day.day}日{clock}（{whose}）"
        seconds = "" if one.recording.seconds is None else f"，时长{short_clock(one.recording.seconds)}"
        yield f"（{number}）录音{number}：{told}{seconds}。"
        accused = [said for said in one.said if said.accused]
        for said in accused[:_MOST_QUOTES]:
            kinds = "、".join(LABELS[label].zh for label in said.machine.labels)
            by = "经本人更正" if said.corrected and said.text_differs else "机器识别"
            yield (
                f"　　{short_clock(said.machine.start)}　{_SPEAKERS[said.speaker]}：“{said.text}”"
                f"（{by}；疑似{kinds}，{probability(said.machine).zh}）"
            )
        if len(accused) > _MOST_QUOTES:
            yield f"　　另有{len(accused) - _MOST_QUOTES}句，见证据包。"
        if not accused:
            yield f"　　{_BLANK}"
        yield ""
    if not heard:
        yield _BLANK
        yield ""


def _cited(heard: Sequence[Heard], days: Timeline, rules: Rules) -> Iterator[str]:
    cited: dict[str, Rule] = {}
    for kind in kinds_in([one for some in heard for one in some.said]):
        cited |= {rule.key: rule for rule in rules.about(kind)}
    if days.at_night:
        cited |= {rule.key: rule for rule in rules.measuring("night")}
    if days.days_over_limit:
        cited |= {rule.key: rule for rule in rules.measuring("calls_per_day")}
    for number, rule in enumerate(cited.values(), 1):
        yield f"{number}. {rule.name_zh}（{rule.where_zh}）：{rule.says_zh}"
    if not cited:
        yield _BLANK


def _each(told: Iterator[str]) -> str:
    return "；".join(dict.fromkeys(one for one in told if one)) or _BLANK
