"""What a checkpoint declares of its answers."""

import json
from types import SimpleNamespace

import pytest
from prep_triton.export.declared import (
    cuts_beginning,
    find_activation,
    find_labels,
    find_mask_token,
    find_truncation,
)
from transformers import BertConfig

from tests.fakes.architectures import TINY
from tests.fakes.wordpiece import make_tokenizer


@pytest.mark.parametrize(
    ("keys", "activation"),
    [
        ({"num_labels": 3}, "softmax"),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, "softmax"),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, "sigmoid"),
        ({"num_labels": 1}, "sigmoid"),
        ({"num_labels": 1, "problem_type": "regression"}, "none"),
        ({"num_labels": 2, "problem_type": "regression"}, "none"),
    ],
)
def test_activation_is_what_transformers_pipeline_applies(keys, activation):
    model = SimpleNamespace(config=BertConfig(**keys))
    before = dict(model.config.id2label)
    assert find_activation(model) == activation
    assert model.config.id2label == before


def test_labels_are_in_the_order_of_their_index_and_only_for_tasks_that_have_them():
    config = BertConfig(id2label={"1": "b", "0": "a", "2": "c"})
    assert find_labels("token-classification", config, where="it") == ("a", "b", "c")
    assert find_labels("fill-mask", config, where="it") == ()


def test_an_output_without_a_label_keeps_its_number_and_that_is_said(caplog):
    config = BertConfig(id2label={"0": "low", "5": "high"})
    assert find_labels("text-classification", config, where="it") == ("low", "LABEL_1")
    assert "id2label of it names [0, 5], and not [1] of its 2 outputs" in caplog.text


def test_a_label_that_is_null_is_no_label(caplog):
    config = BertConfig(id2label={"0": None, "1": "high"})
    assert find_labels("text-classification", config, where="it") == ("LABEL_0", "high")
    assert "not [0] of its 2 outputs" in caplog.text


@pytest.mark.parametrize(
    ("settings", "direction", "expected"),
    [({}, None, False), ({"truncation_side": "left"}, None, True), ({}, "Left", True), ({}, "Right", False)],
)
def test_which_end_of_a_long_text_is_cut_is_asked_of_the_tokenizer(tmp_path, settings, direction, expected):
    content = json.loads(make_tokenizer().to_str())
    if direction:
        content["truncation"] = {"direction": direction, "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))
    assert cuts_beginning(tmp_path) is expected


@pytest.mark.parametrize(
    ("declared", "truncation"),
    [("OnlySecond", "only_second"), ("OnlyFirst", "only_first"), ("LongestFirst", "longest_first"), (None, None)],
)
def test_truncation_of_a_pair_is_the_tokenizers(tmp_path, declared, truncation):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"truncation": declared and {"strategy": declared, "max_length": 8}}))
    assert find_truncation(tmp_path) == (truncation or "longest_first")
    path.write_text("[")
    assert find_truncation(tmp_path) == find_truncation(None) == "longest_first"


@pytest.mark.parametrize(
    ("kind", "settings", "token"),
    [
        ("bert", {"mask_token": "<mask>"}, "<mask>"),
        ("bert", {"mask_token": {"content": "<m>", "lstrip": True, "__type": "AddedToken"}}, "<m>"),
        ("bert", {}, "[MASK]"),
        ("roberta", {}, "<mask>"),
        ("xlm-roberta", {}, "<mask>"),
    ],
)
def test_mask_token_is_the_librarys_whether_a_file_names_it_or_not(tmp_path, kind, settings, token):
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    if kind != "bert":
        TINY[kind].write_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert find_mask_token(tmp_path) == token
    assert find_mask_token(None) == "[MASK]"
