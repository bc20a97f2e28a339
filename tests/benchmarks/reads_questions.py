"""Every read route of the API -> requests as people and programs make them, drawn anew each time."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

_LABELS = ("threat", "insult", "third_party_contact")
# Said in every tenth call, in few, and in none.
_COMMON, _RARE, _NEVER = (
    ("还款", "今天", "逾期", "您好"),
    ("律师函", "小学", "抖音", "混账", "派出所"),
    ("外星人", "火车票"),
)
_ONE = ("还", "钱", "狗", "龟")
_LONG = ("您的欠款我们不会跟您单位说", "请问是本人吗", "让全村人都知道", "你就是个")

Draw = random.Random
Path = Callable[[Draw], str]


@dataclass(frozen=True, slots=True)
class Subjects:
    """What there is to ask for in one tenant."""

    calls: tuple[str, ...]
    reviewed: tuple[str, ...]
    collectors: tuple[str, ...]
    agencies: tuple[str, ...]
    webhook: str


def questions(about: Subjects) -> dict[str, Path]:
    """By name; those of the first three words of an aim first."""

    def month(draw: Draw, days: int = 30) -> dict[str, str]:
        start = datetime.now(UTC) - timedelta(days=draw.randrange(days, 360))
        return {"called_from": start.isoformat(), "called_before": (start + timedelta(days=days)).isoformat()}

    def week(draw: Draw) -> dict[str, str]:
        return month(draw, 7)

    def collector(draw: Draw) -> dict[str, str]:
        return {"collector_id": draw.choice(about.collectors)}

    def agency(draw: Draw) -> dict[str, str]:
        return {"agency": draw.choice(about.agencies)}

    def label(draw: Draw) -> dict[str, str]:
        return {"label": draw.choice(_LABELS)}

    def said(*words: str) -> Callable[[Draw], dict[str, str]]:
        return lambda draw: {"q": draw.choice(words)}

    def fixed(**values: str) -> Callable[[Draw], dict[str, str]]:
        return lambda _: values

    def ask(path: str, *parts: Callable[[Draw], dict[str, str]]) -> Path:
        def draw_one(draw: Draw) -> str:
            asked = {name: value for part in parts for name, value in part(draw).items()}
            return f"{path}?{urlencode(asked)}" if asked else path

        return draw_one

    calls, spoken = "/v1/calls", "/v1/utterances"
    return {
        "get call": lambda draw: f"/v1/calls/{draw.choice(about.calls)}",
        "get call, its reviews": lambda draw: f"/v1/calls/{draw.choice(about.reviewed)}/reviews",
        "list calls": ask(calls),
        "list calls, done": ask(calls, fixed(status="done")),
        "list calls, failed": ask(calls, fixed(status="failed")),
        "list calls, queued": ask(calls, fixed(status="queued")),
        "list calls, by label": ask(calls, label),
        "list calls, of a collector": ask(calls, collector),
        "list calls, of a week": ask(calls, week),
        "list calls, all filters": ask(calls, fixed(status="done"), label, collector, month),
        "list calls, 200 at once": ask(calls, fixed(limit="200")),
        "search": ask(spoken),
        "search, common words": ask(spoken, said(*_COMMON)),
        "search, rare words": ask(spoken, said(*_RARE)),
        "search, words nobody said": ask(spoken, said(*_NEVER)),
        "search, one character": ask(spoken, said(*_ONE)),
        "search, long words": ask(spoken, said(*_LONG)),
        "search, words and label": ask(spoken, said(*_COMMON, *_RARE), label),
        "search, words of a collector": ask(spoken, said(*_COMMON, *_RARE), collector),
        "search, words of a week": ask(spoken, said(*_COMMON, *_RARE), week),
        "search, by label": ask(spoken, label),
        "search, label and score": ask(spoken, label, fixed(min_score="0.95")),
        "search, score above": ask(spoken, fixed(min_score="0.98")),
        "search, score below": ask(spoken, fixed(max_score="0.05")),
        "search, score between": ask(spoken, fixed(min_score="0.45", max_score="0.55")),
        "search, unknown speaker": ask(spoken, fixed(speaker="unknown")),
        "search, of a collector": ask(spoken, collector),
        "search, of an agency": ask(spoken, agency),
        "search, of a week": ask(spoken, week),
        "search, of a month": ask(spoken, month),
        "search, to review": ask(spoken, fixed(needs_review="true")),
        "search, suppressed": ask(spoken, fixed(suppressed="true")),
        "collectors": ask("/v1/collectors"),
        "collectors, of a month": ask("/v1/collectors", month),
        "agencies": ask("/v1/agencies"),
        "agencies, of a month": ask("/v1/agencies", month),
        "conduct": ask("/v1/conduct"),
        "reviewers' agreement": ask("/v1/reviews/agreement"),
        "review export": ask("/v1/reviews/export"),
        "audit": ask("/v1/audit"),
        "audit, of a call": lambda draw: f"/v1/audit?subject={draw.choice(about.calls)}",
        "webhooks": ask("/v1/webhooks"),
        "webhook messages": ask(f"/v1/webhooks/{about.webhook}/messages"),
        "webhook messages, dead": ask(f"/v1/webhooks/{about.webhook}/messages", fixed(state="dead")),
        "keys": ask("/v1/keys"),
        "retention": ask("/v1/retention"),
    }
