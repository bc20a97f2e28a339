"""POST /v1/calls:batch: up to 1,000 objects at once, each with an answer of its own."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from app.errors import Problem, problem_of
from app.lenders.intake import Intake, IntakeDep
from app.lenders.schemas import BatchAnswer, BatchedCall, CallBatch, ObjectCall
from app.logs import where
from app.objects import StoreSilent
from app.routes import TenantRoute, tenant_router

_log = logging.getLogger(__name__)

_FETCHED_AT_ONCE = 4


class _BatchRoute(TenantRoute):
    largest_body: ClassVar[int | None] = 8 * 2**20


router = tenant_router("/v1/calls:batch", "calls", _BatchRoute)


@router.post("", operation_id="send_batch")
def send_batch(intake: IntakeDep, sent: CallBatch) -> BatchAnswer:
    """Fetches each object and answers once all are accepted or refused; `status` is what each would get alone.

    A store that does not answer is not asked again in the same batch.
    """
    intake.refuse_if_full()
    with ThreadPoolExecutor(_FETCHED_AT_ONCE) as pool:
        return BatchAnswer(results=list(pool.map(_taker(intake), enumerate(sent.calls))))


def _taker(intake: Intake) -> Callable[[tuple[int, ObjectCall]], BatchedCall]:
    silent: dict[str, Problem] = {}  # a thousand objects would each wait for it some seconds

    def take(placed: tuple[int, ObjectCall]) -> BatchedCall:
        place, wanted = placed
        intake.once.still_here()
        store = "/".join(wanted.object.split("/", 3)[:3])  # s3://bucket
        known = silent.get(store)
        if known is not None and not intake.has(place):
            return BatchedCall(object=wanted.object, status=known.status, id=None, error=known)
        try:
            intake.refuse_if_full()
            accepted = intake.accept_object(wanted, place)
        except Exception as error:  # the other calls must not lose their answers
            problem = problem_of(error)
            if problem.status == 500:
                _log.error("unforeseen: %s", where(error))
            if isinstance(error, StoreSilent):
                silent[store] = problem
            return BatchedCall(object=wanted.object, status=problem.status, id=None, error=problem)
        return BatchedCall(object=wanted.object, status=202, id=accepted.id, error=None)

    return take
