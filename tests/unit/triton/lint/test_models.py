"""A configuration against its graph."""

import pytest
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import (
    GRAPH_TENSORS,
    ONNXRUNTIME_CASES,
    graph_config,
    write_graph,
)
from tests.fakes.lint_helpers import codes, only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("token_type_ids", "segment_ids"), "has no input 'segment_ids'"),
        (("TYPE_INT64", "TYPE_INT32"), "is TYPE_INT32 here and TYPE_INT64"),
        (("[-1, 8]", "[-1, 9]"), "has the dims [-1, 9], 1/model.onnx gives [-1, 8]"),
        (("[-1, 8]", "[4, 8]"), "has the dims [4, 8]"),
        (("[-1, 8]", "[-1, -1, 8]"), "has the dims [-1, -1, 8]"),
        (('name: "last_hidden_state"', 'name: "logits"'), "has no output 'logits'"),
        ((',\n  { name: "token_type_ids" data_type: TYPE_INT64 dims: [-1] }', ""), "needs the inputs token_type_ids"),
    ],
)
def test_a_config_that_is_not_the_graphs_is_an_error(repository, change, message):
    assert change[0] in GRAPH_TENSORS
    write_graph(repository, "one", graph_config("one", tensors=GRAPH_TENSORS.replace(*change)))
    findings = [finding for finding in lint_repository(repository).errors if finding.code == "model-tensor"]
    assert any(message in finding.message for finding in findings)


# onnxruntime_backend, src/onnxruntime.cc, ValidateInputs and ValidateOutputs; tests/integration/test_triton_lint.py
# holds the server's stand-in to the same cases.
@pytest.mark.parametrize("case", ONNXRUNTIME_CASES, ids=lambda case: case.name)
def test_what_the_onnxruntime_backend_refuses_is_an_error_at_its_field(repository, case):
    write_graph(repository, "one", graph_config("one", tensors=case.tensors))
    assert only(lint_repository(repository), "model-tensor").field == case.field


def test_a_reshape_to_the_graphs_rank_is_right(repository):
    tensors = GRAPH_TENSORS.replace("dims: [-1, 8]", "dims: [-1, 2, 4] reshape { shape: [-1, 8] }")
    write_graph(repository, "one", graph_config("one", tensors=tensors))
    assert lint_repository(repository).errors == ()


def test_a_narrower_input_than_the_graphs_is_right(repository):
    tensors = GRAPH_TENSORS.replace("TYPE_INT64 dims: [-1]", "TYPE_INT64 dims: [16]")
    write_graph(repository, "one", graph_config("one", tensors=tensors))
    assert lint_repository(repository).errors == ()


def test_a_graph_that_is_never_batched_is_a_warning(repository):
    tensors = GRAPH_TENSORS.replace("dims: [-1", "dims: [-1, -1")
    write_graph(repository, "one", graph_config("one", tensors=tensors, batch=0))
    report = lint_repository(repository)
    assert report.errors == ()
    assert "the server never batches" in only(report, "batching-useless").message


def test_a_batch_on_a_graph_without_batch_axis_is_an_error(repository, tmp_path):
    import onnx

    folder = write_graph(repository, "one")
    graph = onnx.load(folder / "1" / "model.onnx")
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(graph, folder / "1" / "model.onnx")
    finding = only(lint_repository(repository), "model-batch-axis")
    assert "has no batch axis in input_ids" in finding.message


@pytest.mark.parametrize("state", ["missing", "short", "whole"])
def test_weights_beside_a_graph_have_to_be_whole(repository, state):
    import onnx

    folder = write_graph(repository, "one") / "1"
    graph = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    onnx.save(graph, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    weights = folder / "model.onnx.data"
    if state == "missing":
        weights.unlink()
    elif state == "short":
        weights.write_bytes(weights.read_bytes()[:-1])
    assert ("model-damaged" in codes(lint_repository(repository))) == (state != "whole")
