"""A torch model as one small, clean `model.onnx`.

Measured on BERT-base (opset 20, 2 threads, batch 1, onnxruntime 1.32, one run of 15 interleaved calls, medians; the
first row is of another such run, in which TorchScript's took 127.5 and 311.8 ms; export and peak are of one run each):

=====================================  =====  ===========  ===========  ========  ========
graph                                  nodes  seq 128, ms  seq 384, ms  export s  peak MiB
=====================================  =====  ===========  ===========  ========  ========
dynamo, as transformers builds it        393        134.8        338.1      18.1      2764
dynamo, own mask                         375        134.0        324.4      18.8      2725
dynamo, own mask, no value_info: this    375        125.9        302.0      12.1       931
TorchScript (deprecated), own mask       912        124.4        304.0       7.9      2134
=====================================  =====  ===========  ===========  ========  ========

What had made TorchScript's graph faster is what it lacks: without the intermediate shapes onnxruntime does not fuse
Add and LayerNormalization into its slower SkipLayerNormalization. So the dynamo graph is written without them.
Some 40 % of the bare export's seconds, and two thirds of its peak memory, go into copying the weights into one
protobuf message; `save_graph` streams them instead.
"""

import ast
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import onnx
import torch

from pipeline.errors import ExportError
from pipeline.export.checkpoint import silence_vendors
from pipeline.export.heads import HEADS, INPUT_NAMES, OPSET, Architecture

# exp(-1e4) is 0 in FP32 and FP16; transformers' own -3.4e38 is -inf in FP16, and a fully masked row NaN.
MASK_BIAS = -10000.0

# The longest message that protobuf, and so onnxruntime and TensorRT's parser, reads.
MAX_MESSAGE_BYTES = 2**31 - 1

_EXAMPLE_SHAPE = (2, 8)
_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
_WRAPPER = "model."


class ExportedModule(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """A transformers model with the graph's inputs and outputs.

    It makes the additive mask [batch, 1, 1, sequence] itself, which transformers 5 takes as it is
    (`masking_utils._preprocess_mask_arguments`), so no mask subgraph is exported.
    """

    def __init__(self, model: Any, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        """Answer a batch; see `pipeline.export.heads` for the shapes."""
        bias = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASK_BIAS
        more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        answer = self.model(input_ids=input_ids, attention_mask=bias, **more)
        return tuple(getattr(answer, name) for name in self.outputs)


def export_graph(model: Any, architecture: Architecture, task: str) -> Any:
    """Return the ``torch.onnx.ONNXProgram`` of a model, optimized, with dynamic batch and sequence axes.

    Args:
        model: The transformers model, in evaluation mode.
        architecture: It decides the inputs.
        task: It decides the outputs.

    Raises:
        ExportError: torch cannot export it.
    """
    names = INPUT_NAMES[architecture]
    longest = int(model.config.max_position_embeddings)
    batch, sequence = _EXAMPLE_SHAPE[0], min(_EXAMPLE_SHAPE[1], longest)
    example = tuple(torch.full((batch, sequence), int(name == "attention_mask")) for name in names)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=longest)}
    try:
        with silence_vendors(), torch.no_grad():
            return torch.onnx.export(
                ExportedModule(model, HEADS[task].outputs).eval(),
                example,
                dynamic_shapes=tuple(axes for _ in names),
                input_names=list(names),
                output_names=list(HEADS[task].outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
    except Exception as err:  # torch.export and onnxscript raise many types
        reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise ExportError(
            f"torch {torch.__version__} cannot export this model: {reason}",
            hint="compare your torch with the tested version in constraints.txt; PREP_DEBUG=1 shows everything",
        ) from err


def save_graph(program: Any, path: Path) -> int:
    """Write an exported program as one ONNX file, its weights inside.

    The weights go from their tensors straight into the file, so no copy of all of them is ever in memory.

    Args:
        program: What `export_graph` returned.
        path: The file to write.

    Returns:
        The number of nodes.

    Raises:
        ExportError: The file would be longer than protobuf allows.
    """
    skeleton = _skeleton_from_program(program, path.parent)
    weights = {name: value.const_value for name, value in program.model.graph.initializers.items()}
    renamed = _clean_graph(skeleton.graph, weights)
    del skeleton.metadata_props[:]
    nodes = len(skeleton.graph.node)
    with path.open("wb") as stream:
        _write_model(stream, skeleton, {renamed[name]: weight for name, weight in weights.items()})
    return nodes


def _skeleton_from_program(program: Any, folder: Path) -> Any:
    """Return the program's ModelProto without its initializers."""
    handle, name = tempfile.mkstemp(prefix=".skeleton-", suffix=".onnx", dir=folder)
    os.close(handle)
    try:
        program.save(name, include_initializers=False)
        return onnx.load(name, load_external_data=False)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def _clean_graph(graph: Any, weights: Mapping[str, Any]) -> dict[str, str]:
    """Name nodes and weights after their modules, and drop what only a debugger of torch would read.

    torch records stack traces with the paths of this machine in every node. Intermediate shapes go too: see above.

    Returns:
        The new name of each weight.
    """
    renamed = {name: name.removeprefix(_WRAPPER) for name in weights}
    taken: dict[str, int] = {}
    for node in graph.node:
        module = _module_of_node(node)
        if node.op_type == "MatMul" and node.input[1] in weights:  # a Linear's weight, transposed by the exporter
            renamed[node.input[1]] = f"{module}.weight.T"
        node.name = _unique_name(f"{module}/{node.op_type}" if module else node.op_type, taken)
        del node.metadata_props[:]
        node.doc_string = ""
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]
    graph.doc_string = ""
    return renamed


def _module_of_node(node: Any) -> str:
    """Return the dotted path of the module that a node was traced in, empty for the wrapper's own."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES_KEY:
            scopes = ast.literal_eval(entry.value)
            inner = scopes[-2] if len(scopes) > 1 else ""
            return inner.removeprefix(_WRAPPER) if inner.startswith(_WRAPPER) else ""
    return ""


def _unique_name(name: str, taken: dict[str, int]) -> str:
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}_{taken[name]}"


def _write_model(stream: BinaryIO, skeleton: Any, weights: Mapping[str, Any]) -> None:
    """Stream a ModelProto: the skeleton's fields, then the graph, whose last fields are the weights.

    Field numbers are those of onnx.proto; a length-delimited field is its key, its length and its bytes
    (protobuf.dev/programming-guides/encoding).
    """
    headers = {name: _tensor_header(name, weight) for name, weight in weights.items()}
    body = skeleton.graph.SerializeToString()
    length = len(body) + sum(
        _field_length(_INITIALIZER, len(headers[name]) + weight.nbytes) for name, weight in weights.items()
    )
    skeleton.ClearField("graph")
    head = skeleton.SerializeToString()
    if (total := len(head) + _field_length(_GRAPH, length)) > MAX_MESSAGE_BYTES:
        raise ExportError(
            f"the graph would have {total / 2**30:.2f} GiB, and an ONNX file holds at most 2 GiB",
            hint="choose a smaller checkpoint",
        )
    stream.write(head + _field_start(_GRAPH, length) + body)
    for name, weight in weights.items():
        stream.write(_field_start(_INITIALIZER, len(headers[name]) + weight.nbytes) + headers[name])
        stream.write(_little_endian_bytes(weight))


_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_LENGTH_DELIMITED = 2


def _tensor_header(name: str, weight: Any) -> bytes:
    """Return a TensorProto up to where the bytes of its ``raw_data`` begin."""
    tensor = onnx.TensorProto(name=name, dims=list(weight.shape), data_type=int(weight.dtype))
    return bytes(tensor.SerializeToString()) + _field_start(_RAW_DATA, weight.nbytes)


def _little_endian_bytes(weight: Any) -> Any:
    """Return a weight as a buffer in the byte order of ``raw_data``, without a copy where it lies so already."""
    import numpy as np

    array = np.ascontiguousarray(weight.numpy())
    return array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)


def _field_start(number: int, length: int) -> bytes:
    return b"".join((*_varint(number << 3 | _LENGTH_DELIMITED), *_varint(length)))


def _field_length(number: int, length: int) -> int:
    return len(_field_start(number, length)) + length


def _varint(value: int) -> Iterator[bytes]:
    while value > 0x7F:
        yield bytes((value & 0x7F | 0x80,))
        value >>= 7
    yield bytes((value,))
