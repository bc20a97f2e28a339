"""Letter -> PDF with its Chinese font inside."""

import json
from importlib import resources

from pipelines.evidence.fonts import find_font, printable
from pipelines.evidence.typeset import typeset


def as_pdf(letter: str) -> bytes | None:
    """None if this machine has no Chinese font."""
    font = find_font()
    if font is None:
        return None
    title, _, rest = letter.strip().partition("\n")
    lines = [printable(line, font) for line in rest.strip("\n").split("\n")]
    told = {"letter": json.dumps({"title": printable(title, font), "lines": lines})}
    template = (resources.files("app.borrowers") / "letter.typ").read_bytes()
    return typeset(template, told, font)
