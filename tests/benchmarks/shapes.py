"""Real-time factor by the shape of the recogniser, beside bare faster-whisper: speed needs no training.

Weights are random, and every window is decoded to the same number of tokens.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from tests.benchmarks.long_calls import write_long_call
from tests.benchmarks.processes import output_of

_TOKENS = 100  # a window; 30 s of talk with pauses hold about as many characters
_RATIO_AT_MOST = 1.05
_CHARACTERS = (range(0x4E00, 0x9FFF), range(0x3400, 0x4DBF), range(0x20000, 0x2A6DF))


@dataclass(frozen=True, slots=True)
class Shape:
    """As openai/whisper published them; heads are 64 wide, feed-forward layers four times the model."""

    width: int
    encoder_layers: int
    decoder_layers: int
    mels: int = 80
    entries: int = 51_865


SHAPES = {
    "tiny": Shape(384, 4, 4),
    "small": Shape(768, 12, 12),
    "large-v3-turbo": Shape(1_280, 32, 4, mels=128, entries=51_866),
}


def add_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("--minutes", type=float, default=2, help="length of the call that is timed")
    options.add_argument("--shapes", nargs="+", choices=["bundled", *SHAPES], default=["bundled", *SHAPES])


def run(chosen: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        call = write_long_call(Path(scratch), 60 * chosen.minutes)
        for name in chosen.shapes:
            model = ()
            if name != "bundled":
                folder = Path(scratch) / name
                output_of("tests.benchmarks.shapes", name, folder)
                model = ("--model", str(folder), "--tokens", str(_TOKENS))
            took = json.loads(output_of("tests.benchmarks.speed", call, "--sequential", *model))
            ratio = took["pipeline_s"] / took["bare_s"]
            missed = "" if ratio <= _RATIO_AT_MOST else ", missed"
            print(
                f"{name}: real-time factor {took['pipeline_s'] / 60 / chosen.minutes:.3f}, "
                f"{ratio:.2f} times bare faster-whisper in batches (aim: at most {_RATIO_AT_MOST}{missed}), "
                f"{took['pipeline_s'] / took['sequential_s']:.2f} times bare sequential",
                flush=True,
            )


def write_random_model(shape: Shape, out: Path) -> None:
    """A CTranslate2 int8 folder of Whisper's shape and vocabulary size that decodes characters by chance."""
    import torch  # noqa: PLC0415 - the process that only prints needs no gigabyte
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration  # noqa: PLC0415

    from pipelines.training.export_transcriber import convert, layout  # noqa: PLC0415

    texts = shape.entries - len(layout([]))
    entries = layout([chr(code) for code in islice(chain(*_CHARACTERS), texts)])
    end, start = entries.index("<|endoftext|>"), entries.index("<|startoftranscript|>")
    torch.manual_seed(0)
    whisper = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=shape.entries, d_model=shape.width, num_mel_bins=shape.mels,
            encoder_layers=shape.encoder_layers, decoder_layers=shape.decoder_layers,
            encoder_attention_heads=shape.width // 64, decoder_attention_heads=shape.width // 64,
            encoder_ffn_dim=4 * shape.width, decoder_ffn_dim=4 * shape.width,
            pad_token_id=end, bos_token_id=start, eos_token_id=end, decoder_start_token_id=start,
        )
    )  # fmt: skip
    whisper.generation_config = GenerationConfig(
        suppress_tokens=[], begin_suppress_tokens=[end], alignment_heads=[[shape.decoder_layers - 1, 0]],
        lang_to_id={"<|en|>": entries.index("<|en|>"), "<|zh|>": entries.index("<|zh|>")},
    )  # fmt: skip
    convert(whisper, entries, range(texts), out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    write_random_model(SHAPES[asked.shape], asked.out)
