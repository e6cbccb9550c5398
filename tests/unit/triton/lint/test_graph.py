"""A graph is read without its weights."""

from tests.fakes.lint_cases import (
    write_graph,
)


def test_the_weights_of_a_graph_are_left_out_and_nothing_else(tmp_path):
    import onnx
    from prep_triton.triton.lint.skeleton import read_skeleton

    folder = write_graph(tmp_path, "one") / "1"
    whole, read = onnx.load(folder / "model.onnx"), onnx.ModelProto.FromString(read_skeleton(folder / "model.onnx"))
    for tensor in whole.graph.initializer:
        tensor.ClearField("raw_data")
        for name in ("float_data", "int64_data", "int32_data"):
            tensor.ClearField(name)
    assert read == whole
