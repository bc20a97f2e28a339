"""Labels, forms, speakers and reasons -> the words that a person reads, in Chinese and in English."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from models.call import Form, Label, Speaker
from pipelines.hearing import UNKNOWN_SPEAKER
from pipelines.report import UtterancePart

_VERY_LIKELY = 0.8  # calibrated probability


class Words(NamedTuple):
    zh: str
    en: str

    @property
    def both(self) -> str:
        return f"{self.zh} {self.en}"


LABELS = {
    Label.THREAT: Words("威胁恐吓", "threat"),
    Label.INSULT: Words("侮辱辱骂", "insult"),
    Label.THIRD_PARTY_CONTACT: Words("联系第三方", "third-party contact"),
    Label.COMPLIANT: Words("合规", "compliant"),
}

FORMS = {
    Form.VIOLENCE: Words("人身威胁", "violence"),
    Form.FAMILY: Words("威胁家人", "threat to the family"),
    Form.HOME_VISIT: Words("上门堵人", "besieging the home"),
    Form.REPUTATION: Words("毁坏名誉", "ruin of reputation"),
    Form.FALSE_AUTHORITY: Words("冒充公检法或编造后果", "false authority or invented consequence"),
    Form.RELENTLESS_CALLS: Words("骚扰", "relentless calls"),
    Form.ABUSE: Words("辱骂", "abuse"),
    Form.HUMILIATION: Words("羞辱", "humiliation"),
    Form.DISCLOSURE: Words("泄露债务", "disclosure of the debt"),
    Form.PRESSURE_ON_OTHERS: Words("向他人施压", "pressure on others"),
    Form.COLLECTING_CONTACTS: Words("索要他人联系方式", "collecting contacts"),
    Form.CONTACT_LIST: Words("爆通讯录", "calling the contact list"),
}

SPEAKERS = {
    Speaker.COLLECTOR: Words("催收方", "collector"),
    Speaker.BORROWER: Words("借款人", "borrower"),
    Speaker.UNKNOWN: Words("说话人不明", "unknown speaker"),
}

ROLES = {
    "transcriber": Words("语音识别", "transcriber"),
    "classifier": Words("语句分类", "classifier"),
    "speakers": Words("说话人区分", "speakers"),
}

_REASONS = (
    (re.escape(UNKNOWN_SPEAKER), "不知道是谁在说话"),
    ("the words were not heard clearly", "字句没有听清"),
    ("the recogniser doubts that anybody speaks here", "识别模型怀疑此处无人说话"),
    ("for most of its time no voice is heard", "大部分时间听不到人声"),
    (r"very quiet \((-?\d+) dBFS\)", r"声音很小(\1 dBFS)"),
    (r"the sound is weak \((-?\d+) dBFS\)", r"声音微弱(\1 dBFS)"),
    ("the text repeats itself, as invented text does", "文字自我重复，像是模型编造的"),
    (r"decoded again, other words were heard \(agreement (\d+%)\)", r"再次识别听出不同的字句(一致度 \1)"),
    (r"a phrase that recognisers invent \((.+?)\), and (.+)", None),
)


def probability(utterance: UtterancePart) -> Words:
    """How sure the machine is of the utterance's label, for people who do not read numbers."""
    if utterance.needs_review:
        return Words("需人工确认", "a person must confirm")
    return Words("很可能", "very likely") if highest(utterance) >= _VERY_LIKELY else Words("可能", "possible")


def highest(utterance: UtterancePart) -> float:
    """The calibrated probability of the most probable kind of abuse."""
    return max(utterance.scores.threat, utterance.scores.insult, utterance.scores.third_party_contact)


def reason(told: str) -> Words:
    """A report's reason, which is English, with its translation; a reason that is not known stays as it is."""
    for pattern, chinese in _REASONS:
        if not (found := re.fullmatch(pattern, told)):
            continue
        if chinese is not None:
            return Words(found.expand(chinese) if found.groups() else chinese, told)
        return Words(f"识别模型常凭空写出的套话({found[1]})，且{reason(found[2]).zh}", told)
    return Words(told, told)


def kinds(labels: Sequence[Label]) -> Words:
    return Words("、".join(LABELS[k].zh for k in labels), ", ".join(LABELS[k].en for k in labels))


def clock(seconds: float) -> str:
    """1:02:03.4, as a player shows it."""
    tenths = round(seconds * 10)
    return f"{tenths // 36_000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"
