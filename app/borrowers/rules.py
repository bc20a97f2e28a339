"""rules.toml -> the rules that the pages cite, each with how well it is known."""

import tomllib
from datetime import time
from importlib import resources

from pydantic import BaseModel, ConfigDict

from models.call import Label


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Part):
    key: str
    kinds: tuple[Label, ...]
    measures: tuple[str, ...]
    name_zh: str
    name_en: str
    where_zh: str
    where_en: str
    says_zh: str
    says_en: str
    status_zh: str
    status_en: str


class Limits(_Part):
    """Of calls a day and hours; `rule` begins the keys of the rules that they come from."""

    night_from: time
    night_to: time
    calls_per_day: int
    rule: str

    def at_night(self, at: time) -> bool:
        return at >= self.night_from or at < self.night_to


class Rules(_Part):
    limits: Limits
    rule: tuple[Rule, ...]

    def about(self, kind: Label) -> list[Rule]:
        return [rule for rule in self.rule if kind in rule.kinds]

    def measuring(self, measure: str) -> list[Rule]:
        """Those that state a limit of hours or of calls; others speak of frequent calls without a number."""
        return [rule for rule in self.rule if measure in rule.measures and rule.key.startswith(self.limits.rule)]


def read_rules() -> Rules:
    return Rules.model_validate(tomllib.loads((resources.files("app.borrowers") / "rules.toml").read_text("utf8")))
