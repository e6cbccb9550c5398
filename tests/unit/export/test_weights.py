import json
import os
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from prep_triton.errors import SourceError
from prep_triton.export.inert import convert_pickles
from prep_triton.export.weights import check_weights, find_weights, load_state_dict
from safetensors.torch import load_file


def refused(call, *args) -> SourceError:
    with pytest.raises(SourceError) as caught:
        call(*args, where="it")
    return caught.value


def test_folder_without_weights_is_refused(tmp_path):
    error = refused(find_weights, tmp_path)
    assert "no weights: expected model.safetensors" in error.message
    assert "--weights random" in error.hint


@pytest.mark.parametrize(("name", "library"), [("tf_model.h5", "TensorFlow"), ("flax_model.msgpack", "Flax")])
def test_weights_of_another_library_are_refused_without_a_command_that_cannot_work(tmp_path, name, library):
    (tmp_path / name).write_bytes(b"")
    error = refused(find_weights, tmp_path)
    assert f"weights in {name} only" in error.message
    assert library in error.hint
    assert "python -c" not in error.hint


def test_an_adapter_alone_is_named(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    error = refused(find_weights, tmp_path)
    assert "but those of an adapter, adapter_model.safetensors" in error.message
    assert "merge_and_unload" in error.hint


def test_safetensors_win_over_a_pickle(tmp_path):
    for name in ("pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_weights(tmp_path, where="it")] == ["model.safetensors"]


class Payload:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def follow_hint(hint: str) -> None:
    command = re.search(r"python (-m \S+ .+)$", hint)
    assert command
    subprocess.run([sys.executable, *shlex.split(command[1])], check=True, capture_output=True)


def converted(folder: Path) -> dict[str, list[float]]:
    (path,) = find_weights(folder, where="it")
    assert path.name == "model.safetensors"
    return {name: tensor.flatten().tolist() for name, tensor in load_file(path).items()}


def test_pickle_runs_no_code_and_neither_does_the_command_of_the_hint(tmp_path):
    folder, trace = tmp_path / "My checkpoint", tmp_path / "ran"
    folder.mkdir()
    path = folder / "pytorch_model.bin"
    torch.save({"state_dict": {"a": torch.ones(2)}, "step": Payload(trace), "args": Namespace(rate=0.1)}, path)
    before = path.read_bytes()
    error = refused(load_state_dict, (path,))
    assert "without running code" in error.message
    follow_hint(error.hint)
    assert not trace.exists()
    assert converted(folder) == {"a": [1, 1]}
    assert path.read_bytes() == before


def test_pickled_shards_with_tied_weights_become_one_file(tmp_path):
    tied = torch.ones(1, 2)
    shards = {"1": {"a": tied, "b": tied, "args": Namespace()}, "2": {"c": torch.zeros(1), "args": Path("x")}}
    paths = [tmp_path / f"pytorch_model-0000{number}-of-00002.bin" for number in shards]
    for path, content in zip(paths, shards.values(), strict=True):
        torch.save(content, path)
    follow_hint(refused(load_state_dict, tuple(paths)).hint)
    assert converted(tmp_path) == {"a": [1, 1], "b": [1, 1], "c": [0]}


def test_a_pickle_that_calls_the_system_is_not_converted(tmp_path):
    class Call:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    torch.save({"a": torch.ones(1), "step": Call()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"whose module posix is blocked"):
        convert_pickles(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]


def test_a_folder_without_pickles_or_tensors_is_not_converted(tmp_path):
    with pytest.raises(SourceError, match=r"has no pytorch_model.bin"):
        convert_pickles(tmp_path)
    torch.save([Namespace()], tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match="holds no tensors by name"):
        convert_pickles(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {"model.weight": torch.ones(2, 1)}, "epoch": 3},
        {"model_state_dict": {"module.weight": torch.ones(2, 1)}, "optimizer": {"lr": 0.1}},
        {"model": {"module._orig_mod.weight": torch.ones(2, 1)}},
        {"weight": torch.ones(2, 1), "epoch": 3},
    ],
)
def test_tensors_are_found_in_what_training_libraries_write(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    torch.save(content, path)
    weights = load_state_dict((path,), where="it")
    assert weights is not None
    assert list(weights) == ["weight"]


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "module.model.", "base_model.model."])
def test_what_wrappers_put_before_every_name_is_taken_off(tmp_path, prefix):
    from safetensors.torch import save_file

    save_file({f"{prefix}{name}": torch.ones(1) for name in ("a", "b")}, tmp_path / "model.safetensors")
    weights = load_state_dict((tmp_path / "model.safetensors",), where="it")
    assert weights is not None
    assert sorted(weights) == ["a", "b"]


def test_a_name_that_one_weight_has_not_is_no_wrappers(tmp_path):
    from safetensors.torch import save_file

    save_file({"model.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "model.safetensors")
    assert load_state_dict((tmp_path / "model.safetensors",), where="it") is None


def test_weights_in_whole_numbers_are_refused(tmp_path):
    from safetensors.torch import save_file

    tensors = {"a": torch.ones(2, dtype=torch.int8), "position_ids": torch.ones(2, dtype=torch.int64)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert "stores a as I8" in refused(check_weights, (tmp_path / "model.safetensors",)).message


def test_the_hint_for_a_pickled_model_leads_to_its_tensors(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.BatchNorm1d(2))
    torch.save(model, path)
    follow_hint(refused(load_state_dict, (path,)).hint)
    assert converted(tmp_path) == {name: tensor.flatten().tolist() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("content", [b"", b"pickle", b"PK\x03\x04"])
def test_damaged_pickle_is_refused(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    assert "pytorch_model.bin of it cannot be read" in refused(load_state_dict, (path,)).message


def test_pickle_of_a_whole_object_is_refused(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "pytorch_model.bin")
    error = refused(load_state_dict, (tmp_path / "pytorch_model.bin",))
    assert "is no mapping of names to tensors" in error.message


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


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {}}'])
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
