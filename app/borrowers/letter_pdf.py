"""Letter -> PDF with its Chinese font inside."""

import json
from importlib import resources

import typst

from pipelines.evidence.fonts import find_font, printable


def as_pdf(letter: str) -> bytes | None:
    """None if this machine has no Chinese font. What people wrote travels as data and is never read as markup."""
    font = find_font()
    if font is None:
        return None
    title, _, rest = letter.strip().partition("\n")
    lines = [printable(line, font) for line in rest.strip("\n").split("\n")]
    given = {"letter": json.dumps({"title": printable(title, font), "lines": lines}), "family": font.family}
    template = (resources.files("app.borrowers") / "letter.typ").read_bytes()
    compiler = typst.Compiler(
        input=template,
        sys_inputs=given,
        font_paths=typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(font.folder)]),
    )
    made = compiler.compile()
    if not isinstance(made, bytes):
        raise RuntimeError("typst gave no PDF")
    return made
