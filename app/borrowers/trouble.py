"""What a page cannot do, told as a page: what was wrong, what to do, and that nothing was lost."""

from collections.abc import Mapping


class Trouble(Exception):
    """`key`: of its text in the catalogue, under `trouble`; `values` go into the text."""

    def __init__(self, status: int, key: str, headers: Mapping[str, str] | None = None, **values: object) -> None:
        super().__init__(key)
        self.status, self.key, self.headers, self.values = status, key, dict(headers or {}), values


def call_key(problem_type: str) -> str:
    """Under which the pages tell of a call's problem. `problem_type`: the URN that the API gives it."""
    return f"call_{problem_type.rpartition(':')[2].replace('-', '_')}"


class NeedsCode(Exception):
    """The case is there, and who asks has not told its code. `kept`: the fields of the form that they sent."""

    def __init__(self, link: str, action: str = "", kept: Mapping[str, str] | None = None) -> None:
        super().__init__("code needed")
        self.link, self.action, self.kept = link, action, dict(kept or {})
