"""Report and corrections -> the conversation as a page shows it, the machine's word and the borrower's side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.corrections import Corrected
from models.call import KINDS, Label, Speaker
from pipelines.report import Report, UtterancePart

# So that an hour's conversation is several light pages, however much of it is flagged.
UTTERANCES_A_PAGE = 80
FLAGGED_A_PAGE = 25

_SWAPPED = {Speaker.COLLECTOR: Speaker.BORROWER, Speaker.BORROWER: Speaker.COLLECTOR}


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance. `corrected` is None where the borrower said nothing about it."""

    machine: UtterancePart
    corrected: Corrected | None
    speaker: Speaker  # as the borrower has it, else the machine

    @property
    def text(self) -> str:
        return self.corrected.newest.text if self.corrected else self.machine.text

    @property
    def flagged(self) -> bool:
        return bool(self.machine.labels)

    @property
    def accused(self) -> bool:
        """Flagged, and not the borrower's own words."""
        return self.flagged and self.speaker is not Speaker.BORROWER

    @property
    def text_differs(self) -> bool:
        return self.text != self.machine.text

    @property
    def seen(self) -> int:
        """The number that a form tells, so that it is known which version its writer saw."""
        return self.corrected.newest.number if self.corrected else 0


def conversation(report: Report, corrected: Mapping[int, Corrected], roles_swapped: bool) -> list[Said]:
    found = []
    for utterance in report.utterances:
        speaker = _SWAPPED.get(utterance.speaker, utterance.speaker) if roles_swapped else utterance.speaker
        one = corrected.get(utterance.index)
        found.append(Said(utterance, one, one.newest.speaker if one else speaker))
    return found


def kinds_in(said: Sequence[Said]) -> list[Label]:
    return [kind for kind in KINDS if any(kind in one.machine.labels for one in said if one.accused)]


def page_of(utterance: int) -> int:
    return utterance // UTTERANCES_A_PAGE + 1
