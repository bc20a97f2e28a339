"""Whisper's encoder on sound of any length: for the student that is trained and for the teacher it listens to."""

import torch
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def encode(encoder: WhisperEncoder, mel: torch.Tensor) -> torch.Tensor:
    """(batch, mels, frames) -> (batch, frames / 2, d); transformers' own forward refuses less than 30 s."""
    hidden = torch.nn.functional.gelu(encoder.conv1(mel))
    hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        hidden = layer(hidden, None)
    encoded: torch.Tensor = encoder.layer_norm(hidden)
    return encoded
