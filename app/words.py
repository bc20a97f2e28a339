"""texts/LANGUAGE.toml of an audience -> the words of its pages in that language."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources


class Language(StrEnum):
    ZH = "zh"
    EN = "en"

    @property
    def tag(self) -> str:
        """As of BCP 47."""
        return "zh-CN" if self is Language.ZH else "en"


@dataclass(frozen=True, slots=True)
class Words:
    language: Language
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Raises KeyError for a text that is not in the catalogue: a page without its words must not pass a test."""
        text = self.texts[key]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        return key in self.texts


def read_words(package: str, language: Language) -> Words:
    """`package`: the audience's, as "app.borrowers"."""
    written = tomllib.loads((resources.files(package) / "texts" / f"{language}.toml").read_text("utf8"))
    texts = {f"{section}.{name}": text for section, some in written.items() for name, text in some.items()}
    return Words(language, texts)
