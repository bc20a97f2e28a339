"""What the corpus must hold, whoever adds to it."""

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from models.call import KIND_OF_FORM, Form, Label
from pipelines.training.agreement import THIRD, agreement, read_again, read_first
from pipelines.training.dataset import CORPUS, SPLITS, BadData, Row, counts, read_folder, read_rows, with_dev
from pipelines.training.diversity import Texts, near_duplicates
from pipelines.training.measures import Truth
from tests.conftest import ROOT

# What lawful talk shares with the three kinds: courts and records, visits, family and work, other people, complaints.
_NEAR_ABUSE = re.compile(
    "起诉|诉讼|法院|法务|律师|征信|失信|执行|传票|仲裁|判决|查封|冻结|保全|拍卖|立案|后果|罚息|违约金|黑名单|"
    "上门|外访|登门|拜访|见面|面谈|派出所|报警|警察|公安|坐牢|抓人|拘留|犯法|违法|刑事|诈骗|"
    "家人|家里人|家属|父母|[爸妈爹娘]|老婆|媳妇|老公|丈夫|爱人|孩子|儿子|女儿|闺女|哥|弟弟|姐|妹妹|亲戚|"
    "爷爷|奶奶|姥|外婆|外公|岳|婆婆|舅|叔|婶|姑|伯|嫂|姨|"
    "单位|公司|上班|同事|领导|老板|经理|主管|主任|人事|店长|站长|班长|书记|村长|社区|物业|房东|"
    "邻居|村里|村委|朋友|同学|学校|老师|联系人|通讯录|担保|转告|别人的|"
    "骂|骗|赖|丢人|脸|威胁|恐吓|吓唬|骚扰|投诉|举报|监管|曝光|隐私|泄露|照片|告诉|动手|打人|砸|抓|死|命"
)
_SHORTEST_COUNTED = 8  # letters; that two people say "喂，你好" or "你谁啊" is no leak


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_folder(CORPUS)


@pytest.fixture(scope="module")
def raw() -> list[dict[str, str]]:
    return [json.loads(line) for file in sorted(CORPUS.glob("*.jsonl")) for line in file.read_text("utf8").splitlines()]


def test_is_large_and_half_of_it_is_whole_calls(rows: list[Row]) -> None:
    assert len(rows) >= 12_000
    assert sum(row.source == "call" for row in rows) >= 6_000
    assert len({row.scenario for row in rows if row.source == "call"}) >= 400


def test_covers_stages_products_voices_and_speakers(raw: list[dict[str, str]]) -> None:
    for field, values in {
        "stage": {"M0", "M1", "M2", "M3", "legal"},
        "product": {"cash_loan", "credit_card", "phone_instalment", "car_loan", "small_business"},
        "voice": {"first_party", "agency", "fake_lawyer"},
        "speaker": {"collector", "borrower", "third_party"},
    }.items():
        found = Counter(row[field] for row in raw)
        assert set(found) == values, field
        assert min(found.values()) >= 200, found


@pytest.mark.parametrize("split", SPLITS)
def test_nearly_half_of_each_split_is_compliant(rows: list[Row], split: str) -> None:
    part = [row for row in rows if row.split == split]
    assert sum(not row.labels for row in part) >= 0.45 * len(part)


def test_a_third_of_the_compliant_rows_come_near_to_abuse(rows: list[Row]) -> None:
    compliant = [row for row in rows if not row.labels]
    near = sum(row.hard or bool(_NEAR_ABUSE.search(row.text)) for row in compliant)
    assert near >= len(compliant) / 3


@pytest.mark.parametrize("split", SPLITS)
def test_every_form_occurs_in_every_split(rows: list[Row], split: str) -> None:
    found = Counter(form for row in rows if row.split == split for form in row.forms)
    assert min(found[form] for form in Form) >= 10, found


def test_labels_are_the_kinds_of_the_forms(rows: list[Row]) -> None:
    for row in rows:
        assert {KIND_OF_FORM[form] for form in row.forms} == set(row.labels), row


def test_a_borrower_threatens_with_violence_or_not_at_all(rows: list[Row]) -> None:
    for row in rows:
        if row.speaker == "borrower" and Label.THREAT in row.labels:
            assert Form.VIOLENCE in row.forms, row


def test_the_same_words_in_the_same_context_have_the_same_labels(rows: list[Row]) -> None:
    labels = defaultdict(set)
    for row in rows:
        labels[row.speaker, row.text, row.previous].add((row.labels, row.forms))
    assert not [said for said, found in labels.items() if len(found) > 1]


def test_the_context_of_a_scripted_turn_is_what_was_said_before_it(rows: list[Row]) -> None:
    said: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.source == "call":
            assert list(row.previous) == said[row.scenario][-2:], row
            said[row.scenario].append(row.text)


def test_no_scenario_crosses_splits(rows: list[Row]) -> None:
    splits = defaultdict(set)
    for row in rows:
        splits[row.scenario].add(row.split)
    assert not [scenario for scenario, found in splits.items() if len(found) > 1]


@pytest.mark.parametrize(("measured", "others"), [("dev", ("train",)), ("test", ("train", "dev"))])
def test_no_near_duplicate_crosses_splits(rows: list[Row], measured: str, others: tuple[str, ...]) -> None:
    known = Texts()
    for row in rows:
        if row.split in others:
            known.add(row.text)
    long_enough = [
        row for row in rows if row.split == measured and len(re.findall(r"\w", row.text)) >= _SHORTEST_COUNTED
    ]
    assert len(long_enough) >= 500
    assert not [(row.scenario, row.text) for row in long_enough if known.nearest(row.text) >= 0.8]


def test_the_grammar_repeats_itself_in_under_two_rows_of_a_hundred(rows: list[Row]) -> None:
    assert near_duplicates([row.text for row in rows if row.source == "grammar"]) < 0.02


def test_the_card_counts_what_is_there(rows: list[Row]) -> None:
    assert counts(rows) in (CORPUS / "README.md").read_text("utf8"), "run python -m pipelines.training.dataset --card"


def test_the_command_prints_the_counts(rows: list[Row]) -> None:
    command = [sys.executable, "-m", "pipelines.training.dataset"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == counts(rows)


_ROW = {"scenario": "a", "speaker": "collector", "text": "还钱", "previous": [], "labels": ["threat"], "forms": []}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels": ["joy"]}, "'joy' is not a valid Label"),
        ({"labels": ["compliant"]}, "compliant is said by an empty list"),
        ({"labels": ["insult"], "forms": ["violence"]}, "the form violence belongs to threat"),
        ({"text": " "}, "its text is empty"),
        ({"text": 3}, "its text is empty"),
        ({"previous": None}, "not iterable"),
    ],
)
def test_a_bad_row_is_refused_by_file_and_line(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(_ROW) + "\n" + json.dumps({**_ROW, **change}) + "\n")
    with pytest.raises(BadData, match=f"mine.jsonl, line 2: .*{complaint}"):
        read_rows([file])


def test_a_row_without_a_field_and_a_line_without_a_row_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    for line in ('{"scenario": "a"}', "还钱", "[1]", '"a"'):
        file.write_text(line)
        with pytest.raises(BadData, match=r"mine\.jsonl, line 1"):
            read_rows([file])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="holds no labelled utterances"):
        read_folder(tmp_path)


def test_reviewed_rows_are_trained_on_and_a_tenth_of_their_calls_set_apart(tmp_path: Path) -> None:
    reviewed = [{**_ROW, "scenario": f"call-{i // 3}", "split": "reviewed"} for i in range(300)]
    (tmp_path / "reviewed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reviewed))
    rows = read_folder(tmp_path)
    assert {row.split for row in rows} == {"train"}
    parted = with_dev(rows)
    assert 5 <= len({row.scenario for row in parted if row.split == "dev"}) <= 20
    assert not {r.scenario for r in parted if r.split == "dev"} & {r.scenario for r in parted if r.split == "train"}
    assert with_dev(parted) == parted


def test_a_second_reader_finds_the_same(rows: list[Row]) -> None:
    found = agreement(Truth.of(read_first(rows)).kinds, Truth.of(read_again(rows)).kinds)
    assert all(kappa >= 0.9 for kappa, _ in found.values()), found


def test_only_what_readers_read_differently_was_settled_anew(rows: list[Row]) -> None:
    settled = [row for row in rows if row.split == "test"]
    readings = list(zip(read_first(rows), settled, read_again(rows), read_again(rows, THIRD), strict=True))
    assert sum(first.forms != now.forms for first, now, *_ in readings) > 100
    for first, now, *again in readings:
        assert first.forms == now.forms or any(first.forms != other.forms for other in again), now


def test_second_labels_of_other_rows_are_refused(rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"scenario": "H1-001", "number": 99, "forms": ["violence"]}\n', "utf8")
    with pytest.raises(BadData, match="H1-001"):
        read_again(rows, file)
