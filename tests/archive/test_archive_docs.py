import re
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
import yaml

from models.call import Label
from pipelines.archive.labelstudio import CHOICE
from pipelines.archive.schemas import FINDINGS_SCHEMA
from tests.archive.conftest import rows
from tests.conftest import ROOT

DOCS = (ROOT / "docs" / "archive.md").read_text("utf8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


def test_documented_questions_are_answered(scored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scored[1])
    answers = []
    for block in _blocks("sql"):
        for statement in filter(str.strip, block.split(";")):
            with duckdb.connect() as base:
                found = base.sql(statement).to_arrow_table()
                answers.append([tuple(row.values()) for row in found.to_pylist()])
    by_collector, threats, weeks, failed = answers
    assert by_collector == []  # one collector, with one call
    assert [row[3] for row in threats] == sorted((row[3] for row in threats), reverse=True)
    assert sum(row[1] for row in weeks) * 3600 == pytest.approx(
        sum(call["duration_s"] for call in rows(scored[1], "calls"))
    )
    assert sorted(failed) == [("BadMetadata", 1), ("EmptyRecording", 1), ("UnknownFormat", 1)]


def test_findings_have_the_documented_schema() -> None:
    section = DOCS.partition("### findings/\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.MULTILINE)
    assert documented == [(field.name, str(field.type)) for field in FINDINGS_SCHEMA]


def test_labelling_interface_has_the_choices_that_are_read_back() -> None:
    (interface,) = _blocks("xml")
    (choices,) = ElementTree.fromstring(interface).findall("Choices")  # noqa: S314 - our own documentation
    assert choices.get("name") == CHOICE
    assert {choice.get("value") for choice in choices} == {str(label) for label in Label}


def test_compose_sketch_is_yaml() -> None:
    (sketch,) = _blocks("yaml")
    assert set(yaml.safe_load(sketch)["services"]) == {"head", "node", "run"}
