"""The system's Chinese font, and text as that font can show it."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import typst
from fontTools.ttLib import TTFont

_FAMILIES = ("Noto Sans CJK SC", "Source Han Sans SC", "Noto Sans SC")
_REGULAR = 400
_LONGEST_WORD = 24  # Latin letters in a row; a longer word would run over the edge of its column
_BREAK = "\u200b"


@dataclass(frozen=True, slots=True)
class Font:
    family: str
    folder: Path
    characters: frozenset[int]  # code points with a glyph


FindFont = Callable[[], Font | None]


@cache  # a second of reading; a font installed later is found after a restart
def find_font() -> Font | None:
    """The first known Chinese family among the system's fonts; None if there is none."""
    found = typst.Fonts(include_system_fonts=True, include_embedded_fonts=False).fonts()
    faces = {face.family: face for face in found if face.weight == _REGULAR and face.style == "normal" and face.path}
    for family in _FAMILIES:
        if face := faces.get(family):
            path = Path(str(face.path))
            with TTFont(path, fontNumber=face.index, lazy=True) as file:
                return Font(family, path.parent, frozenset(file.getBestCmap()))
    return None


def printable(text: str, font: Font | None) -> str:
    """What a reader must not miss: a character without a glyph, or one that turns or hides others, by its number."""
    return _with_breaks("".join(map(partial(_shown, font=font), unicodedata.normalize("NFC", text))))


def _shown(character: str, font: Font | None) -> str:
    if character in "\t\n\r\u2028\u2029\u00a0":
        return " "
    if unicodedata.category(character)[0] == "C" or (font and ord(character) not in font.characters):
        return f"〈U+{ord(character):04X}〉"
    return character


def _with_breaks(text: str) -> str:
    written, run = [], 0
    for character in text:
        run = run + 1 if character.isascii() and not character.isspace() else 0
        written.append(character)
        if run == _LONGEST_WORD:
            written.append(_BREAK)
            run = 0
    return "".join(written)
