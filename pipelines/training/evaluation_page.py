"""Evaluation -> one HTML page with its plots, and JSON."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.call import KINDS, Label
from pipelines.training.classifier_evaluation import Evaluation
from pipelines.training.measures import Figure, Scores
from pipelines.training.plots import confusion_plot, curves_plot, reliability_plot

SUMMARY: tuple[tuple[str, Callable[[Scores], Figure]], ...] = (
    ("macro-F1, three kinds and compliant", lambda s: s.macro_f1),
    ("macro-F1, three kinds", lambda s: s.macro_f1_of_kinds),
    ("all kinds right", lambda s: s.exact_match),
    ("macro-F1 of forms", lambda s: s.forms_macro_f1),
    ("threat recall at precision 0.95, any threshold", lambda s: s.threat_recall),
    ("expected calibration error", lambda s: s.calibration_error),
)


def page(evaluation: Evaluation) -> str:
    """Self-contained: no script, nothing fetched."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("evaluation.html").render(
        e=evaluation,
        figure=shown,
        summary=SUMMARY,
        labels=[*KINDS, Label.COMPLIANT],
        curves=Markup(curves_plot(evaluation.curves)),  # noqa: S704 - our own SVG, of numbers
        reliability=Markup(reliability_plot(evaluation.reliability)),  # noqa: S704
        confusion=Markup(confusion_plot(evaluation.confusion)),  # noqa: S704
    )


def as_json(evaluation: Evaluation) -> str:
    """What is not a number, as of a label that no row has, is null."""
    return json.dumps(_plain(asdict(evaluation)), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def shown(figure: Figure) -> str:
    if math.isnan(figure.value):
        return "–"
    if math.isnan(figure.low):
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _plain(value: object) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 5)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
