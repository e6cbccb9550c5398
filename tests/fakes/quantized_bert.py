"""An FP16 graph whose linear layers are quantised by rule of thumb: explicit Q/DQ, weights per channel."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from prep_triton.artifact import OnnxModel, QuantizationRecord
from prep_triton.workspace import Recipe, Workspace


def quantize_linears(model: ModelProto, *, keep_out: Collection[str] = ()) -> ModelProto:
    """Put INT8 weights -> DequantizeLinear and QuantizeLinear -> DequantizeLinear before every MatMul with weights.

    Scales are FP16, per output channel for weights; an activation's is a guess. `keep_out` names MatMul nodes.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and node.name not in keep_out:
            nodes += quantize_product(graph, node, numpy_helper.to_array(weights[node.input[1]]))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def quantize_product(graph: onnx.GraphProto, node: NodeProto, weight: np.ndarray) -> list[NodeProto]:
    """Rewire one MatMul and return the nodes that go before it."""
    prefix = f"{node.name}/int8"
    scales = (np.maximum(np.abs(weight).max(axis=0), 1e-3) / 127).astype(np.float16)
    quantized = np.clip(np.rint(weight / scales.astype(np.float32)), -127, 127).astype(np.int8)
    names = [f"{prefix}/{role}" for role in ("weight", "weight_scale", "scale", "zero")]
    values = (quantized, scales, np.float16(0.05), np.int8(0))
    for name, value in zip(names, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    stored, per_channel, scale, zero = names
    activation = node.input[0]
    node.input[:] = [f"{prefix}/activation", f"{prefix}/dequantized"]
    return [
        helper.make_node("DequantizeLinear", [stored, per_channel], [f"{prefix}/dequantized"], axis=1),
        helper.make_node("QuantizeLinear", [activation, scale, zero], [f"{prefix}/quantized"]),
        helper.make_node("DequantizeLinear", [f"{prefix}/quantized", scale, zero], [f"{prefix}/activation"]),
    ]


def store_quantized(
    workspace: Workspace, fp16: OnnxModel, *, promised: float = 1.0, keep_out: Collection[str] = ()
) -> OnnxModel:
    """Put a quantised graph into a workspace as the INT8 stage would."""
    name = f"{fp16.name.removesuffix('-fp16')}-int8"

    def make(folder: Path) -> dict[str, object]:
        model = quantize_linears(onnx.load(fp16.path("model.onnx")), keep_out=keep_out)
        onnx.save(model, folder / "model.onnx")
        record = QuantizationRecord(scheme="static symmetric W8A8", runtime="tensorrt", linear_flops_share=promised)
        kept = set(OnnxModel.model_fields) - {
            "name", "key", "folder", "files", "spec", "inputs", "tools", "created_at", "precision", "quantization",
        }  # fmt: skip
        return {key: getattr(fp16, key) for key in kept} | {"precision": "int8", "quantization": record}

    spec = {"promised": promised, "keep_out": sorted(keep_out)}
    return workspace.produce(Recipe("precision", name, spec, {"fp16": fp16.key}), OnnxModel, make).artifact
