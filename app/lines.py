"""Lines of text -> lines of JSON with labels, as they come in."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from models.call import KINDS, Judgement
from models.errors import InvalidText
from pipelines.score import Engine

_READ_BYTES = 64 * 1024
_LONGEST_LINE = 2**20
_BATCH = 256


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    content: bytes


class _InContext(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    previous: list[str] = []


def label_lines(source: BufferedIOBase, engine: Engine, in_context: bool) -> int:
    """How many lines could not be labelled; each is named on standard error. Empty lines are passed over."""
    wrong = 0
    for batch in _batches(source):
        try:
            answers = _label(batch, engine, in_context)
        except InvalidText:
            # One bad line fails its batch, so each gets its own answer.
            answers = []
            for line in batch:
                try:
                    answers += _label([line], engine, in_context)
                except InvalidText as error:
                    wrong += 1
                    typer.echo(f"line {line.number}: {error}", err=True)
        sys.stdout.writelines(f"{answer}\n" for answer in answers)
        sys.stdout.flush()
    return wrong


def _label(lines: Sequence[_Line], engine: Engine, in_context: bool) -> list[str]:
    asked = [_parse(line, in_context) for line in lines]
    judged = engine.classify([a.text for a in asked], [a.previous for a in asked])
    return [_answer(question.text, judgement) for question, judgement in zip(asked, judged, strict=True)]


def _batches(source: BufferedIOBase) -> Iterator[list[_Line]]:
    """What is there already, so that neither a slow writer waits for its labels nor a fast one for the model."""
    number, rest = 0, b""
    while True:
        got = source.read1(_READ_BYTES)
        *whole, rest = (rest + got).split(b"\n") if got else (rest, b"")
        if len(rest) > _LONGEST_LINE:
            raise typer.BadParameter(f"line {number + len(whole) + 1} is longer than {_LONGEST_LINE} bytes")
        lines = [_Line(number + place, content.strip()) for place, content in enumerate(whole, start=1)]
        number += len(whole)
        filled = [line for line in lines if line.content]
        for start in range(0, len(filled), _BATCH):
            yield filled[start : start + _BATCH]
        if not got:
            return


def _parse(line: _Line, in_context: bool) -> _InContext:
    try:
        if in_context:
            return _InContext.model_validate_json(line.content)
        return _InContext(text=line.content.decode("utf8"))
    except UnicodeDecodeError:
        raise InvalidText("not UTF-8") from None
    except ValidationError as error:
        raise InvalidText(f'not {{"text": …, "previous": […]}}: {error.errors()[0]["msg"]}') from None


def _answer(text: str, judgement: Judgement) -> str:
    shown = {
        "text": text,
        "label": judgement.label,
        "labels": judgement.labels,
        "scores": {kind.value: round(judgement.scores[kind], 4) for kind in KINDS},
    }
    return json.dumps(shown, ensure_ascii=False)
