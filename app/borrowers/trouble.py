"""What goes wrong with a borrower's case alone."""

from collections.abc import Mapping


def call_key(problem_type: str) -> str:
    """Under which the pages tell of a call's problem. `problem_type`: the URN that the API gives it."""
    return f"call_{problem_type.rpartition(':')[2].replace('-', '_')}"


class NeedsCode(Exception):
    """The case is there, and who asks has not told its code. `kept`: the fields of the form that they sent."""

    def __init__(self, link: str, action: str = "", kept: Mapping[str, str] | None = None) -> None:
        super().__init__("code needed")
        self.link, self.action, self.kept = link, action, dict(kept or {})
