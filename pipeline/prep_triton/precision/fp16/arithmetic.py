"""An FP16 graph as a GPU computes it: every node rounds what it makes to FP16.

ONNX Runtime's CPU kernels compute an FP16 graph in FP32 from end to end, and so hide what is lost or overflows. Casts
that the graph itself has are kept, so each node is put between them: FP32 inside, FP16 at its ends.
"""

from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto, helper

from prep_triton.onnx_file import load_model
from prep_triton.precision.fp16.graph import infer_types
from prep_triton.precision.measure.runner import GraphRunner

# What has no arithmetic: the type of its output is an attribute.
_TYPED_BY_ATTRIBUTE = frozenset({"Cast", "ConstantOfShape"})


def open_in_half_arithmetic(path: Path) -> GraphRunner:
    """Open an FP16 graph (INT8 with FP16 around it is accepted) so that it answers what FP16 arithmetic gives.

    Raises:
        PrecisionError: The file is not a whole ONNX graph, or ONNX Runtime refuses it.
    """
    proto = load_model(path)
    round_every_node(proto)
    return GraphRunner.from_proto(proto)


def round_every_node(proto: ModelProto) -> None:
    """Let each node of an FP16 graph compute in FP32 and round to FP16, in place.

    Raises:
        PrecisionError: The graph is not valid ONNX.
    """
    inferred = infer_types(proto).graph
    declared = (*inferred.input, *inferred.value_info, *inferred.output)
    halves = {info.name for info in declared if info.type.tensor_type.elem_type == TensorProto.FLOAT16}
    nodes: list[NodeProto] = []
    wide: set[str] = set()
    for node in proto.graph.node:
        if node.op_type in _TYPED_BY_ATTRIBUTE:
            nodes.append(node)
            continue
        for index, name in enumerate(node.input):
            if name in halves:
                if name not in wide:
                    wide.add(name)
                    nodes.append(helper.make_node("Cast", [name], [f"{name}.wide"], to=TensorProto.FLOAT))
                node.input[index] = f"{name}.wide"
        rounded = [name for name in node.output if name in halves]
        node.output[:] = [f"{name}.unrounded" if name in halves else name for name in node.output]
        nodes.append(node)
        nodes += [helper.make_node("Cast", [f"{name}.unrounded"], [name], to=TensorProto.FLOAT16) for name in rounded]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    del proto.graph.value_info[:]
