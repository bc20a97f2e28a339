"""What the code can answer stands in docs/api-problems.md, with its status, and nothing else does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from app.errors import HTTP_STATUS
from models.errors import CallError

ROOT = Path(__file__).parent.parent
# Made by app/errors.py and app/edge.py from what libraries raise.
OTHERS = {("invalid-request", 422), ("storage-full", 507), ("database-unavailable", 503), ("internal-error", 500)}


def refusals() -> Iterator[tuple[str, int]]:
    for file in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "refusal":
                status, kind = (argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant))
                assert isinstance(kind, str)
                assert isinstance(status, int)
                yield kind.replace(" ", "-"), status


def call_errors(kind: type[CallError] = CallError) -> Iterator[tuple[str, int]]:
    status = next(code for known, code in HTTP_STATUS.items() if issubclass(kind, known))
    yield re.sub("(?<!^)(?=[A-Z])", "-", kind.__name__).lower(), status
    for special in kind.__subclasses__():
        if not special.__module__.startswith("pipelines.archive"):  # told in an archive's tables, never by the service
            yield from call_errors(special)


def documented() -> Iterator[tuple[str, int]]:
    table = (ROOT / "docs" / "api-problems.md").read_text("utf8")
    for names, status in re.findall(r"^\| (`[^|]+) \| (\d{3}) \|", table, re.MULTILINE):
        for name in re.findall("`([^`]+)`", names):
            yield name, int(status)


def test_every_problem_is_documented_and_every_documented_one_exists() -> None:
    assert set(documented()) == {*refusals(), *call_errors(), *OTHERS}
