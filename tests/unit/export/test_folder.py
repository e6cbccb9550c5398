import os

import pytest
from prep_triton.errors import SourceError
from prep_triton.export import folder as room
from prep_triton.export.folder import (
    architecture_from_config,
    digest_config,
    find_vocabulary,
    load_config,
)


def refused(call, *args) -> SourceError:
    with pytest.raises(SourceError) as caught:
        call(*args, where="it")
    return caught.value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no config.json"),
        (b"{nope", "config.json of it is not JSON"),
        (b"\xff\xfe", "config.json of it is not JSON"),
        (b"[1]", "holds a JSON list, expected an object"),
    ],
)
def test_config_that_is_not_one_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    error = refused(load_config, tmp_path)
    assert message in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"model_type": "albert"}, "'albert' model; supported are bert, distilbert", "nearest is bert"),
        ({"model_type": "distilroberta"}, "supported are bert, distilbert", "nearest is distilbert"),
        ({"model_type": "t5"}, "'t5' model; supported are bert, distilbert", "a checkpoint of BERT, DistilBERT"),
        ({"model_type": "BERT", "architectures": ["BertModel"]}, "a 'BERT' model", 'write "model_type": "bert"'),
        (
            {"model_type": "nomic_bert", "auto_map": {"AutoModel": "m.X"}, "architectures": ["BertModel"]},
            "a 'nomic_bert' model, whose code it brings itself (auto_map); supported are",
            "the nearest is",
        ),
        (
            {"model_type": "bert", "auto_map": {"AutoModelForMaskedLM": "m.X"}},
            "code of its own for its model (auto_map: AutoModelForMaskedLM is 'm.X'), which prep does not run",
            "trust_remote_code",
        ),
        ({"model_type": "bert", "type_vocab_size": 0}, "type_vocab_size 0, expected a whole number of 1", "saved with"),
        ({}, "has no model_type", '"model_type": "bert"'),
        ({"architectures": ["DistilBertModel"]}, "has no model_type", '"model_type": "distilbert"'),
        (
            {"model_type": "roberta", "pad_token_id": None},
            "pad_token_id None; RoBERTa counts positions from it, and has 512 of them",
            "<pad>",
        ),
        (
            {"model_type": "camembert", "pad_token_id": 7, "max_position_embeddings": 8},
            "pad_token_id 7; CamemBERT counts positions from it, and has 8 of them",
            "<pad>",
        ),
        (
            {"model_type": "xlm-roberta", "pad_token_id": 1, "max_position_embeddings": 2},
            "pad_token_id 1; XLM-RoBERTa counts positions from it, and has 2 of them",
            "write the max_position_embeddings that it was saved with",
        ),
        (
            {"model_type": "mpnet", "relative_attention_num_buckets": 16},
            "relative_attention_num_buckets 16; MPNet's classes read 32, whatever it says",
            "trained",
        ),
        ({"model_type": "electra", "embedding_size": 0}, "embedding_size 0, expected", "saved with"),
        ({"model_type": "bert", "num_hidden_layers": 0}, "num_hidden_layers 0, expected", "saved with"),
        ({"model_type": "bert", "num_hidden_layers": -1}, "num_hidden_layers -1, expected", "saved with"),
        ({"model_type": "bert", "hidden_size": "768"}, "hidden_size '768', expected", "saved with"),
        ({"model_type": "bert", "vocab_size": None}, "vocab_size None, expected", "saved with"),
        ({"model_type": "bert", "pruned_heads": {"0": [1]}}, "pruned attention heads", "pruned_heads"),
        ({"model_type": ["bert"]}, "supported are bert, distilbert", "model_type"),
        ({"model_type": "bert", "is_decoder": True}, "decoder", "is_decoder"),
        ({"model_type": "bert", "add_cross_attention": True}, "decoder", "add_cross_attention"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "'relative_key'", "absolute"),
        ({"model_type": "bert", "quantization_config": {"bits": 4}}, "quantized weights", "quantized from"),
    ],
)
def test_unsupported_configuration_is_refused(config, message, hint):
    with pytest.raises(SourceError) as caught:
        architecture_from_config(config, where="it")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_supported_configurations_pass():
    assert architecture_from_config({"model_type": "bert", "position_embedding_type": "absolute"}, where="it") == "bert"
    assert architecture_from_config({"model_type": "distilbert", "type_vocab_size": 0}, where="it") == "distilbert"


def test_tokenizer_json_wins_over_the_vocabulary_and_neither_is_refused(tmp_path):
    error = refused(find_vocabulary, tmp_path)
    assert "vocabulary missing" in error.message
    assert "tokenizer" in error.hint
    (tmp_path / "vocab.txt").write_text("[PAD]")
    assert find_vocabulary(tmp_path, where="it").name == "vocab.txt"
    (tmp_path / "tokenizer.json").write_text("{}")
    assert find_vocabulary(tmp_path, where="it").name == "tokenizer.json"


def test_config_that_may_not_be_read_is_not_called_broken_json(tmp_path):
    (tmp_path / "config.json").mkdir()
    error = refused(load_config, tmp_path)
    assert "config.json cannot be read: Is a directory" in error.message


def test_config_that_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    assert "it is a pipe or a device" in refused(load_config, tmp_path).message
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert "it is a pipe or a device" in refused(load_config, tmp_path).message


def test_config_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert "config.json of it is not JSON" in refused(load_config, tmp_path).message


def test_config_digest_does_not_follow_the_order_of_keys():
    assert digest_config({"a": 1, "b": 2}) == digest_config({"b": 2, "a": 1})
    assert digest_config({"a": 1}) != digest_config({"a": 2})


def test_unreadable_folder_is_refused(tmp_path, monkeypatch):
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (tmp_path / name).write_text("{}")

    def fail(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(room, "digest_file", fail)
    error = refused(room.digest_folder, tmp_path)
    assert "cannot be read" in error.message
    assert "permissions" in error.hint
