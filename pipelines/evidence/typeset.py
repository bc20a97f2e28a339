"""A typst template and what is told -> PDF."""

from typing import Any

import typst

from pipelines.evidence.fonts import Font


def typeset(template: bytes, told: dict[str, str], font: Font, **how: Any) -> bytes:
    """`told` travels as data and is never read as typst's markup; `how` goes to typst's compile."""
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(font.folder)])
    compiler = typst.Compiler(input=template, sys_inputs={**told, "family": font.family}, font_paths=fonts)
    made = compiler.compile(**how)
    if not isinstance(made, bytes):
        raise RuntimeError("typst gave no PDF")
    return made
