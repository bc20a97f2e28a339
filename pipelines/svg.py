"""Plot -> inline SVG."""

import io
import warnings
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

STYLE: Any = {
    "svg.fonttype": "none",  # the reader's own fonts have the characters that matplotlib's lack
    "svg.hashsalt": "callaudit",
    "font.family": "sans-serif",
    "text.parse_math": False,  # names are shown, not typeset
}


def as_svg(plot: Figure) -> str:
    """Without a date and with fixed names, so that the same figures give the same bytes; text stays text."""
    out = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        plot.savefig(out, format="svg", metadata=metadata)
    return "<svg" + out.getvalue().partition("<svg")[2]
