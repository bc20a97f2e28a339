"""Bundles of a short recording with utterances labelled by hand: what is bundled does not depend on a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.signing import KeyFile
from models.call import KINDS, Evidence, Finding, Form, Judgement, Label, Speaker, Utterance
from pipelines.decode import decode
from pipelines.evidence.bundle import bundle
from pipelines.evidence.exhibit import Correction, CustodyEvent, Stated
from pipelines.evidence.fonts import FindFont, Font
from pipelines.evidence.timestamp import Stamp
from pipelines.hearing import Suppressed
from pipelines.report import ModelPart, Report
from tests.conftest import write_tone

HEARD_AT = datetime(2026, 3, 1, 12, 15, tzinfo=UTC)
CUSTODY = (
    CustodyEvent(at=HEARD_AT, actor="borrower", action="call.accepted", facts={"bytes": 144_044}),
    CustodyEvent(at=HEARD_AT.replace(hour=13), actor="operator", action="call.held", log_position=7, log_hash="a" * 64),
)
CORRECTION = Correction(utterance=1, text="再不还钱就打断你的手", by="borrower", at=HEARD_AT)
MODELS = (ModelPart(role="transcriber", name="bundled/transcriber", version="0.2", sha256="c" * 64),)

Said = tuple[float, Speaker, str, tuple[Label, ...]]
SAID: tuple[Said, ...] = (
    (0.5, Speaker.COLLECTOR, "您好，请问是张先生吗？", ()),
    (2.5, Speaker.COLLECTOR, "再不还钱就打断你的腿", (Label.THREAT,)),
    (4.0, Speaker.BORROWER, "你这个骗子", (Label.INSULT,)),
    (6.0, Speaker.UNKNOWN, "我给你们单位打电话", (Label.THIRD_PARTY_CONTACT, Label.THREAT)),
)


def no_font() -> Font | None:
    """A machine without Chinese fonts."""
    return None


def report_on(recording: Path, said: Sequence[Said] = SAID) -> Report:
    faint = Evidence(-1.5, 0.7, 1.2, 0.0, 0.4, -52.0, None)
    findings = [
        Finding(
            Utterance(0, speaker, start, start + 1, text, text, 0.9, faint if not labels else None),
            Judgement(
                labels[0] if labels else Label.COMPLIANT,
                labels,
                {kind: 0.9 if kind in labels else 0.05 for kind in KINDS},
                (Form.VIOLENCE,) if Label.THREAT in labels else (),
            ),
            ("who speaks is not known",) if labels and speaker is Speaker.UNKNOWN else (),
        )
        for start, speaker, text, labels in said
    ]
    invented = Suppressed(
        Utterance(0, Speaker.UNKNOWN, 8.0, 8.5, "字幕由志愿者提供", "字幕由志愿者提供", 0.4, faint),
        "a phrase that recognisers invent (字幕由), and the sound is weak (-52 dBFS)",
    )
    with decode(recording) as decoded:
        return Report.of(decoded, findings, MODELS, [invented])


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes bundles that differ only in what a test asks for."""

    recording: Path
    report: Report
    key: KeyFile

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self.key.public_key

    def __call__(
        self,
        out: Path,
        *,
        key: KeyFile | None = None,
        stated: Stated | None = None,
        stamp: Stamp | None = None,
        find_font: FindFont = no_font,
    ) -> Path:
        told = stated or Stated(lender="某某小贷", caller_number="+86 130 0000 0000", called_at=HEARD_AT)
        return bundle(
            self.recording,
            self.report,
            CUSTODY,
            key or self.key,
            out,
            stated=told,
            corrections=(CORRECTION,) if len(self.report.utterances) > CORRECTION.utterance else (),
            stamp=stamp,
            find_font=find_font,
        ).path


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    recording = tmp_path_factory.mktemp("evidence") / "call.wav"
    write_tone(recording, 9.0)
    return Maker(recording, report_on(recording), KeyFile(Ed25519PrivateKey.generate()))


@pytest.fixture(scope="session")
def bundled(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle, to be read only."""
    return maker(tmp_path_factory.mktemp("evidence") / "bundle.zip")
