"""A body of JSON that every parser reads alike, or a refusal: what two of them read differently, nobody can audit."""

import json
from collections.abc import Iterator
from typing import Any

from app.errors import refusal

_LONGEST_INTEGER = 30  # digits; far more than any field takes


class _Unclear(ValueError):
    pass


def refuse_unclear(body: bytes) -> None:
    """Passes over what is no JSON at all, which the parser tells with its place. Raises Refused."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("it is not UTF-8") from None
    try:
        read = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number, parse_int=_integer)
        if "\\u" in text:  # else neither can be in it
            _refuse_characters(read)
    except _Unclear as error:
        raise _refused(str(error)) from None
    except RecursionError:
        raise _refused("it is nested too deeply") from None
    except ValueError:
        return


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unclear("a name stands twice in one object")
    return found


def _no_number(name: str) -> None:
    raise _Unclear(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise _Unclear(f"a number has more than {_LONGEST_INTEGER} digits")
    return int(digits)


def _refuse_characters(read: Any) -> None:
    """Databases take neither; the parser gives both."""
    for text in _texts(read):
        if "\0" in text:
            raise _Unclear("a text holds the character NUL")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise _Unclear("a text holds half a character, as \\ud800 without its other half")


def _texts(read: Any) -> Iterator[str]:
    left = [read]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += [*one, *one.values()]


def _refused(why: str) -> Exception:
    return refusal(422, "unclear json", f"the body is no JSON that everybody reads alike: {why}")
