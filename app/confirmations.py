"""Utterances that the model took for abuse -> what people made of those that they reviewed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import sqlalchemy as sa

from app import reviews
from app.tables import utterances
from models.call import KINDS, Label, Speaker

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Of one kind, in utterances that are not the borrower's."""

    found: int  # the model's primary label
    reviewed: int  # of the found
    confirmed: int  # of the reviewed: people say so too
    missed: int  # people say so of what the model took for compliant


def confirmations(
    engine: sa.Engine, tenant_id: str, *, called_from: datetime, called_before: datetime
) -> dict[Label, Confirmation]:
    """Of calls of this time; what people said last counts, and what they took back does not."""
    u = utterances.c
    accused = (u.tenant_id == tenant_id, u.speaker != str(Speaker.BORROWER), u.place.is_not(None))
    then = (u.called_at >= called_from, u.called_at < called_before)
    counted = sa.select(u.label, sa.func.count()).where(*accused, *then, u.label.in_(KINDS)).group_by(u.label)
    with engine.connect() as connection:
        found: dict[str, int] = dict(connection.execute(counted).tuples().all())
    reviewed: Counter[Label] = Counter()
    confirmed: Counter[Label] = Counter()
    missed: Counter[Label] = Counter()
    decided = reviews.decisions(engine, tenant_id, called_from=called_from, called_before=called_before)
    for some in _batches(decided):
        query = sa.select(u.call_id, u.place, u.label).where(*accused, u.call_id.in_(some))
        with engine.connect() as connection:
            rows = connection.execute(query).all()
        for call_id, place, label in rows:
            if (labels := some[call_id].get(place)) is None:
                continue
            if label == Label.COMPLIANT:
                missed.update(labels)
                continue
            reviewed[Label(label)] += 1
            confirmed[Label(label)] += label in labels
    return {kind: Confirmation(found.get(kind, 0), reviewed[kind], confirmed[kind], missed[kind]) for kind in KINDS}


_Decided = dict[int, tuple[Label, ...]]


def _batches(decided: Iterator[tuple[str, _Decided]]) -> Iterator[dict[str, _Decided]]:
    while some := dict(islice(decided, _AT_ONCE)):
        yield some
