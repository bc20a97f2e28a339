"""What borrowers correct in a transcript: kept beside the machine's text, each beside those before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from app import audit
from app.audit import Action
from app.database import hold
from app.tables import corrections
from models.call import Speaker


@dataclass(frozen=True, slots=True)
class Correction:
    number: int  # counts up in the order in which they came
    utterance: int
    text: str
    speaker: Speaker
    seen: int  # number of the correction that its writer saw last, 0: the machine's text
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Corrected:
    """All corrections of one utterance, oldest first."""

    all: tuple[Correction, ...]

    @property
    def newest(self) -> Correction:
        return self.all[-1]

    @property
    def unseen(self) -> Correction | None:
        """The correction that was newest when the newest came, if its writer did not see it."""
        before = self.all[-2] if len(self.all) > 1 else None
        return before if before and self.newest.seen != before.number else None


def add(engine: sa.Engine, tenant_id: str, actor: str, call_id: str, new: Correction) -> None:
    """Always kept, except one that says what the newest says already. `new.number` is not looked at."""
    with engine.begin() as connection:
        hold(connection, f"corrections/{call_id}")  # two tabs at once: the second must see the first
        mine = (corrections.c.call_id == call_id, corrections.c.utterance == new.utterance)
        newest = connection.execute(
            sa.select(corrections.c.text, corrections.c.speaker)
            .where(*mine)
            .order_by(corrections.c.number.desc())
            .limit(1)
        ).one_or_none()
        if newest and (newest.text, newest.speaker) == (new.text, new.speaker):
            return
        values = {name: getattr(new, name) for name in ("utterance", "text", "seen")}
        number = connection.execute(
            sa.insert(corrections)
            .values(**values, call_id=call_id, speaker=str(new.speaker), created_at=datetime.now(UTC))
            .returning(corrections.c.number)
        ).scalar_one()
        audit.record(
            connection, tenant_id, actor, Action.CORRECTED, call_id, utterance=new.utterance, correction=number
        )


def of_call(engine: sa.Engine, call_id: str) -> dict[int, Corrected]:
    """By utterance."""
    columns = (corrections.c[name] for name in Correction.__slots__)
    query = sa.select(*columns).where(corrections.c.call_id == call_id).order_by(corrections.c.number)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return _grouped([Correction(**{**row._asdict(), "speaker": Speaker(row.speaker)}) for row in rows])


def _grouped(found: Sequence[Correction]) -> dict[int, Corrected]:
    grouped: dict[int, tuple[Correction, ...]] = {}
    for one in found:
        grouped[one.utterance] = (*grouped.get(one.utterance, ()), one)
    return {utterance: Corrected(some) for utterance, some in grouped.items()}
