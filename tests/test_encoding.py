from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from models.encoding import LONGEST_INPUT, Encoding

BERT = {"model_type": "bert", "pad_token_id": 0, "type_vocab_size": 2, "max_position_embeddings": 512}
ROBERTA = {"model_type": "xlm-roberta", "pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 66}


def tokenizer() -> Tokenizer:
    entries = ["[PAD]", "<pad>", "[CLS]", "[SEP]", "你", "好", "[UNK]"]
    made = Tokenizer(models.WordLevel({e: i for i, e in enumerate(entries)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def test_pairs_become_arrays_as_long_as_the_longest() -> None:
    arrays = Encoding(tokenizer(), BERT)([("你好", "好"), ("你", "")])
    assert arrays["input_ids"].tolist() == [[2, 4, 5, 3, 5, 3], [2, 4, 3, 3, 0, 0]]
    assert arrays["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]]
    assert arrays["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]


def test_an_encoder_with_one_segment_is_given_one_and_its_own_padding() -> None:
    arrays = Encoding(tokenizer(), ROBERTA)([("你好", "好"), ("你", "")])
    assert not arrays["token_type_ids"].any()
    assert arrays["input_ids"][1].tolist() == [2, 4, 3, 3, 1, 1]


@pytest.mark.parametrize(("config", "longest"), [(BERT, LONGEST_INPUT), (ROBERTA, 64), ({}, LONGEST_INPUT)])
def test_input_is_cut_to_what_the_encoder_has_positions_for(config: dict[str, Any], longest: int) -> None:
    arrays = Encoding(tokenizer(), config)([("你" * 400, "好" * 100)])
    assert arrays["input_ids"].shape == (1, longest)
    assert (arrays["input_ids"] == 5).sum() > 10  # the context is not what falls off


def test_padding_is_found_where_the_configuration_does_not_name_it() -> None:
    assert Encoding(tokenizer(), {})([("你好", ""), ("你", "")])["input_ids"][1, -1] == 0
