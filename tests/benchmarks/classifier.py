"""Utterances a second of the served classifier, beside transformers' pipeline one by one with the same weights."""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator

from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    TextClassificationPipeline,
)

from models.classifier import Classifier
from models.encoding import LONGEST_INPUT
from pipelines.training.dataset import CORPUS, Row, read_folder
from pipelines.training.examples import pair_of


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="bundled/classifier")
    options.add_argument("--seconds", type=float, default=10, help="how long each is timed")
    options.add_argument("--batch", type=int, default=512, help="utterances handed over at once; one call has some 20")
    chosen = options.parse_args()
    rows = [row for row in read_folder(CORPUS) if row.split == "test"]
    classifier = Classifier(chosen.model, device="cpu")
    one_by_one = _pipeline(classifier)

    def serve(part: list[Row]) -> None:
        classifier([row.text for row in part], [row.previous for row in part])

    def pipe(part: list[Row]) -> None:
        for row in part:
            text, context = pair_of(row.text, row.previous)
            one_by_one({"text": text, "text_pair": context})

    served, piped = (_a_second(say, rows, size, chosen.seconds) for say, size in ((serve, chosen.batch), (pipe, 1)))
    print(json.dumps({"served": round(served, 1), "one_by_one": round(piped, 1), "times": round(served / piped, 2)}))


def _a_second(say: Callable[[list[Row]], None], rows: list[Row], size: int, seconds: float) -> float:
    parts = _for_ever(rows, size)
    say(next(parts))  # the first call pays for what is set up only once
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        part = next(parts)
        say(part)
        done += len(part)
    return done / (time.perf_counter() - began)


def _for_ever(rows: list[Row], size: int) -> Iterator[list[Row]]:
    endless = itertools.cycle(rows)
    while True:
        yield list(itertools.islice(endless, size))


def _pipeline(classifier: Classifier) -> TextClassificationPipeline:
    folder = classifier.weights.folder
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")),
        model_max_length=LONGEST_INPUT,
        pad_token="[PAD]",
    )
    model = AutoModelForSequenceClassification.from_pretrained(folder).float().eval()
    return TextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu", top_k=None, truncation=True)


if __name__ == "__main__":
    main()
