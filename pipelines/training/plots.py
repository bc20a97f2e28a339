"""Figures of an evaluation -> plots as inline SVG."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Plot

from models.call import KINDS, Label
from pipelines.svg import as_svg
from pipelines.training.measures import Bin, Curve

_STYLES = ("-", "--", "-.", ":")
_INK = "#1f4e79"


def curves_plot(curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """Precision over recall, one panel a kind, one line a labeller."""
    plot = Plot(figsize=(10.5, 3.4), layout="constrained")
    panels = plot.subplots(1, len(KINDS), sharey=True)
    for panel, kind in zip(panels, KINDS, strict=True):
        for style, (labeller, of_kind) in zip(_STYLES, curves.items(), strict=False):
            line = of_kind[kind.value]
            panel.plot(line.recall, line.precision, style, label=labeller, drawstyle="steps-post")
        panel.set(title=kind.value, xlabel="recall", xlim=(0, 1.01), ylim=(0, 1.03))
    panels[0].set_ylabel("precision")
    panels[0].legend(loc="lower left", fontsize="small")
    return as_svg(plot)


def reliability_plot(bins: Mapping[str, Sequence[Bin]]) -> str:
    """How often what is said with a probability is true, one panel a kind; the area of a dot grows with its answers."""
    plot = Plot(figsize=(10.5, 3.6), layout="constrained")
    panels = plot.subplots(1, len(KINDS), sharey=True)
    for panel, kind in zip(panels, KINDS, strict=True):
        of_kind = bins[kind.value]
        panel.plot([0, 1], [0, 1], ":", color="grey")
        panel.plot([b.probability for b in of_kind], [b.true for b in of_kind], "-", color=_INK)
        sizes = [8 + 120 * (b.answers / max(x.answers for x in of_kind)) ** 0.5 for b in of_kind]
        panel.scatter([b.probability for b in of_kind], [b.true for b in of_kind], s=sizes, color=_INK)
        panel.set(title=kind.value, xlabel="probability", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    panels[0].set_ylabel("share that is true")
    return as_svg(plot)


def confusion_plot(table: Sequence[Sequence[int]]) -> str:
    """Shaded by the share of a true label's rows."""
    names = [*(kind.value for kind in KINDS), Label.COMPLIANT.value]
    plot = Plot(figsize=(5.2, 4), layout="constrained")
    panel = plot.subplots()
    shares = [[cell / max(1, sum(line)) for cell in line] for line in table]
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, line in enumerate(table):
        for j, cell in enumerate(line):
            panel.text(j, i, str(cell), ha="center", va="center", color="white" if shares[i][j] > 0.5 else "black")
    panel.set_xticks(range(len(names)), names, rotation=20, ha="right")
    panel.set_yticks(range(len(names)), names)
    panel.set(xlabel="found", ylabel="true")
    return as_svg(plot)
