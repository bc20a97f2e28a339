"""Samples -> what multilingual Whisper's encoder hears in them: a student learns it beside its own task.

Only what the teacher makes of recordings is learnt from; its weights go nowhere.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from pipelines.training.shards import log_mel, scaled
from pipelines.training.whisper_encoder import encode

_SHAPE = WhisperConfig(d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048)


def teacher(weights: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float16]]:
    """A function of samples at 16 kHz: (positions, 512), one every 20 ms, each feature scaled to about one.

    Raises FileNotFoundError if the encoder's safetensors are not there.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing; it is the encoder of openai/whisper-base as safetensors")
    encoder = WhisperEncoder(_SHAPE)
    encoder.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    encoder.eval()

    def hear(samples: NDArray[np.float32]) -> NDArray[np.float16]:
        mel = torch.from_numpy(log_mel(samples)).float().T[None]
        with torch.inference_mode():
            hidden = torch.nn.functional.layer_norm(encode(encoder, scaled(mel)), (512,))
        heard: NDArray[np.float16] = hidden[0].half().numpy()
        return heard

    return hear
