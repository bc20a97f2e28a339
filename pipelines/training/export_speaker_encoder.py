"""The speaker encoder that the package Resemblyzer ships -> models/bundled/speakers, for ONNX Runtime.

Resemblyzer itself is not a dependency: it imports a module that SciPy has removed, and brings librosa and numba.
"""

import argparse
import json
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from models.speakers import MELS, WIDTH, WINDOW_FRAMES

LAYERS = 3
_WEIGHTS = "resemblyzer/pretrained.pt"
_LICENCE = "Resemblyzer-0.1.4.dist-info/LICENSE"
CARD = {
    "version": "1",
    "what": "Speaker encoder: three LSTM layers of 256, one unit vector of 256 for 1.6 s of speech",
    "made_by": "pipelines/training/export_speaker_encoder.py",
    "source": "Resemblyzer 0.1.4 by Resemble AI, https://github.com/resemble-ai/Resemblyzer, Apache-2.0; "
    "its licence lies beside. The weights as they were, in the layout of ONNX",
    "trained_on": "people, mostly speaking English; nothing was trained by this project",
    "fit_for": "telling two speakers of one call apart",
    "not_fit_for": "recognising who a person is",
}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, WIDTH, LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mel: Tensor) -> Tensor:
        """(windows, frames, MELS) -> (windows, WIDTH), unit vectors."""
        _, (hidden, _) = self.lstm(mel)
        return nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)


def export(wheel: Path, out: Path) -> None:
    """`wheel`: Resemblyzer-0.1.4-py3-none-any.whl as `pip download --no-deps resemblyzer==0.1.4` gives it."""
    with zipfile.ZipFile(wheel) as package, tempfile.TemporaryDirectory() as folder:
        state = torch.load(package.extract(_WEIGHTS, folder), map_location="cpu", weights_only=True)["model_state"]
        encoder = Encoder().eval()
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
        out.mkdir(parents=True, exist_ok=True)
        # Not int8: with mel power that is not a logarithm, one loud window of a batch coarsens all others'.
        torch.onnx.export(
            encoder,
            (torch.zeros(2, WINDOW_FRAMES, MELS),),
            str(out / "encoder.onnx"),
            input_names=["mel"],
            output_names=["embedding"],
            dynamic_axes={"mel": {0: "windows"}, "embedding": {0: "windows"}},
            dynamo=False,  # the newer exporter unrolls the LSTM
        )
        (out / "LICENSE").write_bytes(package.read(_LICENCE))
    (out / "card.json").write_text(json.dumps(CARD, indent=1, ensure_ascii=False) + "\n", "utf8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path("models/bundled/speakers"))
    options = parser.parse_args()
    export(options.wheel, options.out)
