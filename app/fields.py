"""?fields=id,report.summary -> those parts of an answer and nothing else.

On a page of a list the names are those of its entries, and what leads to the next page always comes along.
"""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from app.errors import refusal

MOST = 50  # names in one request
_DEEPEST = 4  # levels that the OpenAPI document lists; deeper ones may be asked for
_LONGEST_ECHO = 100  # characters of what was sent
_NEXT = "next_"

Tree = dict[str, "Tree"]


def parse(model: type[BaseModel], asked: str) -> Tree:
    """What to keep of an answer of this model; an empty tree keeps all below it. Raises Refused."""
    if asked.count(",") >= MOST:
        raise refusal(422, "unknown field", f"'fields' names more than {MOST} fields")
    entries = _entries(model)
    tree: Tree = {}
    for path in asked.split(","):
        _add(tree, path.strip(), entries[1] if entries else model)
    if entries is None:
        return tree
    return {entries[0]: tree, **{name: {} for name in model.model_fields if name != entries[0]}}


def paths(model: type[BaseModel]) -> list[str]:
    """All that may be asked for."""
    entries = _entries(model)
    return list(_paths(entries[1] if entries else model))


def pick(tree: Tree, answer: Any) -> Any:
    if not tree:
        return answer
    if isinstance(answer, list):
        return [pick(tree, entry) for entry in answer]
    if isinstance(answer, dict):
        return {name: pick(below, answer[name]) for name, below in tree.items() if name in answer}
    return answer  # null where there could be an object


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        below = next(_models(field.annotation), None)
        if below is not None and prefix.count(".") + 1 < _DEEPEST:
            yield from _paths(below, f"{prefix}{name}.")


def _add(tree: Tree, path: str, model: type[BaseModel]) -> None:
    at: type[BaseModel] | None = model
    *outer, last = path.split(".")
    for name in outer:
        at = _below(at, name, path)
        if name in tree and not tree[name]:
            return  # the whole of it is asked for already
        tree = tree.setdefault(name, {})
    _below(at, last, path)
    tree[last] = {}


def _below(model: type[BaseModel] | None, name: str, path: str) -> type[BaseModel] | None:
    if model is None or name not in model.model_fields:
        known = f"there are {', '.join(model.model_fields)}" if model else "nothing is below it"
        told = f"'fields' names {path[:_LONGEST_ECHO]!r}, but no field {name[:_LONGEST_ECHO]!r} is there; {known}"
        raise refusal(422, "unknown field", told)
    return next(_models(model.model_fields[name].annotation), None)


def _entries(model: type[BaseModel]) -> tuple[str, type[BaseModel]] | None:
    """The list of a page: its one list of objects, if all else only leads on."""
    lists = [name for name in model.model_fields if not name.startswith(_NEXT)]
    if len(lists) != 1:
        return None
    annotation = model.model_fields[lists[0]].annotation
    entry = next(_models(annotation), None)
    return (lists[0], entry) if entry and get_origin(annotation) in (list, tuple) else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (list, tuple, Union, UnionType):
        for argument in get_args(annotation):
            yield from _models(argument)
