"""Evaluation, and what training left beside the weights -> the model card as Markdown."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.call import KINDS, Label
from pipelines.training.classifier_evaluation import MODEL, Evaluation
from pipelines.training.evaluation_page import SUMMARY, shown

_TITLES = {
    "what": "What it is",
    "base": "Base",
    "made_by": "Made by",
    "trained_on": "Trained on",
    "data_sha256": "Data, SHA-256",
    "options": "Options",
    "state": "State",
    "fit_for": "Fit for",
    "not_fit_for": "Not fit for",
}


def card(evaluation: Evaluation, folder: Path) -> str:
    """`folder`: the model's; what its card.json says is taken over."""
    file = folder / "card.json"
    told = json.loads(file.read_text("utf8")) if file.is_file() else {}
    lines = [
        "# Classifier",
        "",
        "Labels an utterance of a debt-collection call as threat, insult or third-party contact, each with a",
        "probability, and names the form that the abuse takes.",
        "",
        f"Version {evaluation.model.version}, weights SHA-256 `{evaluation.model.sha256}`.",
        "",
    ]
    for key, title in _TITLES.items():
        if key in told:
            lines += [f"**{title}.** {_sentence(told[key])}", ""]
    lines += [
        "## How it does",
        "",
        f"On {evaluation.rows} utterances of {evaluation.scenarios} calls and rules in the split {evaluation.split},",
        f"data SHA-256 `{evaluation.data_sha256}`; written by `callaudit evaluate classifier`. Brackets: 95 %",
        "intervals from a thousand resamples of whole calls.",
        "",
    ]
    lines += [f"- **{name}**: {about}" for name, about in evaluation.baselines.items()]
    for condition, found in evaluation.conditions.items():
        rows = found[MODEL].rows
        lines += ["", f"### {condition.capitalize()} ({rows} utterances)", ""]
        lines += _table(["", *found], [[title, *(shown(get(s)) for s in found.values())] for title, get in SUMMARY])
        lines += [""]
        of_model = found[MODEL].labels
        lines += _table(
            ["label, by the model", "rows", "precision", "recall", "F1"],
            [
                [label, str(s.rows), shown(s.precision), shown(s.recall), shown(s.f1)]
                for label, s in ((label, of_model[label]) for label in (*KINDS, Label.COMPLIANT))
            ],
        )
        if condition in evaluation.lost:
            lines += ["", f"Macro-F1 lost against the same rows as said: {shown(evaluation.lost[condition])}."]
    if evaluation.outside:
        lines += ["", "Below, intervals of single rates are exact, the others from resampled texts."]
    for check in evaluation.outside:
        lines += ["", f"### {check.name} ({check.rows} texts)", "", f"{check.about.capitalize()}.", ""]
        measures = list(next(iter(check.figures.values())))
        lines += _table(["", *check.figures], [[m, *(shown(f[m]) for f in check.figures.values())] for m in measures])
    lines += [
        "",
        "## Limits",
        "",
        "Trained and measured on written calls, not on recorded ones: expect less on real speech. It reads text, so it",
        "inherits what the recogniser misses. A label is a reason for a person to listen, never a verdict.",
        "",
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), "|" + "---|" * len(head), *(_line(row) for row in body)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _sentence(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
