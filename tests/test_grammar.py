"""The grammar of the corpus: what it writes, and what it says of a rule that is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.call import KIND_OF_FORM, KINDS, Form
from pipelines.training.diversity import Texts, distinct_ngrams, near_duplicates, self_bleu
from pipelines.training.grammar import CORPUS, BadGrammar, Grammar, Row, Speaking, read_grammar, utterances

_SLOTS = """
[slots]
when = ["今天", "明天下午"]
[manners.plain]
lead = []
tail = []
[contexts]
[products]
cash_loan = ["借款"]
[regional.north]
"什么" = "啥"
"""
_GROUP = '[[group]]\nid = "g"\nmanner = "plain"\ncontext = "open"\n'


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return read_grammar()


@pytest.fixture(scope="module")
def rows(grammar: Grammar) -> list[Row]:
    return list(utterances(grammar, 600, seed=3))


def test_has_hundreds_of_rules_and_a_third_of_the_lawful_ones_look_bad(grammar: Grammar) -> None:
    lawful = [rule for rule in grammar.rules if not rule.forms]
    assert len(grammar.rules) >= 500
    assert sum(rule.hard for rule in lawful) >= len(lawful) / 3
    assert {form for rule in grammar.rules for form in rule.forms} == set(Form)


def test_rows_have_the_keys_of_the_calls_and_labels_that_follow_from_their_forms(rows: list[Row]) -> None:
    with (CORPUS / "calls.jsonl").open(encoding="utf-8") as lines:
        keys = list(json.loads(next(lines)))
    for row in rows:
        assert list(row) == keys
        kinds = {KIND_OF_FORM[Form(form)] for form in row["forms"]}
        assert row["labels"] == [kind.value for kind in KINDS if kind in kinds]
        assert 2 <= len(row["text"]) <= 61
        assert not set("(){}|>") & set(row["text"] + "".join(row["previous"]))


def test_no_text_is_like_another(rows: list[Row]) -> None:
    assert near_duplicates([row["text"] for row in rows], alike_from=0.45) == 0


def test_no_text_is_like_one_that_it_must_stay_apart_from(grammar: Grammar, rows: list[Row]) -> None:
    taken = [row["text"] for row in rows]
    met = Texts()
    for text in taken:
        met.add(text)
    for row in utterances(grammar, 100, seed=3, apart_from=taken):
        assert met.nearest(row["text"]) < 0.45


def test_no_rule_dominates_nor_crosses_splits(grammar: Grammar, rows: list[Row]) -> None:
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["scenario"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert max(sum(row["scenario"] == rule for row in rows) for rule in splits) <= 3
    assert {rule.split for rule in grammar.rules} == {"train", "dev", "test"}


def test_same_seed_same_rows(grammar: Grammar) -> None:
    first, again, other = (list(utterances(grammar, 50, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ('"{wen}还钱"', r"rule g-01: no slot called \['wen'\]"),
        ('"(今天|明天还钱"', "rule g-01: brackets do not match"),
        ('"今天|明天还钱"', "rule g-01: brackets do not match, or a choice has none"),
        ('{ say = "还钱", forms = ["shouting"] }', "g-01: (.|\n)*forms"),
        ('{ say = "还钱", manner = "loud" }', "rule g-01: no manner called 'loud'"),
        ('{ tell = "还钱" }', "g-01: (.|\\n)*tell"),
        ('{ say = "还钱", context = "later" }', "rule g-01: no context called 'later'"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, says: str, complaint: str) -> None:
    (tmp_path / "grammar.toml").write_text(f"{_SLOTS}{_GROUP}says = [{says}]\n", encoding="utf-8")
    with pytest.raises(BadGrammar, match=complaint):
        read_grammar(tmp_path)


def test_a_grammar_with_too_little_to_say_asks_for_more(tmp_path: Path) -> None:
    group = _GROUP + 'says = ["{when}还钱可以吗", { say = "弄死你", forms = ["violence"] }]\n'
    (tmp_path / "grammar.toml").write_text(_SLOTS + group, encoding="utf-8")
    with pytest.raises(BadGrammar, match="rules of threat give 1 distinct utterances of 17"):
        list(utterances(read_grammar(tmp_path), 100, seed=1))


def test_choices_before_and_after_the_sentence_are_made(tmp_path: Path) -> None:
    manner = _SLOTS.replace("lead = []", 'lead = ["(喂|哎)，"]').replace("tail = []", 'tail = ["，{when}(啊|吧)"]')
    (tmp_path / "grammar.toml").write_text(manner + _GROUP + 'says = ["还钱"]\n', encoding="utf-8")
    always = Speaking(threat=0, insult=0, third_party_contact=0, lead=1, tail=1, regional=0, unpunctuated=0)
    (row,) = utterances(read_grammar(tmp_path), 1, seed=1, speaking=always)
    assert re.fullmatch("(喂|哎)，还钱，(今天|明天下午)(啊|吧)[。！]?", row["text"])


def test_diversity_tells_repetition_from_variety() -> None:
    same = ["您今天下午能还款吗？", "您今天下午能还款吗", "您今天，下午能还款吗"]
    varied = ["您今天下午能还款吗", "我妈住院了真没钱", "好的那先这样"]
    assert near_duplicates(same) == pytest.approx(2 / 3)
    assert near_duplicates(varied) == 0
    assert distinct_ngrams(same) == pytest.approx(1 / 3)
    assert distinct_ngrams(varied) == 1
    assert self_bleu(same) == pytest.approx(1)
    assert self_bleu(varied) < 0.1


def test_command_writes_the_rows_and_prints_how_diverse_they_are(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "pipelines.training.grammar", "--count", "200", "--seed", "7", "--out", str(out)]
    command += ["--rules", "(?!plain-)"]
    done = subprocess.run(command, cwd=CORPUS.parents[2], capture_output=True, text=True, check=True)
    lines = out.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 200
    assert not any(json.loads(line)["scenario"].startswith("plain") for line in lines)
    for figure in ("distinct 4-grams", "self-BLEU-4", "near-duplicates"):
        assert figure in done.stdout
