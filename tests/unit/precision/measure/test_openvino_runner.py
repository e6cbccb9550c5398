"""Graphs that OpenVINO does not take."""

from pathlib import Path

import pytest
from onnx import TensorProto, helper, save
from prep_triton.errors import PrecisionError
from prep_triton.precision.measure.openvino_runner import OpenVinoRunner


def test_a_graph_that_openvino_refuses_is_one_sentence_with_the_reason(tmp_path: Path):
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    node = helper.make_node("Mystery", ["x"], ["y"], domain="my.company")
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("my.company", 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(PrecisionError) as refused:
        OpenVinoRunner(tmp_path / "m.onnx")
    message = refused.value.message
    assert message.startswith("openvino 20")
    assert message.count("\n") == 0
    assert "Mystery" in message.partition(f"refuses {tmp_path / 'm.onnx'}: ")[2]
