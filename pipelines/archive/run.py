"""SOURCE -> tables in DEST, going on where an earlier run stopped."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from zoneinfo import ZoneInfo

from models.errors import UnreadableFile
from models.weights import find_weights
from pipelines.archive import rows as made
from pipelines.archive.engine import Scoring, fingerprints, outcomes
from pipelines.archive.errors import ArchiveError
from pipelines.archive.facts import BadFacts, Facts, read_sidecar
from pipelines.archive.ledger import Ledger, ledger
from pipelines.archive.listing import is_table, read_listing
from pipelines.archive.rows import Row, Rows
from pipelines.archive.schemas import CALLS, FAILURES
from pipelines.archive.sources import Item, Source
from pipelines.archive.store import Store
from pipelines.archive.ticking import ticking
from pipelines.archive.work import Outcome, Task, read_small
from pipelines.score import EngineOptions

_AUDIO, _TRANSCRIPTS = "audio", "transcripts"
_WITHOUT_RECORDING = "MetadataWithoutRecording"
_BAD_FACTS = "BadMetadata"


@dataclass(frozen=True, slots=True)
class Chunks:
    """`planned`: recordings for each worker between two loads of its models, whose paths are in memory at once;
    `committed`: rows of a part, or what `every_s` gives.
    """

    planned: int = 2_500
    committed: int = 256
    every_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done. `zone`: of times without offset; `since_model`: score anew what other models scored."""

    source: Source
    scoring: Scoring
    workers: int
    metadata: str | None = None
    zone: ZoneInfo | None = None
    since_model: bool = False
    retry_failed: bool = False
    chunks: Chunks = field(default_factory=Chunks)


@dataclass(slots=True)
class Progress:
    """As it is told while a run goes on; `scored` and `failed` are of this run, `before` was there."""

    total: int = 0
    before: int = 0
    scored: int = 0
    failed: int = 0
    failed_before: int = 0
    copied: int = 0
    audio_s: float = 0.0
    took_s: float = 0.0  # of scoring, of all workers together
    without_facts: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        return self.before + self.scored + self.failed + self.copied

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self.began

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of sound, as the clock on the wall has it."""
        return self.wall_s / self.audio_s if self.audio_s else None

    @property
    def left_s(self) -> float | None:
        now = self.done - self.before
        return self.wall_s / now * max(0, self.total - self.done) if now else None


Watch = Callable[[Progress], None]


def run(order: Order, store: Store, watch: Watch | None = None) -> Progress:
    """Raises ArchiveError; whatever was committed until then stays, and the next run goes on from it."""
    progress = Progress()
    tell = watch or (lambda _: None)
    with ledger() as known, store.writing(_TRANSCRIPTS if order.scoring.transcripts else _AUDIO):
        _Run(order, store, known, progress, tell).do()
    return progress


def model_hashes(options: EngineOptions, transcripts: bool = False) -> dict[str, str]:
    """Of the models that scoring will use, without loading them. Raises ModelError."""
    found = {"classifier_sha256": find_weights("CALLAUDIT_CLASSIFIER", options.classifier, ("config.json",)).sha256}
    if transcripts:
        return found
    found["transcriber_sha256"] = find_weights("CALLAUDIT_ASR_MODEL", options.asr_model, ("config.json",)).sha256
    if options.speakers == "embeddings":
        found["speakers_sha256"] = find_weights("CALLAUDIT_SPEAKERS", "bundled/speakers", ("encoder.onnx",)).sha256
    return found


@dataclass(frozen=True, slots=True)
class _Planned:
    item: Item
    facts: Facts
    sha256: str


@dataclass(slots=True)
class _Uncommitted:
    rows: Rows = field(default_factory=made.nothing)
    audio_s: float = 0.0
    took_s: float = 0.0
    since: float = field(default_factory=time.monotonic)

    @property
    def count(self) -> int:
        return len(self.rows[CALLS]) + len(self.rows[FAILURES])


@dataclass(slots=True)
class _Run:
    order: Order
    store: Store
    known: Ledger
    progress: Progress
    tell: Watch

    def do(self) -> None:
        self._take_facts()
        self._remember()
        self.progress.total = sum(1 for _ in self.order.source.items())
        if not self.progress.total:
            raise ArchiveError(f"{self.order.source.place} holds no recordings; check the path")
        self.progress.began = time.monotonic()
        self.tell(self.progress)
        left = (item for item in self.order.source.items() if not self._is_done(item))
        while planned := list(islice(left, self.order.chunks.planned * self.order.workers)):
            self._score(planned)
        self._tell_unused_facts()

    def _is_done(self, item: Item) -> bool:
        if not self.known.is_done(item.name):
            return False
        self.known.facts_of(item.name)
        return True

    def _take_facts(self) -> None:
        for place in (self.order.metadata, self.order.source.place):
            if place and (place == self.order.metadata or is_table(place, self.order.source.transcripts)):
                with closing(read_listing(place)) as rows:
                    self.known.take_facts(place, rows, self.order.zone)

    def _remember(self) -> None:
        """What earlier runs did. Parts with calls of older models are scored anew, or refused."""
        wanted = model_hashes(self.order.scoring.options, self.order.scoring.transcripts)
        for part in self.store.parts():
            calls = self.store.read(CALLS, part.name, ["recording", "sha256", "same_as", *wanted]).to_pylist()
            failures = self.store.read(FAILURES, part.name, ["recording", "sha256", "error"]).to_pylist()
            old = [c for c in calls if any(c[model] != digest for model, digest in wanted.items())]
            if old and not self.order.since_model:
                raise ArchiveError(
                    f"{self.store.place} holds calls that another model scored ({old[0]['recording']!r}); "
                    "give --since-model to score those anew, or another --out"
                )
            # Should the recording have come meanwhile, it is scored.
            lonely = {f["recording"] for f in failures if f["error"] == _WITHOUT_RECORDING}
            stale = {c["recording"] for c in old} | lonely
            if self.order.retry_failed:
                stale |= {f["recording"] for f in failures}
            self._note(calls, failures, part.name, stale)
            self.progress.failed_before += sum(f["recording"] not in stale - lonely for f in failures)
            self.progress.before += sum(row["recording"] not in stale for row in (*calls, *failures))

    def _note(self, calls: Sequence[Row], failures: Sequence[Row], part: str, stale: set[str]) -> None:
        both = [*calls, *failures]
        self.known.note_done(((row["recording"], row["recording"] in stale) for row in both), part)
        first = [row for row in both if row["sha256"] and not row.get("same_as") and row["recording"] not in stale]
        self.known.note_sounds(((row["sha256"], row["recording"]) for row in first), part)

    def _score(self, items: Sequence[Item]) -> None:
        planned = list(self._planned(items))
        firsts: dict[str, _Planned] = {}
        for one in planned:
            if self.known.sound(one.sha256) is None:
                firsts.setdefault(one.sha256, one)
        others = [one for one in planned if firsts.get(one.sha256) is not one]
        self._score_each(list(firsts.values()))
        for start in range(0, len(others), self.order.chunks.committed):
            self._copy(others[start : start + self.order.chunks.committed])

    def _planned(self, items: Sequence[Item]) -> Iterator[_Planned]:
        """Those that can be scored; what is wrong with the others is committed."""
        rows = made.nothing()
        able: list[tuple[Item, Facts]] = []
        for item in items:
            if item.fault:
                error, reason = item.fault
                made.add_failure(rows, item.name, None, sha256=None, error=error, reason=reason)
                continue
            try:
                able.append((item, self._facts(item)))
            except BadFacts as error:
                made.add_failure(rows, item.name, None, sha256=None, error=_BAD_FACTS, reason=str(error))
        hashed: dict[int, str] = {}
        for index, sha256, why in fingerprints([item.place for item, _ in able], self.order.workers) if able else ():
            if sha256:
                hashed[index] = sha256
            else:
                item, facts = able[index]
                made.add_failure(rows, item.name, facts, sha256=None, error=UnreadableFile.__name__, reason=why)
        self.progress.failed += len(rows[FAILURES])
        self._commit(rows)
        # In the order of the source, so that of two names it is always the same that was scored.
        for index in sorted(hashed):
            yield _Planned(*able[index], hashed[index])

    def _facts(self, item: Item) -> Facts:
        """From the table, or else from the sidecar. Raises BadFacts."""
        if (facts := self.known.facts_of(item.name)) is not None:
            return facts
        for place in self.order.source.sidecars(item):
            if (content := read_small(place)) is not None:
                return read_sidecar(content, self.order.zone)
        self.progress.without_facts += 1
        return Facts()

    def _score_each(self, planned: Sequence[_Planned]) -> None:
        tasks = [Task(one.item.place, one.facts.collector_channel) for one in planned]
        chunks, fresh = self.order.chunks, _Uncommitted()
        coming = outcomes(tasks, self.order.scoring, self.order.workers) if tasks else iter(())
        for found in ticking(coming, chunks.every_s):
            if found:
                index, outcome = found
                one = planned[index]
                if outcome.stops:
                    self._commit(fresh.rows, fresh.audio_s, fresh.took_s)
                    raise ArchiveError(f"stopped at {one.item.name!r}: {outcome.reason}; then run it again, it goes on")
                self._add(fresh.rows, one, outcome)
                fresh.audio_s += outcome.report.recording.duration if outcome.report else 0.0
                fresh.took_s += outcome.took_s
                self.progress.took_s += outcome.took_s
            if fresh.count >= chunks.committed or time.monotonic() - fresh.since > chunks.every_s:
                self._commit(fresh.rows, fresh.audio_s, fresh.took_s)
                fresh = _Uncommitted()
            self.tell(self.progress)
        self._commit(fresh.rows, fresh.audio_s, fresh.took_s)

    def _add(self, rows: Rows, one: _Planned, outcome: Outcome) -> None:
        if outcome.report:
            made.add_report(rows, one.item.name, one.facts, outcome.report)
            self.progress.scored += 1
            self.progress.audio_s += outcome.report.recording.duration
        else:
            told = {"error": outcome.error or "", "reason": outcome.reason or ""}
            made.add_failure(rows, one.item.name, one.facts, sha256=one.sha256, **told)
            self.progress.failed += 1

    def _copy(self, planned: Sequence[_Planned]) -> None:
        rows = made.nothing()
        parts: dict[str, tuple[dict[str, Row], dict[str, Row]]] = {}
        for one in planned:
            found = self.known.sound(one.sha256)
            if found is None:
                raise ArchiveError(f"{one.item.name!r} changed while it was scored; run it again")
            recording, part = found
            if part not in parts:
                parts = {part: self._by_recording(part)}  # one at a time: a part is small, all of them are not
            calls, failures = parts[part]
            call, failure = calls.get(recording), failures.get(recording)
            both = {"calls": [call] if call else [], "failures": [failure] if failure else []}
            made.add_copies(rows, one.item.name, one.facts, of=recording, **both)
            self.progress.copied += bool(call)
            self.progress.failed += bool(failure)
        self._commit(rows)
        self.tell(self.progress)

    def _by_recording(self, part: str) -> tuple[dict[str, Row], dict[str, Row]]:
        found = self.store.rows_of(part)
        calls, failures = ({row["recording"]: row for row in found[table]} for table in (CALLS, FAILURES))
        return calls, failures

    def _commit(self, rows: Rows, audio_s: float = 0.0, took_s: float = 0.0) -> None:
        """With what an older model found of the same recordings taken out in the same moment."""
        fresh = {row["recording"] for table in (CALLS, FAILURES) for row in rows[table]}
        if not fresh:
            return
        replaced = {part for recording in fresh if (part := self.known.stale_part(recording))}
        stale: set[str] = set()
        for old in sorted(replaced):
            for table, found in self.store.rows_of(old).items():
                kept = [row for row in found if row["recording"] not in fresh]
                rows[table] += kept
                stale |= {row["recording"] for row in kept if self.known.is_stale(row["recording"])}
        added = self.store.commit(rows, replaces=sorted(replaced), audio_s=audio_s, took_s=took_s)
        self._note(rows[CALLS], rows[FAILURES], added.name, stale)

    def _tell_unused_facts(self) -> None:
        """Metadata that names no recording is not lost: each is a row of failures."""
        rows = made.nothing()
        for key, facts in self.known.unused_facts():
            if not self.known.is_stale(key):
                reason = f"the metadata names {key!r}, and there is no such recording"
                made.add_failure(rows, key, facts, sha256=None, error=_WITHOUT_RECORDING, reason=reason)
                self.progress.failed += 1
        self._commit(rows)
