"""What a page cannot do, told as a page: what was wrong, what to do, and that nothing was lost."""

from collections.abc import Mapping


class Trouble(Exception):
    """`key`: of its text in the catalogue, under `trouble`; `values` go into the text."""

    def __init__(self, status: int, key: str, headers: Mapping[str, str] | None = None, **values: object) -> None:
        super().__init__(key)
        self.status, self.key, self.headers, self.values = status, key, dict(headers or {}), values
