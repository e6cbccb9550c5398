import json
from pathlib import Path

import pytest
from prep_triton.errors import SourceError
from prep_triton.export import folder as room
from prep_triton.export.folder import (
    check_config,
    check_weights,
    digest_config,
    find_vocabulary,
    find_weights,
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
        ({"model_type": "roberta"}, "'roberta' model; supported are bert and distilbert", "BERT or DistilBERT"),
        ({}, "'None' model", "model_type"),
        ({"model_type": ["bert"]}, "supported are bert and distilbert", "model_type"),
        ({"model_type": "bert", "is_decoder": True}, "decoder", "is_decoder"),
        ({"model_type": "bert", "add_cross_attention": True}, "decoder", "is_decoder"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "'relative_key'", "absolute"),
        ({"model_type": "bert", "quantization_config": {"bits": 4}}, "quantized weights", "quantized from"),
    ],
)
def test_unsupported_configuration_is_refused(config, message, hint):
    with pytest.raises(SourceError) as caught:
        check_config(config, where="it")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_supported_configurations_pass():
    assert check_config({"model_type": "bert", "position_embedding_type": "absolute"}, where="it") == "bert"
    assert check_config({"model_type": "distilbert"}, where="it") == "distilbert"


def test_folder_without_weights_is_refused(tmp_path):
    error = refused(find_weights, tmp_path)
    assert "no weights: expected model.safetensors" in error.message
    assert "--weights random" in error.hint


def test_pickle_is_never_read_and_the_hint_says_how_to_convert(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    error = refused(find_weights, tmp_path)
    assert "pytorch_model.bin only; prep reads model.safetensors and never unpickles" in error.message
    assert "save_pretrained" in error.hint


def write_index(folder: Path, *names: str) -> None:
    weight_map = {f"tensor{index}": name for index, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_found(tmp_path):
    write_index(tmp_path, "b.safetensors", "a.safetensors", "b.safetensors")
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_weights(tmp_path, where="it")] == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("name", ["missing.safetensors", "../outside.safetensors"])
def test_missing_or_outside_shard_is_refused(tmp_path, name):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "outside.safetensors").write_bytes(b"")
    write_index(folder, name)
    assert f"lacks the weight file '{name}'" in refused(find_weights, folder).message


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}'])
def test_damaged_index_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert "index.json of it is damaged" in refused(find_weights, tmp_path).message


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1])
def test_truncated_weights_are_refused_with_their_size(tmp_path, keep):
    import numpy as np
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    save_file({"a": np.ones((8, 8), np.float32)}, path)
    check_weights((path,), where="it")
    content = path.read_bytes()[:keep]
    path.write_bytes(content)
    error = refused(check_weights, (path,))
    assert f"model.safetensors of it is truncated or damaged ({len(content)} bytes)" in error.message
    assert "again" in error.hint


def test_lfs_pointer_gets_the_command_that_fetches_the_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    error = refused(check_weights, (path,))
    assert "Git LFS pointer" in error.message
    assert "git lfs pull" in error.hint


def test_tokenizer_json_wins_over_the_vocabulary_and_neither_is_refused(tmp_path):
    error = refused(find_vocabulary, tmp_path)
    assert "vocabulary missing" in error.message
    assert "tokenizer" in error.hint
    (tmp_path / "vocab.txt").write_text("[PAD]")
    assert find_vocabulary(tmp_path, where="it").name == "vocab.txt"
    (tmp_path / "tokenizer.json").write_text("{}")
    assert find_vocabulary(tmp_path, where="it").name == "tokenizer.json"


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
