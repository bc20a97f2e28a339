import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.call import KINDS, Label
from pipelines.archive.across import judge_conduct
from pipelines.archive.drift import drift
from pipelines.archive.errors import ArchiveError
from pipelines.archive.labelstudio import reviews, tasks
from pipelines.archive.sampling import Drawn, allocate, as_lines, draw, estimate, read_reviews, stratum_of
from pipelines.archive.schemas import CALLS, FAILURES, FINDINGS_SCHEMA, UTTERANCES
from pipelines.archive.scorecards import fit, scorecards
from pipelines.archive.store import Store
from pipelines.archive.summary import write_summary
from pipelines.archive.tallies import Tally, Week, tally
from pipelines.conduct import load_rules
from tests.archive.conftest import archive

UTC_ZONE = ZoneInfo("UTC")


def call(name: str, **facts: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "recording": name,
        "call_id": name,
        "duration_s": 60.0,
        "verdict": [],
        "awaiting_review": 0,
    }
    return {**plain, "borrower_speech_s": 10.0, "unknown_speech_s": 0.0, "direction": "outbound", **facts}


def utterance(name: str, index: int, scores: Sequence[float], flagged: Sequence[str], **facts: Any) -> dict[str, Any]:
    said = {"recording": name, "call_id": name, "index": index, "speaker": "collector", "start_s": 1.0, "end_s": 2.0}
    return {
        **said,
        **dict(zip(KINDS, scores, strict=True)),
        "labels": list(flagged),
        "text": f"{name}/{index}",
        **facts,
    }


def made(place: Path, calls: Sequence[dict[str, Any]] = (), said: Sequence[dict[str, Any]] = ()) -> Store:
    store = Store(str(place))
    with store.writing("audio"):
        for start in range(0, max(len(calls), 1), 500):
            store.commit({CALLS: calls[start : start + 500], UTTERANCES: said if not start else [], FAILURES: []})
    return store


def test_findings_of_an_archive_name_their_calls_and_the_page_shows_them(tmp_path: Path) -> None:
    day = [
        call(f"c-{hour}", called_at=datetime(2026, 3, 1, hour, tzinfo=UTC), borrower_ref="b<1>", collector_id="李$x$")
        for hour in (1, 3, 5, 7)
    ]
    night = call("c-night", called_at=datetime(2026, 3, 1, 15, tzinfo=UTC), agency="north", verdict=["threat"])
    copy = {**day[0], "recording": "copy", "call_id": "copy", "same_as": "c-1"}
    made(tmp_path / "a", [*day, night, copy, call("c-lost")])
    done = archive("conduct", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "2 findings in 6 calls"
    assert "1 calls have no called_at" in done.stderr
    table = Store(str(tmp_path / "a")).read_table("findings")
    assert table is not None
    assert table.schema.equals(FINDINGS_SCHEMA)
    found = {row["rule"]: row for row in table.to_pylist()}
    assert found["cn-conversations-a-day"]["calls"] == ["c-1", "c-3", "c-5", "c-7"]
    assert found["cn-call-hours"]["calls"] == ["c-night"]
    page = (tmp_path / "a" / "summary.html").read_text("utf8")
    assert "b&lt;1&gt;" in page
    assert "李$x$" in page
    assert "c-1, c-3, c-5, c-7" in page
    assert "GB/T 45251-2025" in page
    assert page.count("<svg") >= 3
    assert not re.search(r"(src|href)=[\"'](?!#)", page.replace("xlink:href", ""))
    assert "<script" not in page


def test_conduct_refuses_rules_and_archives_that_are_none(tmp_path: Path) -> None:
    made(tmp_path / "a")
    (tmp_path / "rules.yaml").write_text("schema: 1")
    for arguments in (["conduct", tmp_path / "a", "--rules", tmp_path / "rules.yaml"], ["conduct", tmp_path]):
        done = archive(*arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_order_of_borrowers_and_parts_does_not_matter(tmp_path: Path) -> None:
    calls = [
        call(f"{borrower}-{hour}", called_at=datetime(2026, 3, 1, hour, tzinfo=UTC), borrower_ref=f"b-{borrower}")
        for hour in (1, 3, 5, 7)
        for borrower in range(300)
    ]
    assert judge_conduct(made(tmp_path / "a", calls), load_rules()).findings == 300
    assert judge_conduct(made(tmp_path / "b", calls[::-1]), load_rules()).findings == 300


def test_few_calls_put_nobody_at_the_top_and_many_do() -> None:
    tallies = {f"usual-{i}": Tally(calls=200, flagged=_count(10)) for i in range(20)}
    tallies["unlucky"] = Tally(calls=1, flagged=_count(1))
    tallies["bad"] = Tally(calls=200, flagged=_count(40))
    cards = {card.name: card for card in scorecards(tallies, {})}
    assert cards["bad"].rank == 1
    assert cards["unlucky"].rate == 1.0
    assert cards["unlucky"].shrunken < cards["bad"].shrunken
    assert cards["bad"].shrunken < cards["bad"].rate
    for card in cards.values():
        assert card.low <= card.rate <= card.high
        assert card.shrunken_low <= card.shrunken <= card.shrunken_high


def _count(flagged: int) -> Any:
    return Counter(any=flagged)


def test_shrunken_rates_are_nearer_to_the_truth_than_counted_ones() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        truth = random.beta(4, 36, 60)
        calls = random.integers(2, 80, 60)
        flagged = random.binomial(calls, truth)
        tallies = {
            str(i): Tally(calls=int(n), flagged=_count(int(k)))
            for i, (n, k) in enumerate(zip(calls, flagged, strict=True))
        }
        cards = {int(card.name): card for card in scorecards(tallies, {})}
        error = {
            "counted": sum((cards[i].rate - truth[i]) ** 2 for i in range(60)),
            "shrunken": sum((cards[i].shrunken - truth[i]) ** 2 for i in range(60)),
        }
        assert error["shrunken"] < error["counted"]
    inside = np.mean([cards[i].shrunken_low <= truth[i] <= cards[i].shrunken_high for i in range(60)])
    assert inside > 0.85


def test_names_that_do_not_differ_have_a_sharp_prior() -> None:
    random = np.random.default_rng(2)
    same = [(int(k), 500) for k in random.binomial(500, 0.1, 100)]
    unlike = [(int(k), 500) for k in random.binomial(500, random.beta(1, 9, 100))]
    assert fit(same).calls > 300 > fit(unlike).calls
    assert fit([(0, 0)]).mean == pytest.approx(0.5)
    assert scorecards({}, {}) == []


def test_trend_is_told_only_with_calls_on_both_sides(tmp_path: Path) -> None:
    calls = []
    for week in range(10):
        at = datetime(2026, 1, 5, 4, tzinfo=UTC) + timedelta(weeks=week)
        for i in range(50):
            verdict = ["insult"] if i < (20 if week >= 6 else 2) else []
            calls.append(call(f"{week}-{i}", called_at=at, collector_id="worse", verdict=verdict))
        if week == 9:
            calls.append(call("new", called_at=at, collector_id="new"))
    found = tally(made(tmp_path, calls), UTC_ZONE)
    cards = {card.name: card for card in scorecards(found.by["collector_id"], found.of_week["collector_id"])}
    change = cards["worse"].change
    assert change
    assert change.difference == pytest.approx(0.36)
    assert 0.25 < change.low < change.difference < change.high < 0.45
    assert cards["new"].change is None


def test_weeks_unlike_those_before_are_named() -> None:
    weeks = {}
    for number in range(6):
        week = Week(Tally(calls=200, flagged=_count(60 if number == 4 else 10)), [0.8 * 200, 200], [-30.0 * 200, 200])
        if number == 5:
            week.levels = [-38.0 * 200, 200]
            week.confidences = [0.7 * 200, 200]
        weeks[date(2026, 1, 5) + timedelta(weeks=number)] = week
    told = [point.drifted for point in drift(weeks)]
    assert told[:4] == [(), (), (), ()]
    assert told[4] == ("any",)
    assert set(told[5]) >= {"asr_confidence", "level_dbfs"}
    lone = {date(2026, 1, 5): Week(Tally(calls=3)), date(2026, 1, 12): Week(Tally(calls=3, flagged=_count(3)))}
    assert [point.drifted for point in drift(lone)] == [(), ()]


@given(
    st.dictionaries(
        st.sampled_from(["flagged, band 0", "flagged, band 3", "unflagged, far", "unflagged, near"]),
        st.integers(1, 500),
        min_size=1,
    ),
    st.integers(12, 400),
)
def test_sample_takes_what_is_asked_or_all_there_is(populations: dict[str, int], size: int) -> None:
    shares = allocate(populations, size)
    assert sum(shares.values()) == min(size, sum(populations.values()))
    assert all(1 <= shares[name] <= populations[name] for name in populations)


def _archive_with_known_truth(
    place: Path, random: np.random.Generator, count: int = 3000
) -> tuple[Store, dict[tuple[str, int], set[str]]]:
    """A model that is far from perfect, and whose mistakes are known."""
    truth, said = {}, []
    for i in range(count):
        true = {str(kind) for kind in KINDS if random.random() < 0.06}
        scores = [float(np.clip(random.normal(0.75 if kind in true else 0.12, 0.2), 0, 1)) for kind in KINDS]
        flagged = [str(kind) for kind, score in zip(KINDS, scores, strict=True) if score > 0.5]
        said.append(utterance(f"r-{i}", 0, scores, flagged))
        truth[f"r-{i}", 0] = true
    said.append(utterance("borrower", 0, (0.9, 0.9, 0.9), ["threat"], speaker="borrower"))
    return made(place, said=said), truth


def test_estimates_hold_the_truth_as_often_as_they_say(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    inside: dict[str, list[bool]] = {"rate": [], "precision": [], "recall": []}
    for trial in range(4):
        store, truth = _archive_with_known_truth(tmp_path / str(trial), random)
        whole = draw(store, 100_000)
        assert len(whole) == len(truth)
        exact = estimate([_heard(drawn, truth) for drawn in whole])
        for seed in range(12):
            sample = [_heard(drawn, truth) for drawn in draw(store, 300, seed)]
            for kind, found in estimate(sample).items():
                for measure, hits in inside.items():
                    told, true = getattr(found, measure), getattr(exact[kind], measure).value
                    hits.append(told.low <= true <= told.high)
    for measure, hits in inside.items():
        assert np.mean(hits) > 0.88, measure


def test_reviews_of_everything_are_the_truth_itself(tmp_path: Path) -> None:
    store, truth = _archive_with_known_truth(tmp_path, np.random.default_rng(4), 500)
    found = estimate([_heard(drawn, truth) for drawn in draw(store, 10_000)])
    flags = {(u["recording"], u["index"]): set(u["labels"]) for u in _said(store) if u["speaker"] != "borrower"}
    for kind, told in found.items():
        true = [key for key, labels in truth.items() if kind in labels]
        hits = [key for key in true if kind in flags[key]]
        assert told.rate.value == told.rate.low == told.rate.high == pytest.approx(len(true) / len(truth))
        assert told.recall
        assert told.recall.value == pytest.approx(len(hits) / len(true))
        assert told.precision
        assert told.precision.value == pytest.approx(len(hits) / sum(kind in labels for labels in flags.values()))


def _said(store: Store) -> list[dict[str, Any]]:
    return [row for table in store.scan(UTTERANCES) for row in table.to_pylist()]


def _heard(drawn: Drawn, truth: dict[tuple[str, int], set[str]]) -> Drawn:
    heard = truth[drawn.recording, drawn.index]
    return drawn.model_copy(update={"true_labels": tuple(kind for kind in KINDS if kind in heard)})


def test_same_seed_draws_the_same_sample_and_it_survives_its_file(tmp_path: Path) -> None:
    store, truth = _archive_with_known_truth(tmp_path / "a", np.random.default_rng(5), 800)
    sample = draw(store, 60, seed=7)
    assert sample == draw(store, 60, seed=7)
    assert sample != draw(store, 60, seed=8)
    heard = [_heard(drawn, truth) for drawn in sample]
    assert read_reviews("x", as_lines(heard)) == heard
    assert all(drawn.stratum == stratum_of(drawn.labels, max(drawn.scores.values())) for drawn in sample)
    with pytest.raises(ArchiveError, match="no reviews"):
        estimate(read_reviews("x", as_lines(sample)))
    with pytest.raises(ArchiveError, match="line 2"):
        read_reviews("x", [next(as_lines(heard)), "{}"])


def test_label_studio_gets_tasks_and_gives_reviews_back(tmp_path: Path) -> None:
    store, truth = _archive_with_known_truth(tmp_path / "a", np.random.default_rng(6), 800)
    done = archive(
        "sample",
        tmp_path / "a",
        "--out",
        tmp_path / "tasks.json",
        "--size",
        "40",
        "--label-studio",
        "--sound",
        "https://sounds.example/",
    )
    assert done.returncode == 0, done.stderr
    made_tasks = json.loads((tmp_path / "tasks.json").read_text("utf8"))
    assert len(made_tasks) == 40
    assert made_tasks[0]["data"]["audio"].startswith("https://sounds.example/r-")
    sample = draw(store, 40)
    for number, task in enumerate(made_tasks):
        choices = sorted(truth[task["data"]["callaudit"]["recording"], 0]) or ["compliant"]
        result = [{"from_name": "labels", "type": "choices", "value": {"choices": choices}}]
        task["annotations"] = [
            {
                "id": 1,
                "updated_at": "2026-01-01",
                "result": [{"from_name": "labels", "value": {"choices": ["insult"]}}],
            },
            {"id": 2, "updated_at": "2026-01-02", "result": result, "was_cancelled": number == 0},
        ]
    made_tasks[1]["annotations"] = []
    exported = json.dumps(made_tasks).encode()
    found = reviews("x", exported)
    assert found[0].true_labels == (Label.INSULT,)
    assert found[1].true_labels is None
    assert found[2:] == [_heard(drawn, truth) for drawn in sample[2:]]
    (tmp_path / "export.json").write_bytes(exported)
    told = archive("estimate", tmp_path / "export.json", "--json")
    assert told.returncode == 0, told.stderr
    assert set(json.loads(told.stdout)) == {str(kind) for kind in KINDS}
    assert archive("estimate", tmp_path / "tasks.json").returncode == 2
    made_tasks[2]["annotations"][1]["result"][0]["value"]["choices"] = ["rude"]
    with pytest.raises(ArchiveError, match="rude"):
        reviews("x", json.dumps(made_tasks).encode())
    assert json.loads(tasks(sample))[0]["data"]["audio"] is None


def test_page_of_an_empty_archive_says_so(tmp_path: Path) -> None:
    write_summary(made(tmp_path), UTC_ZONE, load_rules())
    page = (tmp_path / "summary.html").read_text("utf8")
    assert "<p>0 calls" in page
    assert "Not judged yet" in page
