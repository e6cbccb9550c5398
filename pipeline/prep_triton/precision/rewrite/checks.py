"""Which graphs can be rewritten, and what all rewrites know of them."""

from onnx import AttributeProto, ModelProto, TensorProto

from prep_triton.errors import PrecisionError

# The mask constant of a rewritten graph: it gives a softmax weight of exactly 0, and FP16 holds it.
MASK_VALUE = -1e4

_QUANTIZED_OPS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"}
)
_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def check_rewritable(proto: ModelProto, *, allow_quantized: bool = False) -> None:
    """Refuse a graph that the rewrites were not made for.

    Args:
        proto: The graph; its large initializers need not hold their bytes.
        allow_quantized: Accept explicit Q/DQ.

    Raises:
        PrecisionError: The graph is FP16 or quantised already, or holds subgraphs, functions or operators that are
            not ONNX's own.
    """
    export_again = "export the model again with `prep export`"
    if proto.functions:
        raise PrecisionError("the graph holds model-local functions, expected plain operators", hint=export_again)
    for node in proto.graph.node:
        if node.op_type in _QUANTIZED_OPS and not allow_quantized:
            raise PrecisionError(
                f"the graph is quantised already ({node.op_type} '{node.name}'), expected fp32", hint=export_again
            )
        if node.domain not in _STANDARD_DOMAINS:
            raise PrecisionError(
                f"operator {node.domain}.{node.op_type} is not a standard ONNX operator", hint=export_again
            )
        if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
            raise PrecisionError(
                f"{node.op_type} '{node.name}' holds a subgraph, expected a graph without control flow",
                hint=export_again,
            )
    for tensor in proto.graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
            kind = TensorProto.DataType.Name(tensor.data_type)
            raise PrecisionError(f"initializer '{tensor.name}' is {kind} already, expected FLOAT", hint=export_again)
