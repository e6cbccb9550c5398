"""What Triton's OpenVINO backend makes of a configuration."""

import onnx
import pytest
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import ON_CPU, openvino_config, openvino_graph, write_graph
from tests.fakes.lint_helpers import codes, only, target_for


def parameter(name: str, value: str) -> str:
    return f'{ON_CPU}parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


PADDED = parameter("ENABLE_BATCH_PADDING", "YES")


def test_an_entry_of_any_batch_and_length_is_right_and_so_is_its_target(repository):
    openvino_graph("one")(repository)
    for target in (None, target_for(triton="24.10"), target_for(triton="26.07")):
        assert codes(lint_repository(repository, target)) <= {"manifest-missing"}


@pytest.mark.parametrize(
    ("extra", "length", "message"),
    [
        (
            ON_CPU,
            "-1",
            "it refuses every request that does not have just that many rows, and several that make it up",
        ),
        (PADDED, "-1", "it refuses every smaller request, since its padding has no room where a size is -1"),
        (PADDED, "8", "it answers a full batch after a padded one with too few rows (openvino_backend#115)"),
    ],
)
def test_a_static_batch_is_a_warning_that_says_what_becomes_of_requests(repository, extra, length, message):
    config = openvino_config("one", extra, batch=4).replace("dims: [-1]", f"dims: [{length}]")
    write_graph(repository, "one", config)
    finding = only(lint_repository(repository), "batching-static")
    assert finding.message == f"max_batch_size is 4, which OpenVINO's backend makes the only batch: {message}"
    assert (finding.severity, finding.field) == ("warning", "max_batch_size")


def test_a_batch_of_one_is_filled_by_every_row(repository):
    write_graph(repository, "one", openvino_config("one", batch=1))
    assert "batching-static" not in codes(lint_repository(repository))


def test_a_type_that_the_backend_does_not_know_is_an_error(repository):
    write_graph(repository, "one", openvino_config("one").replace("TYPE_FP32", "TYPE_BF16"))
    finding = only(lint_repository(repository), "model-tensor")
    assert finding.message == "'last_hidden_state' is TYPE_BF16, which OpenVINO's backend does not know"
    assert finding.field == "output[0].data_type"


def test_a_size_that_the_graph_leaves_open_may_be_any_of_an_output_too(repository):
    config = openvino_config("one").replace("dims: [-1, -1, 8]", "dims: [-1, 16, 8]")
    write_graph(repository, "one", config)
    assert "model-tensor" not in codes(lint_repository(repository))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ENABLE_BATCH_PADDING", "TRUE", "which the OpenVINO backend takes for NO"),
        ("ENABLE_BATCH_PADDING", "no", None),
        ("RESHAPE_IO_LAYERS", "Yes", None),
        ("HINT_BF16", "NO", "which the OpenVINO backend refuses"),
    ],
)
def test_a_switch_takes_yes_and_reads_every_other_word_as_no(repository, name, value, message):
    write_graph(repository, "one", openvino_config("one", parameter(name, value)))
    errors = [finding.message for finding in lint_repository(repository).errors]
    assert errors == ([f"parameters.{name} is '{value}', {message}"] if message else [])


def test_dims_are_those_of_the_backend_where_it_reshapes_the_graph(repository):
    path = write_graph(repository, "one", openvino_config("one")) / "1" / "model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.input:
        tensor.type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(model, path)
    assert codes(lint_repository(repository), "error") == {"model-tensor"}
    (repository / "one" / "config.pbtxt").write_text(openvino_config("one", parameter("RESHAPE_IO_LAYERS", "YES")))
    assert codes(lint_repository(repository), "error") == set()
