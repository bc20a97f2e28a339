"""An archive's findings of conduct -> the service's, as far as its calls were imported."""

from collections import defaultdict
from collections.abc import Iterator

import sqlalchemy as sa

from app.archive_import import id_in_service
from app.conduct import Replaced, Suspect, replace_findings, single
from pipelines.archive.across import judged_by
from pipelines.archive.schemas import CALLS, FINDINGS
from pipelines.archive.store import Store
from pipelines.conduct import Call

_WHICH = ("recording", "sha256", "call_id", "same_as")
_FACTS = tuple(name for name in Call.__slots__ if name != "call_id")


def import_findings(store: Store, database: sa.Engine, tenant_id: str) -> Replaced | None:
    """In place of what an earlier import found of the same calls. None: the archive's conduct was not judged.

    Raises ArchiveError if its findings do not tell their rules.
    """
    table = store.read_table(FINDINGS)
    if table is None:
        return None
    rules = judged_by(store, table)
    rows = table.select(["rule", "calls"]).to_pylist()
    proving = _calls(store, tenant_id, {name for row in rows for name in row["calls"]})
    suspects = (
        Suspect(tuple(call for name in row["calls"] for call in proving[name]), single(rules, row["rule"]))
        for row in rows
    )
    return replace_findings(database, tenant_id, suspects, _ids(store, tenant_id))


def _calls(store: Store, tenant_id: str, wanted: set[str]) -> dict[str, list[Call]]:
    """By their names in the archive, which sidecars may give twice."""
    found: dict[str, list[Call]] = defaultdict(list)
    for part in store.scan(CALLS, [*_WHICH, *_FACTS]):
        for row in part.to_pylist():
            if row["same_as"] is None and row["call_id"] in wanted:
                facts = {name: row[name] for name in _FACTS if row[name] is not None}
                found[row["call_id"]].append(Call(call_id=id_in_service(tenant_id, row), **facts))
    return found


def _ids(store: Store, tenant_id: str) -> Iterator[str]:
    for part in store.scan(CALLS, ["recording", "sha256"]):
        yield from (id_in_service(tenant_id, row) for row in part.to_pylist())
