"""A small BERT written node by node, with the operators that the export stage writes, and its artifact."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from prep_triton.artifact import OnnxModel, TensorSpec
from prep_triton.reference import save_reference
from prep_triton.workspace import Recipe, Workspace

HIDDEN, HEADS, VOCAB, POSITIONS = 32, 2, 97, 64
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Graph:
    """Collects nodes and seeded weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        name = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, name: str, value: object, dtype: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, self.rng.normal(0.0, 0.2, shape))

    def norm(self, name: str, value: str) -> str:
        scale = self.constant(f"{name}.weight", self.rng.normal(1.0, 0.1, HIDDEN))
        return self.node("LayerNormalization", value, scale, self.weight(f"{name}.bias", HIDDEN), epsilon=1e-12)

    def linear(self, name: str, value: str, size_in: int, size_out: int) -> str:
        product = self.node("MatMul", value, self.weight(f"{name}.weight", size_in, size_out))
        return self.node("Add", product, self.weight(f"{name}.bias", size_out))


def make_bert(*, layers: int = 2, mask_value: float = -1e4, seed: int = 0) -> ModelProto:
    """Build a BERT body: INT64 [batch, sequence] inputs, FP32 [batch, sequence, 32] output, opset 20."""
    graph = Graph(seed)
    embedded = graph.node("Gather", graph.weight("words", VOCAB, HIDDEN), "input_ids")
    typed = graph.node("Gather", graph.weight("types", 2, HIDDEN), "token_type_ids")
    hidden = graph.norm("embedding_norm", graph.node("Add", embedded, typed))
    wide = graph.node("Unsqueeze", "attention_mask", graph.constant("mask_axes", [1, 2], np.int64))
    dropped = graph.node("Sub", graph.constant("one", 1.0), graph.node("Cast", wide, to=TensorProto.FLOAT))
    mask = graph.node("Mul", dropped, graph.constant("mask_value", mask_value))
    for layer in range(layers):
        hidden = add_layer(graph, f"layer{layer}", hidden, mask)
    graph.node("Identity", hidden, output="last_hidden_state")
    axes = ["batch", "sequence"]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "bert",
            [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in INPUTS],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*axes, HIDDEN])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def add_layer(graph: Graph, name: str, hidden: str, mask: str) -> str:
    """Add one encoder layer and return its output's name."""
    split = graph.constant(f"{name}.split", [0, 0, HEADS, HIDDEN // HEADS], np.int64)
    joined = graph.constant(f"{name}.joined", [0, 0, HIDDEN], np.int64)

    def project(role: str, perm: list[int]) -> str:
        heads = graph.node("Reshape", graph.linear(f"{name}.{role}", hidden, HIDDEN, HIDDEN), split)
        return graph.node("Transpose", heads, perm=perm)

    query, key = project("query", [0, 2, 1, 3]), project("key", [0, 2, 3, 1])
    scores = graph.node("Mul", graph.node("MatMul", query, key), graph.constant(f"{name}.scale", 0.25))
    weights = graph.node("Softmax", graph.node("Add", scores, mask), axis=-1)
    context = graph.node("MatMul", weights, project("value", [0, 2, 1, 3]))
    flat = graph.node("Reshape", graph.node("Transpose", context, perm=[0, 2, 1, 3]), joined)
    attended = graph.norm(f"{name}.norm1", graph.node("Add", graph.linear(f"{name}.out", flat, HIDDEN, HIDDEN), hidden))
    inner = graph.node("Gelu", graph.linear(f"{name}.up", attended, HIDDEN, 2 * HIDDEN))
    down = graph.linear(f"{name}.down", inner, 2 * HIDDEN, HIDDEN)
    return graph.norm(f"{name}.norm2", graph.node("Add", down, attended))


def change_weight(proto: ModelProto, name: str, edit: Callable[[np.ndarray], object]) -> ModelProto:
    """Edit one weight of a graph."""
    (tensor,) = [weight for weight in proto.graph.initializer if weight.name == name]
    array = numpy_helper.to_array(tensor).copy()
    edit(array)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return proto


def write_reference(graph: Path, path: Path, *, rows: int = 6, length: int = 12) -> None:
    """Write what a graph itself answers to seeded rows of unequal length, in PyTorch's place."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feed = make_feed(rows=rows + 1, length=length, with_types=len(session.get_inputs()) > 2)
    feed = {name: array[:rows] for name, array in feed.items()}  # the last one is wholly masked
    (answer,) = session.run(None, feed)
    save_reference(path, feed, {session.get_outputs()[0].name: answer}, [""] * rows)


def store_model(workspace: Workspace, source: ModelProto | Path, *, name: str = "tiny") -> OnnxModel:
    """Put a graph into a workspace as the export stage would."""

    def make(folder: Path) -> dict[str, object]:
        path = folder / "model.onnx"
        if isinstance(source, Path):
            path.hardlink_to(source)
        else:
            onnx.save(source, path)
        write_reference(path, folder / "reference.npz")
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        graph = onnx.load(path, load_external_data=False).graph
        return {
            "architecture": "bert",
            "task": "feature-extraction",
            "weights": "hub",
            "source": "a test",
            "precision": "fp32",
            "opset": 20,
            "model_inputs": tuple(
                TensorSpec(name=info.name, dtype="INT64", shape=("batch", "sequence")) for info in graph.input
            ),
            "model_outputs": tuple(
                TensorSpec(
                    name=info.name,
                    dtype="FP32",
                    shape=("batch", "sequence", info.type.tensor_type.shape.dim[2].dim_value),
                )
                for info in graph.output
            ),
            "max_sequence_length": POSITIONS,
            "vocab_size": VOCAB,
            "parameters": 1,
        }

    return workspace.produce(Recipe(stage="export", name=name, spec={"test": name}), OnnxModel, make).artifact


def make_feed(*, rows: int = 4, length: int = 24, vocab: int = VOCAB, with_types: bool = True) -> dict[str, np.ndarray]:
    """Draw inputs whose rows are padded to different lengths; one row is wholly masked."""
    rng = np.random.default_rng(1)
    mask = np.ones((rows, length), np.int64)
    for row in range(1, rows):
        mask[row, length // (row + 1) :] = 0
    mask[-1] = 0
    feed = {"input_ids": rng.integers(0, vocab, (rows, length)), "attention_mask": mask}
    return feed | {"token_type_ids": np.zeros_like(mask)} if with_types else feed


def run_onnx(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a graph in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def smallest_cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Return the smallest cosine between the vectors of two equal-shaped arrays, in double precision."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    return float(((a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))).min())
