"""A list in JSON -> a set, if it names nothing twice: what its schema calls unique is not quietly made so."""

from typing import Any

from pydantic import BeforeValidator


def _named_once(sent: Any) -> Any:
    if isinstance(sent, list):
        names = [one for one in sent if isinstance(one, str)]
        if len(set(names)) < len(names):
            raise ValueError("names one of them twice")
    return sent


NONE_TWICE = BeforeValidator(_named_once)
