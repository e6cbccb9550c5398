"""Weights beside a graph: onnx and ONNX Runtime read what is written, and no place outside of the folder is read."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from prep_triton.errors import PrecisionError
from prep_triton.external_data import iterate_external
from prep_triton.layout import list_names
from prep_triton.onnx_file import ArrayWeight, is_one_file, load_model, load_without_weights, save_with_weights
from prep_triton.precision.measure.runner import GraphRunner
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.triton.lint.graph import DamagedGraphError, read_signature

from tests.fakes.onnx_bert import make_bert, make_feed, run_onnx


def values_of(model: Any) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A graph with its weights beside it, written by onnx."""
    folder = tmp_path / "whole"
    folder.mkdir()
    save = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 0}
    onnx.save(make_bert(layers=1), folder / "model.onnx", **save)
    return folder / "model.onnx"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_onnx_and_onnx_runtime_read_weights_that_were_written_beside_a_graph(tmp_path, is_streamed):
    expected, model, path = make_bert(), make_bert(), tmp_path / "model.onnx"
    weights = []
    if is_streamed:
        weights = [ArrayWeight(name, array) for name, array in values_of(model).items()]
        del model.graph.initializer[:]
    save_with_weights(model, weights, path, one_file_bytes=4096)
    assert list_names(tmp_path) == ["model.onnx", "model.onnx.data"]
    onnx.checker.check_model(path, full_check=True)
    read = values_of(onnx.load(path))
    assert read.keys() == values_of(expected).keys()
    for name, array in values_of(expected).items():
        np.testing.assert_array_equal(read[name], array)
    onnx.save(expected, tmp_path / "one.onnx")
    np.testing.assert_array_equal(run_onnx(path, make_feed()), run_onnx(tmp_path / "one.onnx", make_feed()))


def test_large_weights_begin_on_a_page_and_small_ones_stay_in_the_graph(tmp_path):
    save_with_weights(make_bert(), (), tmp_path / "model.onnx", one_file_bytes=4096)
    graph = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph
    beside = {tensor.name for tensor in iterate_external(graph)}
    assert beside == {name for name, array in values_of(make_bert()).items() if array.nbytes >= 1024}
    for tensor in iterate_external(graph):
        place = {pair.key: pair.value for pair in tensor.external_data}
        assert place["location"] == "model.onnx.data"
        assert int(place["offset"]) % 4096 == 0


def test_a_graph_that_just_fits_is_one_file_and_holds_what_onnx_writes(tmp_path):
    model = make_bert()
    size = len(model.SerializeToString())
    assert is_one_file(model, one_file_bytes=size)
    assert not is_one_file(model, one_file_bytes=size - 1)
    save_with_weights(model, (), tmp_path / "model.onnx", one_file_bytes=size)
    assert list_names(tmp_path) == ["model.onnx"]
    assert onnx.load(tmp_path / "model.onnx") == model


@pytest.mark.parametrize("load", [load_model, lambda path: load_without_weights(path)[0]])
def test_what_onnx_wrote_beside_a_graph_is_read(whole, load):
    model = load(whole)
    assert not list(iterate_external(model.graph))
    assert [tensor.name for tensor in model.graph.initializer] == list(values_of(make_bert(layers=1)))
    if load is load_model:
        for name, array in values_of(make_bert(layers=1)).items():
            np.testing.assert_array_equal(values_of(model)[name], array)


OUTSIDE = {
    "absolute": "{outside}/model.onnx.data",
    "parent": "../outside/model.onnx.data",
    "through a folder": "inner/../../outside/model.onnx.data",
    "a link": "link.data",
    "through a linked folder": "linked/model.onnx.data",
}


def point_to(path: Path, **place: str) -> None:
    """Change what the first tensor beside a graph says of its place."""
    model = onnx.load(path, load_external_data=False)
    tensor = next(iterate_external(model.graph))
    values = {pair.key: pair.value for pair in tensor.external_data} | place
    del tensor.external_data[:]
    for key, value in values.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def refuse(path: Path) -> set[str]:
    """Return what each reader says of a graph that none of them may take."""
    messages = set()
    for load in (load_model, load_without_weights):
        with pytest.raises(PrecisionError, match="is not a whole ONNX file: it") as caught:
            load(path)
        messages.add(caught.value.message.partition(": ")[2])
    with pytest.raises(DamagedGraphError, match="is not whole: it") as damaged:
        read_signature(path)
    messages.add(str(damaged.value).partition(": ")[2])
    return messages


@pytest.mark.parametrize("location", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_place_outside_of_the_folder_is_never_read(whole, tmp_path, location):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.onnx.data").write_bytes((whole.parent / "model.onnx.data").read_bytes())
    (whole.parent / "inner").mkdir()
    (whole.parent / "link.data").symlink_to(outside / "model.onnx.data")
    (whole.parent / "linked").symlink_to(outside, target_is_directory=True)
    location = location.format(outside=outside)
    point_to(whole, location=location)
    (message,) = refuse(whole)
    assert message == f"it keeps weights in '{location}', which leads out of its folder"
    with pytest.raises(onnx.checker.ValidationError):  # as onnx itself says
        onnx.load(whole)


@pytest.mark.parametrize("location", ["other.data", "", ".", "a\0b", "a" * 5000, "pipe", "circle"])
def test_a_file_that_is_not_there_is_named(whole, location):
    os.mkfifo(whole.parent / "pipe")
    (whole.parent / "circle").symlink_to("circle")
    point_to(whole, location=location)
    (message,) = refuse(whole)
    assert message.startswith(f"it keeps weights in '{location[:4]}".split("\0")[0])
    assert message.endswith("which is not beside it")
    assert len(message) < 400


@pytest.mark.parametrize(
    "place", [{"offset": "-4096"}, {"offset": "x"}, {"length": "9" * 5000}, {"offset": "10000000"}]
)
def test_a_place_that_no_file_has_is_refused(whole, place):
    point_to(whole, **place)
    with pytest.raises(PrecisionError, match="is not a whole ONNX file") as caught:
        load_without_weights(whole)
    assert len(caught.value.message) < 600


def test_a_missing_or_short_file_says_how_much_it_lacks(whole):
    data = whole.parent / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    (message,) = refuse(whole)
    assert message.endswith(f"bytes of weights in 'model.onnx.data', which has {data.stat().st_size}")
    data.unlink()
    (message,) = refuse(whole)
    assert message == "it keeps weights in 'model.onnx.data', which is not beside it"


def test_a_constant_within_a_node_is_held_to_the_same(tmp_path):
    tensor = TensorProto(name="c", dims=[2], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Identity", ["c"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    model = helper.make_model(helper.make_graph(nodes, "main", [], [output]))
    (tmp_path / "secret").write_bytes(bytes(8))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert refuse(folder / "model.onnx") == {"it keeps weights in '../secret', which leads out of its folder"}


def test_a_graph_in_memory_that_no_message_holds_is_opened_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = [TokenRow((3, 4, 5), (0, 0, 0))]
    runners = [GraphRunner.from_proto(make_bert(), one_file_bytes=size) for size in (4096, 2**31 - 1)]
    (left, right) = (next(runner.run_batches(rows, ["last_hidden_state"]))[1][0] for runner in runners)
    np.testing.assert_array_equal(left, right)
    assert not [name for name in list_names(tmp_path) if name.startswith("prep-")]


def test_onnx_runtime_refuses_what_is_refused_here(tmp_path):
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    save_with_weights(make_bert(layers=1), (), path, one_file_bytes=4096)
    path.with_name("model.onnx.data").rename(tmp_path / "secret")
    point_to(path, location="../secret")
    with pytest.raises(Exception, match="escapes model directory"):
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
