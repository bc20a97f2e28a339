"""Report and reviews -> the conversation as the page of a call shows it: the machine's word, and people's beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.reviews import Review, in_force
from models.call import Label
from pipelines.report import Report, UtterancePart, accused

UTTERANCES_A_PAGE = 100  # so that an hour's conversation is several light pages


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance. `reviews`: all that is in force, oldest first; `seen`: the number of the newest ever given."""

    machine: UtterancePart
    reviews: tuple[Review, ...]
    seen: int
    accused: bool  # flagged, and not the borrower's own words

    @property
    def decision(self) -> Review | None:
        """The one that counts."""
        return next((review for review in reversed(self.reviews) if review.verdict is not None), None)

    @property
    def labels(self) -> tuple[Label, ...]:
        """As decided, else as the machine has it."""
        return self.decision.labels if self.decision else self.machine.labels

    def last_of(self, reviewer: str) -> Review | None:
        return next((review for review in reversed(self.reviews) if review.reviewer == reviewer), None)


def conversation(report: Report, reviewed: Sequence[Review], *, redacted: bool) -> list[Heard]:
    """`redacted`: as the report is, notes are too."""
    by_utterance: dict[int, list[Review]] = {}
    for review in in_force(reviewed):
        by_utterance.setdefault(review.utterance, []).append(review.masked() if redacted else review)
    seen = {review.utterance: review.number for review in reviewed}
    against = {u.index for u in accused(report.utterances)}
    return [
        Heard(u, tuple(by_utterance.get(u.index, ())), seen.get(u.index, 0), u.index in against)
        for u in report.utterances
    ]


def first_to_decide(said: Sequence[Heard]) -> int:
    """Index of the first flagged utterance without a decision, else of the first flagged, else of the first."""
    flagged = [one for one in said if one.accused]
    found = next((one for one in flagged if one.decision is None), flagged[0] if flagged else None)
    return found.machine.index if found else 0


def part_of(utterance: int) -> int:
    """The page that it is on, from 1."""
    return utterance // UTTERANCES_A_PAGE + 1
