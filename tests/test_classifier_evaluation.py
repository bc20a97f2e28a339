"""The figures of a classifier, their page and card, and what the command says of wrong options."""

import csv
import gzip
import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.call import KINDS, Form, Label
from models.weights import BUNDLED
from pipelines.training.classifier_card import card
from pipelines.training.classifier_evaluation import (
    CLEAN,
    DIGITS,
    HARD,
    HEARD,
    KEYWORDS,
    MODEL,
    NGRAMS,
    PREVIOUS,
    READ,
    SURE_NGRAMS,
    WORST,
    Evaluation,
    Measuring,
    evaluate,
    load,
    noisy,
    read_heard,
)
from pipelines.training.dataset import CORPUS, BadData, Row, read_folder
from pipelines.training.evaluation_page import as_json, page
from pipelines.training.keywords import Keywords
from pipelines.training.measures import Truth
from pipelines.training.ngrams import NgramRegression
from pipelines.training.noise import Misheard, frequent_characters
from tests.conftest import ROOT

_BUNDLED = BUNDLED / "classifier"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Few enough to be quick: whole scenarios of each split."""
    every = read_folder(CORPUS)
    kept = [[row for row in every if row.split == split][:count] for split, count in (("train", 300), ("dev", 150))]
    tested = [row for row in every if row.split == "test"]
    return [*kept[0], *kept[1], *tested[:80], *tested[-80:]]


@pytest.fixture(scope="module")
def heard(rows: list[Row]) -> dict[str, list[str]]:
    """Of every other row, and of one of them nothing."""
    texts = [row.text for row in rows if row.split == "test"]
    return {**{text: [text.replace("，", ""), "嗯" + text] for text in texts[::2]}, texts[0]: [""]}


@pytest.fixture(scope="module")
def evaluation(rows: list[Row], heard: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return evaluate(
        load("bundled/classifier"),
        rows,
        previous=load(str(_BUNDLED)),
        heard=heard,
        reference=write_reference(tmp_path_factory.mktemp("reference")),
        measuring=Measuring(draws=100),
    )


def write_reference(folder: Path) -> Path:
    text = folder / "text"
    (text / "cold").mkdir(parents=True)
    for split in ("train", "test"):
        with gzip.open(text / "cold" / f"{split}.csv.gz", "wt", encoding="utf-8-sig") as file:
            table = csv.writer(file)
            table.writerow(["", "split", "topic", "label", "fine-grained-label", "TEXT"])
            for i in range(20):
                table.writerow([i, split, "race", i % 2, 0, "你这个骗子不要脸" if i % 2 else f"今天天气不错{i}"])
    (text / "insults_zuanbot.jsonl").write_text(
        "".join(json.dumps({"text": f"你个傻子第{i}号", "level": "min"}) + "\n" for i in range(40)), "utf8"
    )
    with gzip.open(text / "dialogue.jsonl.gz", "wt", encoding="utf8") as lines:
        for source in ("kdconv", "crosswoz", "lccc-toy", "teleantifraud-normal", "teleantifraud-fraud"):
            for i in range(60):
                lines.write(json.dumps({"text": f"推荐一家餐馆吧{i}", "source": source}) + "\n")
    return folder


def test_all_conditions_and_labellers_are_measured(evaluation: Evaluation) -> None:
    assert set(evaluation.conditions) == {CLEAN, HARD, noisy(0.1), noisy(0.2), DIGITS, HEARD, READ}
    for found in evaluation.conditions.values():
        assert list(found) == [MODEL, PREVIOUS, NGRAMS, SURE_NGRAMS, KEYWORDS]
        assert len({of.rows for of in found.values()}) == 1
    assert evaluation.conditions[CLEAN][MODEL].rows == evaluation.rows == 160
    assert evaluation.conditions[HEARD][MODEL].rows == evaluation.conditions[READ][MODEL].rows < 100
    assert 0 < evaluation.conditions[HARD][MODEL].rows < 160
    assert 0 < evaluation.conditions[DIGITS][MODEL].rows < 160


def test_the_same_model_is_not_ahead_of_itself(evaluation: Evaluation) -> None:
    for condition in evaluation.conditions:
        found = evaluation.conditions[condition]
        assert repr(found[MODEL]) == repr(found[PREVIOUS])  # a precision of nothing found is no number, even to itself
        ahead = evaluation.ahead[condition][PREVIOUS]
        assert (ahead.value, ahead.low, ahead.high) == (0, 0, 0)


def test_ngrams_are_measured_by_the_rule_of_the_model_too(rows: list[Row]) -> None:
    train, dev = ([row for row in rows if row.split == split] for split in ("train", "dev"))
    asked = [row.text for row in dev], [row.previous for row in dev]
    free = NgramRegression(train, dev)
    sure = free.as_sure(dev)(*asked)
    of_threats, truth = KINDS.index(Label.THREAT), Truth.of(dev).kinds
    assert truth[sure.kinds[:, of_threats], of_threats].mean() >= 0.95
    assert (sure.scores[sure.kinds] >= 0.5).all()
    assert np.array_equal(sure.scores, free(*asked).scores)


def test_figures_lie_in_their_intervals(evaluation: Evaluation) -> None:
    for found in evaluation.conditions.values():
        for of in found.values():
            for figure in (of.macro_f1, of.exact_match, of.calibration_error):
                assert 0 <= figure.low <= figure.high <= 1
            assert of.exact_match.low <= of.exact_match.value <= of.exact_match.high


def test_what_noise_costs_is_the_difference_on_the_same_rows(evaluation: Evaluation) -> None:
    said, found = evaluation.conditions[CLEAN][MODEL], evaluation.conditions[noisy(0.2)][MODEL]
    assert evaluation.lost[noisy(0.2)].value == pytest.approx(said.macro_f1.value - found.macro_f1.value)
    heard, read = evaluation.conditions[HEARD][MODEL], evaluation.conditions[READ][MODEL]
    assert evaluation.lost[HEARD].value == pytest.approx(read.macro_f1.value - heard.macro_f1.value)


def test_mistakes_are_wrong_the_surest_first(evaluation: Evaluation, rows: list[Row]) -> None:
    assert 0 < len(evaluation.mistakes) <= WORST
    for mistake in evaluation.mistakes:
        assert set(mistake.true) != set(mistake.found)
    far = [
        max(abs((kind in m.true) - m.probabilities[kind]) for kind in KINDS if (kind in m.true) != (kind in m.found))
        for m in evaluation.mistakes
    ]
    assert far == sorted(far, reverse=True)
    assert {m.text for m in evaluation.mistakes} <= {row.text for row in rows if row.split == "test"}


def test_confusion_holds_every_row_once(evaluation: Evaluation) -> None:
    assert sum(map(sum, evaluation.confusion)) == evaluation.rows


def test_the_same_rows_give_the_same_figures(
    evaluation: Evaluation, rows: list[Row], heard: dict[str, list[str]]
) -> None:
    again = evaluate(load("bundled/classifier"), rows, heard=heard, measuring=Measuring(draws=100))
    for condition, found in again.conditions.items():
        for name in (NGRAMS, KEYWORDS):
            assert repr(found[name]) == repr(evaluation.conditions[condition][name])


def test_texts_from_elsewhere_are_checked(evaluation: Evaluation) -> None:
    cold, learnt, insults, *ordinary = evaluation.outside
    assert cold.rows == learnt.rows == 20
    assert learnt.figures[MODEL]["accuracy"].value == 1.0  # its posts were all among those learnt from
    assert cold.figures[KEYWORDS]["F1"].value == 1.0
    assert 5 <= insults.rows <= 35
    assert insults.figures[KEYWORDS]["found as insult"].value == 0  # 傻子 is on no list
    assert len(ordinary) == 4
    for check in ordinary:
        none = check.figures[KEYWORDS]["flagged as threat"]
        assert (none.value, none.low) == (0, 0)
        assert none.high > 1 / check.rows  # that none was found does not say that there are none


def test_page_needs_nothing_from_elsewhere(evaluation: Evaluation) -> None:
    shown = page(evaluation)
    assert shown.count("<svg") == 3
    assert not re.search(r"""(src|href)=["']?(http|//)|<script|@import|url\((?!#)""", shown)
    for condition in evaluation.conditions:
        assert condition.capitalize() in shown
    assert evaluation.mistakes[0].text in shown
    assert page(evaluation) == shown


def test_page_shows_text_as_text(evaluation: Evaluation) -> None:
    hostile = replace(evaluation.mistakes[0], text="<script>alert(1)</script>")
    assert "<script>" not in page(replace(evaluation, mistakes=[hostile]))


def test_json_is_strict_and_whole(evaluation: Evaluation) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    figures = json.loads(as_json(evaluation), parse_constant=refuse)
    assert figures["conditions"][CLEAN][MODEL]["labels"]["threat"]["rows"] > 0
    assert len(figures["confusion"]) == 4
    assert figures["model"]["sha256"] == load("bundled/classifier").weights_sha256


def test_card_tells_figures_and_limits(evaluation: Evaluation) -> None:
    text = card(evaluation, _BUNDLED)
    told = json.loads((_BUNDLED / "card.json").read_text("utf8"))
    assert told["not_fit_for"] in text
    assert f"{evaluation.conditions[CLEAN][MODEL].macro_f1.value:.3f} [" in text
    assert evaluation.model.sha256 in text
    for check in evaluation.outside:
        assert check.name in text
    assert "## Limits" in text


def test_an_empty_split_is_named(rows: list[Row]) -> None:
    with pytest.raises(BadData, match="no row is in the split test"):
        evaluate(load("bundled/classifier"), [row for row in rows if row.split != "test"])


@pytest.mark.parametrize("content", ["[1]", '{"a": "b"}', '{"a": [1]}', "no json"])
def test_a_wrong_file_of_what_was_heard_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "heard.json"
    file.write_text(content)
    with pytest.raises(BadData, match=r"heard\.json"):
        read_heard(file)


def test_the_list_is_long_and_covers_every_form() -> None:
    keywords = Keywords()
    assert set(keywords.patterns) == set(Form)
    assert sum(map(len, keywords.patterns.values())) >= 150
    patterns = [pattern for found in keywords.patterns.values() for pattern in found]
    assert len(set(patterns)) == len(patterns)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("再不还钱就打断你的腿", [Label.THREAT]),
        ("你个不要脸的老赖", [Label.INSULT]),
        ("把你老板的電話給我", [Label.THIRD_PARTY_CONTACT]),
        ("您好，请问今天方便还款吗", []),
    ],
)
def test_the_list_finds_what_it_names(text: str, kinds: list[Label]) -> None:
    found = Keywords()([text], [()])
    assert [kind for kind, held in zip(KINDS, found.kinds[0], strict=True) if held] == kinds


def test_noise_gets_just_its_share_of_characters_wrong(rows: list[Row]) -> None:
    misheard, chooser = Misheard(frequent_characters(row.text for row in rows)), random.Random(0)
    text = "您这笔借款已经逾期三十天了请尽快处理" * 50
    assert misheard.exactly(text, 0, chooser) == text
    replaced = [misheard.exactly("钱", 1, chooser) for _ in range(200)]
    assert "钱" not in replaced
    wrong = misheard.exactly(text, 0.2, chooser)
    assert 0.9 * len(text) < len(wrong) < 1.1 * len(text)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--split", "all"), "'all' is not one of 'train'"),
        (("--data", "/nowhere"), "/nowhere holds no labelled utterances"),
        (("--model", "/nowhere"), "CALLAUDIT_CLASSIFIER=/nowhere"),
        (("--out", "report.json"), "name a page, as report.html"),
    ],
)
def test_command_names_what_is_wrong(arguments: tuple[str, ...], complaint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_command_prints_and_writes(rows: list[Row], tmp_path: Path) -> None:
    lines = (CORPUS / "calls.jsonl").read_text("utf8").splitlines()
    tested = [line for line in lines if json.loads(line)["split"] == "test"][:40]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text("\n".join(tested), "utf8")
    written = [tmp_path / name for name in ("report.html", "card.md")]
    done = run("--data", tmp_path / "data", "--out", written[0], "--card", written[1], "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["rows"] == 40
    assert NGRAMS not in figures["baselines"]  # it had nothing to learn from
    assert json.loads((tmp_path / "report.json").read_text("utf8")) == figures
    assert written[0].read_text("utf8").startswith("<!doctype html>")
    assert written[1].read_text("utf8").startswith("# Classifier")


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app.cli", "evaluate", "classifier", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
