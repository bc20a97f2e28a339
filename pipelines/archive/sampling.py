"""An archive -> utterances for people to review; their reviews -> true rates, and how well the models do here.

Utterances of the borrower are left out, since they never count. Flagged ones are drawn by bands of their highest
probability, unflagged ones at random, those that came near apart; each stratum knows how many utterances it stands for.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.call import KINDS, Label, Speaker
from pipelines.archive.errors import ArchiveError
from pipelines.archive.schemas import UTTERANCES
from pipelines.archive.store import Store

_BANDS = (0.5, 0.7, 0.9)
_NEAR = 0.1
_DRAWS = 4000
_COLUMNS = ["recording", "call_id", "index", "speaker", "start_s", "end_s", "text", "labels", *map(str, KINDS)]


class Drawn(BaseModel):
    """A line of the sample. `true_labels`: what the reviewer heard; [] is compliant, null is not reviewed yet.

    `population`: of the stratum, how many utterances have each set of labels, joined by commas.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    stratum: str
    population: dict[str, int]
    recording: str
    call_id: str
    index: int
    start_s: float
    end_s: float
    text: str
    labels: tuple[Label, ...]
    scores: dict[Label, float]
    true_labels: tuple[Label, ...] | None = Field(default=None)


@dataclass(frozen=True, slots=True)
class Estimate:
    """With its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class KindEstimate:
    """`rate`: of all utterances that are not the borrower's; precision or recall None: nothing to tell it from."""

    rate: Estimate
    precision: Estimate | None
    recall: Estimate | None
    reviewed: int


def draw(store: Store, size: int, seed: int = 0) -> list[Drawn]:
    """Half of it flagged, as far as there are as many. Memory is the sample, whatever the archive's size.

    Raises ArchiveError if there is nothing to review.
    """
    kept: dict[str, list[dict[str, Any]]] = defaultdict(list)
    population: dict[str, Counter[str]] = defaultdict(Counter)
    random = Random(seed)  # noqa: S311 - a sample, no secret
    for row in _utterances(store):
        stratum = stratum_of(row["labels"], max(row[kind] for kind in KINDS))
        population[stratum][",".join(sorted(row["labels"]))] += 1
        seen = population[stratum].total()
        if len(kept[stratum]) < size:
            kept[stratum].append(row)
        elif (place := random.randrange(seen)) < size:
            kept[stratum][place] = row
    if not population:
        raise ArchiveError(f"{store.place} has no utterances to review")
    shares = allocate({name: counts.total() for name, counts in population.items()}, size)
    drawn = []
    for stratum in sorted(shares):
        for row in random.sample(kept[stratum], shares[stratum]):
            scores = {kind: round(row[kind], 4) for kind in KINDS}
            drawn.append(Drawn(**row, stratum=stratum, population=dict(population[stratum]), scores=scores))
    return drawn


def stratum_of(labels: Sequence[str], highest: float) -> str:
    if not labels:
        return "unflagged, near" if highest >= _NEAR else "unflagged, far"
    return f"flagged, band {sum(highest >= edge for edge in _BANDS)}"


def allocate(populations: Mapping[str, int], size: int) -> dict[str, int]:
    """How many of each stratum: half flagged, as far as there are as many, and alike within either half."""
    flagged = {name: n for name, n in populations.items() if name.startswith("flagged")}
    others = {name: n for name, n in populations.items() if name not in flagged}
    of_others = _filled(others, size - sum(_filled(flagged, size // 2).values()))
    return {**_filled(flagged, size - sum(of_others.values())), **of_others}


def _filled(populations: Mapping[str, int], budget: int) -> dict[str, int]:
    wanted = {}
    for left, name in zip(
        range(len(populations), 0, -1), sorted(populations, key=populations.__getitem__), strict=True
    ):
        wanted[name] = min(populations[name], budget // left)
        budget -= wanted[name]
    return wanted


def read_reviews(place: str, lines: Iterable[str]) -> list[Drawn]:
    """Raises ArchiveError naming the line that is wrong."""
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append(Drawn.model_validate_json(line))
            except ValidationError as error:
                fault = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, fault["loc"]))
                raise ArchiveError(f"{place}, line {number}: {where}: {fault['msg']}") from None
    return found


def estimate(sample: Sequence[Drawn], seed: int = 0) -> dict[Label, KindEstimate]:
    """By kind. Where a stratum says nothing of a kind yet, its interval shows it.

    Raises ArchiveError if nothing is reviewed.
    """
    generator = np.random.default_rng(seed)
    reviewed = [drawn for drawn in sample if drawn.true_labels is not None]
    if not reviewed:
        raise ArchiveError("the sample has no reviews; write the true_labels of each line, [] where it is compliant")
    populations = {drawn.stratum: drawn.population for drawn in sample}
    return {kind: _of_kind(kind, reviewed, populations, generator) for kind in KINDS}


def _of_kind(
    kind: Label, reviewed: Sequence[Drawn], populations: Mapping[str, Mapping[str, int]], generator: np.random.Generator
) -> KindEstimate:
    """Cells of stratum and whether the model found the kind: how many there are is known, how many are so is drawn."""
    true = {True: np.zeros(_DRAWS), False: np.zeros(_DRAWS)}  # by whether the model found it
    plain = {True: 0.0, False: 0.0}
    flagged = total = 0
    for stratum, population in populations.items():
        total += sum(population.values())
        for found in (True, False):
            size = sum(n for labels, n in population.items() if (kind.value in labels.split(",")) is found)
            if not size:
                continue
            flagged += size if found else 0
            here = [d for d in reviewed if d.stratum == stratum and (kind in d.labels) is found]
            hits = sum(kind in (d.true_labels or ()) for d in here)
            # Jeffreys' prior: right also where nothing was found among the few that were heard.
            rates = generator.beta(hits + 0.5, len(here) - hits + 0.5, _DRAWS)
            unheard = size - len(here)
            true[found] += hits + np.maximum(0, unheard) * rates
            plain[found] += size * (hits / len(here) if here else float(rates.mean()))
    every = true[True] + true[False]
    return KindEstimate(
        rate=_estimate((plain[True] + plain[False]) / max(1, total), every / max(1, total)),
        precision=_estimate(plain[True] / flagged, true[True] / flagged) if flagged else None,
        recall=_recall(plain, true, every),
        reviewed=len(reviewed),
    )


def _recall(
    plain: Mapping[bool, float], true: Mapping[bool, NDArray[np.float64]], every: NDArray[np.float64]
) -> Estimate | None:
    there = plain[True] + plain[False]
    return _estimate(plain[True] / there, true[True] / np.maximum(every, 1e-12)) if there else None


def _estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(value, min(float(low), value), max(float(high), value))


def _utterances(store: Store) -> Iterator[dict[str, Any]]:
    for table in store.scan(UTTERANCES, _COLUMNS):
        for row in table.to_pylist():
            if row["speaker"] != Speaker.BORROWER:
                yield row


def as_lines(sample: Sequence[Drawn]) -> Iterator[str]:
    for drawn in sample:
        yield json.dumps(drawn.model_dump(mode="json"), ensure_ascii=False)
