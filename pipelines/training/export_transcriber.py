"""Trained recogniser -> CTranslate2 int8 folder that faster-whisper loads like any other Whisper."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from ctranslate2.converters import TransformersConverter
from ctranslate2.specs import WhisperSpec
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperForConditionalGeneration

from pipelines.training.new_folder import OutTaken, check_free, written_whole
from pipelines.training.recogniser import SPECIAL, Recogniser, Vocabulary, configuration, load_weights

# CTranslate2 takes a model for multilingual when its vocabulary holds the empty string.
_BEFORE_TEXT_ENDS = ("", "<unk>")
_SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
_TIMESTAMPS = tuple(f"<|{i * 0.02:.2f}|>" for i in range(1_501))
_NEVER = -1e4  # logit of an entry that was not trained


def layout(characters: list[str]) -> list[str]:
    """All entries in Whisper's order: text, special, timestamps; faster-whisper tells them apart by it."""
    return [*characters, *_BEFORE_TEXT_ENDS, *_SPECIAL, *_TIMESTAMPS]


class _Converter(TransformersConverter):
    """Gives the entries that were not trained a bias under which none is ever chosen."""

    def __init__(self, folder: str, bias: torch.Tensor) -> None:
        super().__init__(folder)
        self._bias = bias

    def _load(self) -> WhisperSpec:
        spec = super()._load()
        spec.decoder.projection.bias = self._bias.numpy()
        return spec


def export(model: Recogniser, vocabulary: Vocabulary, out: Path, heads: list[tuple[int, int]]) -> None:
    """`heads`: (layer, head) of the decoder's cross-attention that follow the sound best, for word times.

    Raises OutTaken.
    """
    entries = layout(vocabulary.characters)
    place = {entry: i for i, entry in enumerate(entries)}
    trained = [place[entry] for entry in (*SPECIAL, *vocabulary.characters)]
    config = configuration(len(entries))
    config.update(
        {
            "bos_token_id": place["<|startoftranscript|>"],
            "eos_token_id": place["<|endoftext|>"],
            "pad_token_id": place["<|endoftext|>"],
            "decoder_start_token_id": place["<|startoftranscript|>"],
        }
    )
    spread = WhisperForConditionalGeneration(config)
    state = model.whisper.state_dict()
    compact = state["model.decoder.embed_tokens.weight"]
    wide = torch.zeros(len(entries), compact.shape[1])
    wide[trained] = compact
    spread.load_state_dict({**state, "model.decoder.embed_tokens.weight": wide, "proj_out.weight": wide}, strict=True)
    spread.generation_config = GenerationConfig(
        suppress_tokens=[], begin_suppress_tokens=[place["<|endoftext|>"]], alignment_heads=[list(h) for h in heads],
        lang_to_id={"<|en|>": place["<|en|>"], "<|zh|>": place["<|zh|>"]},
    )  # fmt: skip
    convert(spread, entries, trained, out)


def convert(whisper: WhisperForConditionalGeneration, entries: list[str], chosen: Sequence[int], out: Path) -> None:
    """Writes the folder. `entries`: the whole vocabulary; `chosen`: those of them that may ever be decoded.

    Raises OutTaken.
    """
    bias = torch.full((len(entries),), _NEVER)
    bias[list(chosen)] = 0.0
    with tempfile.TemporaryDirectory() as folder, written_whole(out) as unfinished:
        whisper.save_pretrained(folder)
        tokenizer = _tokenizer(entries)
        tokenizer.save_pretrained(folder)
        _Converter(folder, bias).convert(str(unfinished), quantization="int8")
        (unfinished / "tokenizer.json").write_text(_tokenizer_json(entries), "utf8")
        features = {"feature_size": whisper.config.num_mel_bins, "sampling_rate": 16_000}
        (unfinished / "preprocessor_config.json").write_text(json.dumps(features) + "\n")


def _tokenizer_json(entries: list[str]) -> str:
    """Special entries are found whole; text falls into characters."""
    tokenizer = Tokenizer(models.WordLevel({entry: i for i, entry in enumerate(entries)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(entry, special=True, normalized=False) for entry in _SPECIAL])
    return str(tokenizer.to_str())


def _tokenizer(entries: list[str]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json(entries)), unk_token="<unk>", eos_token="<|endoftext|>"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heads", default="1.0,2.0", help="layer.head,…")
    options = parser.parse_args()
    try:
        check_free(options.out)
    except OutTaken as taken:
        parser.error(str(taken))
    words = Vocabulary.load(options.vocabulary)
    recogniser = Recogniser(configuration(len(words)), len(words.syllables))
    load_weights(recogniser, options.weights)
    pairs = [(int(layer), int(head)) for layer, head in (pair.split(".") for pair in options.heads.split(","))]
    export(recogniser, words, options.out, pairs)


if __name__ == "__main__":
    main()
