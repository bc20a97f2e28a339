"""A sample -> tasks for Label Studio, and its export -> the sample with what people heard.

The labelling interface needs a choice named `labels` with the kinds and `compliant`; docs/archive.md has one.
"""

import json
from collections.abc import Sequence
from typing import Any

from models.call import KINDS, Label
from pipelines.archive.errors import ArchiveError
from pipelines.archive.sampling import Drawn

CHOICE = "labels"


def tasks(sample: Sequence[Drawn], sound: str | None = None) -> str:
    """JSON to import. `sound`: a URL's beginning, to which the recording's path is added."""
    made = [
        {
            "data": {
                "text": drawn.text,
                "audio": f"{sound.rstrip('/')}/{drawn.recording}" if sound else None,
                "start_s": drawn.start_s,
                "end_s": drawn.end_s,
                "callaudit": drawn.model_dump(mode="json"),
            },
            "predictions": [
                {"model_version": "callaudit", "result": [_choice([*map(str, drawn.labels)] or [str(Label.COMPLIANT)])]}
            ],
        }
        for drawn in sample
    ]
    return json.dumps(made, ensure_ascii=False, indent=1)


def reviews(place: str, content: bytes) -> list[Drawn]:
    """Of tasks without an annotation, or with a cancelled one, nothing is known. Raises ArchiveError."""
    try:
        exported = json.loads(content)
        return [_review(task) for task in exported]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(
            f"{place} is no export of Label Studio with callaudit's tasks ({error!r}); export as JSON"
        ) from None


def _review(task: dict[str, Any]) -> Drawn:
    drawn = Drawn.model_validate(task["data"]["callaudit"])
    kept = [a for a in task.get("annotations", []) if not a.get("was_cancelled")]
    if not kept:
        return drawn
    last = max(kept, key=lambda annotation: (annotation.get("updated_at") or "", annotation.get("id") or 0))
    chosen = {
        str(choice)
        for result in last["result"]
        if result.get("from_name") == CHOICE
        for choice in result["value"]["choices"]
    }
    unknown = chosen - {str(label) for label in Label}
    if unknown or not chosen:
        raise ValueError(f"task {task.get('id')}: choices {sorted(chosen)}")
    return drawn.model_copy(update={"true_labels": tuple(kind for kind in KINDS if kind in chosen)})


def _choice(labels: Sequence[str]) -> dict[str, Any]:
    return {"from_name": CHOICE, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}
