"""Pairs of texts -> the arrays that an encoder of any family takes, the same in training and in service."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

LONGEST_INPUT = 160  # tokens
INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # a model may take fewer

Arrays = dict[str, NDArray[np.int64]]

_FALLBACK_PADS = ("[PAD]", "<pad>")


class Encoding:
    """Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
        """`config`: what the model's config.json says. Changes the tokenizer's padding and truncation."""
        pad = _pad_id(tokenizer, config)
        tokenizer.enable_padding(pad_id=pad, pad_token=tokenizer.id_to_token(pad) or "[PAD]")
        tokenizer.enable_truncation(_longest(config, pad), strategy="longest_first")
        self._tokenizer = tokenizer
        self._last_segment = max(0, int(config.get("type_vocab_size") or 0) - 1)  # RoBERTa and kin know only one

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> Arrays:
        """Arrays (pairs, tokens of the longest), one for each of INPUTS."""
        encoded = self._tokenizer.encode_batch(list(pairs))
        return {
            "input_ids": np.array([e.ids for e in encoded], np.int64),
            "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
            "token_type_ids": np.minimum(np.array([e.type_ids for e in encoded], np.int64), self._last_segment),
        }


def _pad_id(tokenizer: Tokenizer, config: Mapping[str, Any]) -> int:
    if config.get("pad_token_id") is not None:
        return int(config["pad_token_id"])
    known = (tokenizer.token_to_id(token) for token in _FALLBACK_PADS)
    return next((pad for pad in known if pad is not None), 0)


def _longest(config: Mapping[str, Any], pad: int) -> int:
    positions = int(config.get("max_position_embeddings") or LONGEST_INPUT)
    if "roberta" in str(config.get("model_type")) or config.get("model_type") == "camembert":
        positions -= pad + 1  # their positions begin after the padding's
    return min(LONGEST_INPUT, positions)
