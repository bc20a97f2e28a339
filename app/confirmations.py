"""Calls in which the model found a kind of abuse -> what people made of it in those that they reviewed."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from app.calls import Status
from app.tables import call_labels, call_verdicts, calls, reviews
from models.call import KINDS, Label


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Of one kind, in calls."""

    found: int  # by the model, in speech that is not the borrower's
    reviewed: int  # of the found: a person decided about an utterance
    confirmed: int  # of the reviewed: the kind is in the verdict
    missed: int  # reviewed calls in whose verdict the kind is, though the model did not find it


def confirmations(
    engine: sa.Engine, tenant_id: str, *, called_from: datetime, called_before: datetime
) -> dict[Label, Confirmation]:
    then = (calls.c.called_at >= called_from, calls.c.called_at < called_before)
    chosen = (calls.c.tenant_id == tenant_id, calls.c.status == str(Status.DONE), *then)
    reviewed = calls.c.id.in_(
        sa.select(reviews.c.call_id).where(reviews.c.tenant_id == tenant_id, reviews.c.verdict.is_not(None))
    )
    told = {}
    with engine.connect() as connection:
        for kind in KINDS:
            found, holds = (
                sa.exists().where(table.c.call_id == calls.c.id, table.c.label == str(kind))
                for table in (call_labels, call_verdicts)
            )
            counts = (
                found,
                sa.and_(found, reviewed),
                sa.and_(found, reviewed, holds),
                sa.and_(~found, reviewed, holds),
            )
            sums = (sa.func.sum(sa.case((that, 1), else_=0)) for that in counts)
            row = connection.execute(sa.select(*sums).where(*chosen)).one()
            told[kind] = Confirmation(*(count or 0 for count in row))
    return told
