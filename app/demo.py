"""The demo calls -> tables, one page, and how right they are: what `make demo` runs, with whichever models are set."""

import json
import sys
from pathlib import Path

from app import telemetry
from app.config import CannotStart, read_settings
from app.engine import load_configured_engine
from app.page import Call, call, render
from app.terminal import console, report_table, summary_line
from models.call import KINDS, Label
from models.errors import ModelError
from pipelines.decode import decode
from pipelines.evaluation import Spoken, macro_f1, matched, spoken
from pipelines.report import accused
from pipelines.score import Engine, score

CALLS = Path(__file__).parent.parent / "tests" / "data" / "calls"
PAGE = Path("out") / "demo.html"


def main() -> None:
    telemetry.switch_off()
    engine = load_configured_engine(read_settings())
    shown: list[Call] = []
    heard: list[tuple[set[Label], set[Label]]] = []
    read: list[tuple[set[Label], set[Label]]] = []
    right = 0
    screen = console()
    scripts = sorted(CALLS.glob("*.json"))
    for script in scripts:
        truth = json.loads(script.read_text("utf8"))
        said = spoken(truth["utterances"])
        with decode(script.with_name(truth["recording"])) as recording:
            report = score(recording, engine, truth["collector_channel"])
            shown.append(call(truth["recording"], report, recording))
        found = {kind for said in accused(report.utterances) for kind in said.labels}
        expected = {Label(kind) for kind in truth["kinds"]}
        right += found == expected
        heard += matched(said, report)
        read += from_transcript(said, engine)
        screen.print(report_table(truth["recording"], report))
        screen.print(summary_line(report) + ("" if found == expected else f" -- expected {sorted(expected)}") + "\n")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(shown), "utf8")
    screen.print(f"verdict right: {right} of {len(scripts)} calls")
    screen.print(f"from audio: utterance macro-F1 {macro_f1(heard):.2f}")
    screen.print(f"from perfect transcripts: utterance macro-F1 {macro_f1(read):.2f}")
    screen.print(f"page: {PAGE.resolve()}")


def from_transcript(said: list[Spoken], engine: Engine) -> list[tuple[set[Label], set[Label]]]:
    """(true, found) labels of every utterance, had every word been heard."""
    previous = [[u.text for u in said[max(0, i - 2) : i]] for i in range(len(said))]
    judged = engine.classify([u.text for u in said], previous)
    return [(set(u.labels), {kind for kind in KINDS if kind in j.labels}) for u, j in zip(said, judged, strict=True)]


if __name__ == "__main__":
    try:
        main()
    except (CannotStart, ModelError) as error:
        sys.exit(f"callaudit: {error}")
