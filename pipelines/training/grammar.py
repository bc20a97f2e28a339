"""Rules of how people speak in collection calls -> distinct labelled utterances, each rule in one split."""

import argparse
import json
import random
import re
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.call import KIND_OF_FORM, KINDS, Form, Label
from pipelines.training.diversity import Texts, distinct_ngrams, near_duplicates, self_bleu

CORPUS = Path(__file__).parent / "corpus"
_CHOICE = re.compile(r"\(([^(){}]*)\)|\{(\w+)\}")
_MARKS = re.compile(r"[，。？！、；：…]+")
_ASKS = re.compile("(吗|呢|啥|什么|多少|怎么办)$")
_STAGES = {"M0": 1, "M1": 5, "M2": 6, "M3": 7, "legal": 2}
_VOICES = {"first_party": 3, "agency": 5, "fake_lawyer": 1}

Slots = Mapping[str, Sequence[str]]
Row = dict[str, Any]


class BadGrammar(ValueError):
    """A rule that cannot be read or expanded; names the place and what to change."""


class Manner(BaseModel):
    """What people say before and after the sentence proper."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lead: tuple[str, ...]
    tail: tuple[str, ...]


class Rule(BaseModel):
    """One thing to say, in many words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    say: str
    speaker: Literal["collector", "borrower", "third_party"] = "collector"
    forms: tuple[Form, ...] = ()
    hard: bool = False
    manner: str
    context: str
    voice: tuple[Literal["first_party", "agency", "fake_lawyer"], ...] = ()

    @property
    def labels(self) -> tuple[Label, ...]:
        kinds = {KIND_OF_FORM[form] for form in self.forms}
        return tuple(kind for kind in KINDS if kind in kinds)

    @property
    def kind(self) -> Label:
        """The share of the corpus that the rule counts towards."""
        return KIND_OF_FORM[self.forms[0]] if self.forms else Label.COMPLIANT

    @property
    def split(self) -> str:
        """From the id alone, so that rules added later move none that are there."""
        return {0: "dev", 1: "test"}.get(zlib.crc32(self.id.encode()) % 10, "train")


@dataclass(frozen=True, slots=True)
class Grammar:
    rules: tuple[Rule, ...]
    slots: Slots
    products: Slots
    contexts: Slots
    manners: Mapping[str, Manner]
    regional: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Speaking:
    """How the rules' sentences are varied, and when two of them are too alike."""

    threat: float = 0.17
    insult: float = 0.14
    third_party_contact: float = 0.16
    alike_from: float = 0.45  # Jaccard of character 4-grams
    tries: int = 24  # the one least like all before is kept
    shortest: int = 2
    longest: int = 60
    lead: float = 0.25
    tail: float = 0.15
    regional: float = 0.1
    unpunctuated: float = 0.5  # as a recogniser writes
    without_context: float = 0.3


def read_grammar(folder: Path = CORPUS) -> Grammar:
    paths = sorted(folder.glob("grammar*.toml"))
    if not paths:
        raise BadGrammar(f"{folder} has no grammar*.toml")
    tables: dict[str, dict[str, Any]] = {name: {} for name in ("slots", "products", "contexts", "manners", "regional")}
    rules: list[Rule] = []
    for path in paths:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        groups = document.pop("group", [])
        if unknown := document.keys() - tables.keys():
            raise BadGrammar(f"{path.name}: unknown tables {sorted(unknown)}; known are {sorted(tables)} and group")
        for name, table in document.items():
            tables[name] |= table
        for group in groups:
            rules.extend(_rules_of(group, path.name))
    grammar = Grammar(
        rules=tuple(rules),
        slots=tables["slots"],
        products=tables["products"],
        contexts=tables["contexts"],
        manners={name: Manner(**manner) for name, manner in tables["manners"].items()},
        regional=tables["regional"],
    )
    _check(grammar)
    return grammar


def expand(template: str, slots: Slots, chance: random.Random) -> str:
    """Innermost choices first, until none is left."""

    def choose(match: re.Match[str]) -> str:
        return chance.choice(match[1].split("|") if match[2] is None else slots[match[2]])

    while _CHOICE.search(template):
        template = _CHOICE.sub(choose, template)
    return template


def utterances(
    grammar: Grammar, count: int, seed: int, speaking: Speaking | None = None, apart_from: Sequence[str] = ()
) -> Iterator[Row]:
    """`count` rows, none like another nor like `apart_from`, all rules of a kind taking turns."""
    speaking = speaking or Speaking()
    chance = random.Random(seed)
    texts = Texts()
    for text in apart_from:
        texts.add(text)
    wanted = {kind: round(count * getattr(speaking, kind.value)) for kind in KINDS}
    wanted[Label.COMPLIANT] = count - sum(wanted.values())
    for kind, share in wanted.items():
        rules = [rule for rule in grammar.rules if rule.kind == kind]
        found = 0
        while found < share:
            if not rules:
                raise BadGrammar(f"the rules of {kind} give {found} distinct utterances of {share}; write more of them")
            chance.shuffle(rules)
            for rule in list(rules):
                row = _unlike(rule, grammar, speaking, texts, chance)
                if row is None:
                    rules.remove(rule)
                    continue
                yield row
                found += 1
                if found == share:
                    break


def _rules_of(group: dict[str, Any], file: str) -> Iterator[Rule]:
    if missing := {"id", "says"} - group.keys():
        raise BadGrammar(f"{file}: group {group.get('id')} has no {sorted(missing)}")
    defaults = {key: value for key, value in group.items() if key not in ("id", "says")}
    for number, says in enumerate(group["says"], 1):
        name = f"{group['id']}-{number:02}"
        own = {"say": says} if isinstance(says, str) else says
        try:
            yield Rule.model_validate({**defaults, **own, "id": name})
        except ValidationError as error:
            raise BadGrammar(f"{file}: {name}: {error}") from error


def _check(grammar: Grammar) -> None:
    slots = {*grammar.slots, "product"}
    templates = {
        **{f"slot {name}": values for name, values in grammar.slots.items()},
        **{f"product {name}": values for name, values in grammar.products.items()},
        **{f"context {name}": values for name, values in grammar.contexts.items()},
        **{f"manner {name}": manner.lead + manner.tail for name, manner in grammar.manners.items()},
        **{f"rule {rule.id}": (rule.say,) for rule in grammar.rules},
    }
    if len({rule.id for rule in grammar.rules}) < len(grammar.rules):
        raise BadGrammar("two groups have the same id; rename one")
    for place, values in templates.items():
        for template in values:
            if unknown := set(re.findall(r"\{(\w+)\}", template)) - slots:
                raise BadGrammar(f"{place}: no slot called {sorted(unknown)} in {template!r}")
            bare = re.sub(r"\{\w+\}", "", template)
            while (less := re.sub(r"\([^()]*\)", "", bare)) != bare:
                bare = less
            if set(bare) & set("(){}|"):
                raise BadGrammar(f"{place}: brackets do not match, or a choice has none, in {template!r}")
    for rule in grammar.rules:
        if rule.manner not in grammar.manners:
            raise BadGrammar(f"rule {rule.id}: no manner called {rule.manner!r}")
        if rule.context not in {*grammar.contexts, "open"}:
            raise BadGrammar(f"rule {rule.id}: no context called {rule.context!r}; 'open' stands for none")


def _unlike(rule: Rule, grammar: Grammar, speaking: Speaking, texts: Texts, chance: random.Random) -> Row | None:
    """A row unlike all texts so far, or None when the rule has no more to say."""
    product = chance.choice(list(grammar.products))
    grammar = replace(grammar, slots={**grammar.slots, "product": grammar.products[product]})
    said = [_spoken(rule, grammar, speaking, chance) for _ in range(speaking.tries)]
    likeness = {text: texts.nearest(text) for text in said if speaking.shortest <= len(text) <= speaking.longest}
    text = min(likeness, key=likeness.__getitem__, default=None)
    if text is None or likeness[text] >= speaking.alike_from:
        return None
    texts.add(text)
    previous: list[str] = []
    if rule.context != "open" and chance.random() >= speaking.without_context:
        previous = expand(chance.choice(grammar.contexts[rule.context]), grammar.slots, chance).split(" >> ")
    if chance.random() < speaking.unpunctuated:
        text, *previous = (_unpunctuated(turn, chance) for turn in (text, *previous))
    voices = {name: weight for name, weight in _VOICES.items() if not rule.voice or name in rule.voice}
    return {
        "scenario": rule.id,
        "stage": chance.choices(list(_STAGES), list(_STAGES.values()))[0],
        "product": product,
        "voice": chance.choices(list(voices), list(voices.values()))[0],
        "split": rule.split,
        "speaker": rule.speaker,
        "text": text,
        "previous": previous,
        "labels": [label.value for label in rule.labels],
        "forms": [form.value for form in rule.forms],
        "hard": rule.hard,
        "source": "grammar",
    }


def _spoken(rule: Rule, grammar: Grammar, speaking: Speaking, chance: random.Random) -> str:
    manner = grammar.manners[rule.manner]
    text = expand(rule.say, grammar.slots, chance).strip("，")
    if manner.lead and chance.random() < speaking.lead:
        text = expand(chance.choice(manner.lead), grammar.slots, chance) + text
    if manner.tail and not text.endswith("？") and chance.random() < speaking.tail:
        text += expand(chance.choice(manner.tail), grammar.slots, chance)
    if chance.random() < speaking.regional:
        for standard, local in chance.choice(list(grammar.regional.values())).items():
            text = text.replace(standard, local)
    text = re.sub(r"，([，？])", r"\1", text)
    if _ASKS.search(text):
        return text + "？"
    return text if text.endswith(("？", "！", "。")) else text + chance.choice(("。", "。", "。", "！", ""))


def _unpunctuated(text: str, chance: random.Random) -> str:
    """No marks at all, or commas only within."""
    return _MARKS.sub("", text) if chance.random() < 0.7 else re.sub("[。？！]+", "，", text).strip("，")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write utterances spoken from the grammar, and how diverse they are.")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--apart-from", type=Path, default=CORPUS / "calls.jsonl", help="rows that none may be like")
    parser.add_argument("--rules", default="", help="pattern with which a group's name begins")
    parser.add_argument("--split", choices=["train", "dev", "test"], help="only of rules that fall to it")
    parser.add_argument("--alike-from", type=float, default=Speaking().alike_from, help="likeness at which two are one")
    arguments = parser.parse_args()

    grammar = read_grammar()
    rules = [rule for rule in grammar.rules if re.match(arguments.rules, rule.id)]
    grammar = replace(grammar, rules=tuple(rule for rule in rules if arguments.split in (None, rule.split)))
    speaking = Speaking(alike_from=arguments.alike_from)
    with arguments.apart_from.open(encoding="utf-8") as lines:
        apart_from = [json.loads(line)["text"] for line in lines]
    rows = sorted(
        utterances(grammar, arguments.count, arguments.seed, speaking, apart_from),
        key=lambda row: str(row["scenario"]),
    )
    with arguments.out.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    texts = [str(row["text"]) for row in rows]
    sample = random.Random(arguments.seed).sample(texts, min(500, len(texts)))
    for kind in KINDS:
        print(f"{kind.value:<24}{sum(kind.value in row['labels'] for row in rows):>6}")
    compliant = [row for row in rows if not row["labels"]]
    print(f"{'compliant':<24}{len(compliant):>6}, {sum(row['hard'] for row in compliant)} of them hard")
    print(f"{'rules':<24}{len(grammar.rules):>6}, {len({row['scenario'] for row in rows})} of them used")
    print(f"distinct 4-grams        {distinct_ngrams(texts):.3f}")
    print(f"self-BLEU-4 ({len(sample)} texts) {self_bleu(sample):.3f}")
    print(f"near-duplicates (>= 0.8) {near_duplicates(texts):.2%}")


if __name__ == "__main__":
    main()
