"""/v1/utterances: plain texts in, labels out; nothing is stored."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from app.access import Ingesting
from app.deps import EngineDep
from app.errors import refusal
from app.idempotency import OnceDep
from app.lenders.schemas import LabelledText, LabelledTexts, Texts, parsed
from app.routes import StreamRoute, refuse_other_than_json, tenant_router

_LARGEST_BODY = 32 * 2**20
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": Texts.model_json_schema()}}}}

router = tenant_router("/v1/utterances", "utterances", StreamRoute)


async def _texts(request: Request, once: OnceDep) -> Texts:
    """Read by hand: FastAPI would take a body of any size into memory first."""
    refuse_other_than_json(request)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise refusal(413, "too many texts", f"the request is larger than {_LARGEST_BODY} bytes; send fewer texts")
    texts = parsed(Texts, bytes(body))
    await once.enter(texts.model_dump_json())
    return texts


@router.post("/classify", openapi_extra=_BODY)
async def classify_texts(
    _caller: Ingesting, sent: Annotated[Texts, Depends(_texts)], engine: EngineDep
) -> LabelledTexts:
    """Labels up to 1,000 texts at once, each with or without what was said before it."""
    previous = sent.previous or [[] for _ in sent.texts]
    judged = await run_in_threadpool(engine.classify, sent.texts, previous)
    return LabelledTexts(results=[LabelledText.of(text, j) for text, j in zip(sent.texts, judged, strict=True)])
