"""The nouns of a call, from recording to finding; plain, frozen, without behaviour of their own."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000


class Label(StrEnum):
    """What an utterance does; the first three are abuse."""

    THREAT = "threat"
    INSULT = "insult"
    THIRD_PARTY_CONTACT = "third_party_contact"
    COMPLIANT = "compliant"


KINDS = (Label.THREAT, Label.INSULT, Label.THIRD_PARTY_CONTACT)


class Form(StrEnum):
    """The form that a finding's abuse takes."""

    VIOLENCE = "violence"
    FAMILY = "family"
    HOME_VISIT = "home_visit"
    REPUTATION = "reputation"
    FALSE_AUTHORITY = "false_authority"
    RELENTLESS_CALLS = "relentless_calls"
    ABUSE = "abuse"
    HUMILIATION = "humiliation"
    DISCLOSURE = "disclosure"
    PRESSURE_ON_OTHERS = "pressure_on_others"
    COLLECTING_CONTACTS = "collecting_contacts"
    CONTACT_LIST = "contact_list"


KIND_OF_FORM = {
    **dict.fromkeys(list(Form)[:6], Label.THREAT),
    **dict.fromkeys(list(Form)[6:8], Label.INSULT),
    **dict.fromkeys(list(Form)[8:], Label.THIRD_PARTY_CONTACT),
}


class Speaker(StrEnum):
    COLLECTOR = "collector"
    BORROWER = "borrower"  # or whoever else the collector talks to
    UNKNOWN = "unknown"


class Samples(Protocol):
    """Sound that need not be in memory: float32 in [-1, 1] at 16 kHz, read by stretches."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Channel:
    index: int
    samples: Samples

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded call. `source_channels` counts the file's own; a dual-mono file has one channel left."""

    sha256: str
    duration: float  # seconds
    codec: str
    source_channels: int
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """One word, in Chinese one character, as recognised."""

    start: float  # seconds from the start of the recording
    end: float
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech between two silences, transcribed."""

    start: float
    end: float
    words: tuple[Word, ...]
    mean_log_probability: float
    no_speech_probability: float
    compression_ratio: float = 1.0  # of the window's text that the words come from
    voice: tuple[float, float] | None = None  # where a voice is heard, without padding; None: not known

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well it is known that the words were said at all."""

    mean_log_probability: float  # natural, over the utterance's words
    no_speech_probability: float  # of the decoded window
    compression_ratio: float  # of the decoded window's text
    repetition: float  # share of the text's character triples that occurred before in it
    voice_overlap: float  # share of the utterance's time in which the voice detector hears a voice
    level_dbfs: float | None = None
    agreement: float | None = None  # 1 - character error rate to a second, differing decode; None: not decoded again


@dataclass(frozen=True, slots=True)
class Utterance:
    channel: int
    speaker: Speaker
    start: float
    end: float
    text: str  # simplified characters
    raw_text: str  # as the recogniser wrote it
    confidence: float  # mean word probability
    evidence: Evidence | None = None  # None: the words do not come from a recogniser
    voice_log_odds: float | None = None  # natural, that voice 1 of two in the channel speaks; None: not told apart
    speaker_confidence: float | None = None  # probability that `speaker` is right; None: unknown


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the classifier says of one text."""

    label: Label
    labels: tuple[Label, ...]
    scores: dict[Label, float]  # calibrated probability of each of KINDS
    forms: tuple[Form, ...] = ()
    collector: float = 0.5  # probability that a collector says this


@dataclass(frozen=True, slots=True)
class Finding:
    """An utterance with its judgement, and why a person must hear it, if so."""

    utterance: Utterance
    judgement: Judgement
    review_reasons: tuple[str, ...] = field(default=())
