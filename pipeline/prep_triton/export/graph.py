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
Since then, four nodes more refuse negative ids: 3 us of the 50 of a BERT of 2 layers of 32 at 16 tokens, on one thread.
Some 40 % of the bare export's seconds, and two thirds of its peak memory, go into copying the weights into one
protobuf message; `prep_triton.onnx_file` does not. Nor does torch see the weights: it traces a stand-in on its
meta device, so they can neither cost anything nor change the graph; and one of two layers, which
`prep_triton.export.layers` repeats. That, and the paused collector of
`prep_triton.export.onnx`, took the export from 12.3 to 3.9 s of processor time (medians of three interleaved runs).
"""

import ast
import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from onnx import helper

from prep_triton.architectures import ARCHITECTURES, Architecture
from prep_triton.errors import ExportError
from prep_triton.export.checkpoint import silence_vendors
from prep_triton.export.heads import OPSET, count_token_types, input_names
from prep_triton.export.layers import LayersDifferError, Weight, repeat_layers
from prep_triton.export.modernbert import add_rotary_tables, simplify_modernbert
from prep_triton.export.mpnet import add_bias_table, look_up_bias
from prep_triton.export.sentence_head import read_outputs
from prep_triton.extras import hint_to_compare_versions
from prep_triton.layout import ONE_FILE_BYTES
from prep_triton.onnx_file import ArrayWeight, save_with_weights
from prep_triton.tasks import TASKS, Task

log = logging.getLogger(__name__)

# exp(-1e4) is 0 in FP32 and FP16; transformers' own -3.4e38 is -inf in FP16, and a fully masked row NaN.
MASK_BIAS = -10000.0

# How often every kind of layer is traced, for most models 2 layers in all; the others are copies of the second ones.
TRACED_PERIODS = 2

_EXAMPLE_SHAPE = (2, 8)
_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
_WRAPPER = "model."


class ExportedModule(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """A transformers model with the graph's inputs and outputs.

    It makes the additive mask [batch, 1, 1, sequence] itself, which transformers 5 takes as it is
    (`masking_utils._preprocess_mask_arguments`), so no mask subgraph is exported. As there, every value but 0 attends.
    A model that `makes_masks` gets the mask as it is.
    """

    def __init__(self, model: Any, architecture: Architecture, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task
        facts = ARCHITECTURES[architecture]
        self.has_token_types, self.makes_masks = facts.has_token_types, facts.makes_masks
        # The module's name is that of its nodes: POSITIONS_SCOPE.
        self.positions = (
            CountedPositions(facts.find_padding_id(model.config)) if facts.positions_follow_padding else None
        )

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        """Answer a batch; see `prep_triton.export.heads` for the shapes."""
        bias = (attention_mask[:, None, None, :] == 0).to(torch.float32) * MASK_BIAS
        more = {}
        if token_type_ids is not None:
            more["token_type_ids"] = _refuse_negatives(token_type_ids, count_token_types(self.model.config))
        elif self.has_token_types:
            # The one type there is. transformers would gather it from a buffer by each token's position.
            more["token_type_ids"] = torch.zeros(1, 1, dtype=torch.int64)
        ids = _refuse_negatives(input_ids, int(self.model.config.vocab_size))
        if self.positions is not None:
            more["position_ids"] = self.positions(ids)
        mask = attention_mask if self.makes_masks else bias
        answer = self.model(input_ids=ids, attention_mask=mask, **more)
        return read_outputs(self.model, answer, attention_mask, self.task)


def _refuse_negatives(ids: Any, count: int) -> Any:
    """Make every negative id `count`, the first that an embedding does not have.

    ONNX's Gather counts a negative index from the end, so that -1 would be the last token of the vocabulary. An index
    beyond the end is an error of ONNX Runtime on the CPU, as it is in PyTorch.
    """
    return torch.where(ids < 0, count, ids)


class CountedPositions(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """The position of every token as RoBERTa counts it: `pad_id` + 1, + 2, ...; each padding token has `pad_id`.

    As in the library the ids decide and not the mask: a `<pad>` that stands in a text moves what follows it. The int32
    sum of its `create_position_ids_from_input_ids` is one of FP32 here, which every TensorRT takes (of integers later
    ones alone: onnx-tensorrt, docs/operators.md); it is exact up to 2**24 tokens, and a module of its own, which other
    precisions leave as it is.
    """

    def __init__(self, pad_id: int) -> None:
        super().__init__()
        self.pad_id = pad_id

    def forward(self, ids: Any) -> Any:
        """Return the positions of ids, both INT64 [batch, sequence]."""
        is_token = (ids != self.pad_id).to(torch.float32)
        return (torch.cumsum(is_token, dim=1) * is_token).to(torch.int64) + self.pad_id


@dataclass(frozen=True)
class ExportedGraph:
    """A graph without its weights.

    Args:
        skeleton: The ModelProto, without initializers.
        constants: The arrays of the initializers that are not weights: axes, shapes, scales.
        weights: Where the other initializers come from.
    """

    skeleton: Any
    constants: dict[str, npt.NDArray[Any]]
    weights: dict[str, Weight]


def export_graph(model: Any, architecture: Architecture, task: Task) -> ExportedGraph:
    """Export a model's graph, optimized, with dynamic batch and sequence axes.

    Args:
        model: The transformers model, in evaluation mode.
        architecture: It decides the inputs.
        task: It decides the outputs.

    Raises:
        ExportError: torch cannot export it.
    """
    layers = ARCHITECTURES[architecture].layers
    longest = ARCHITECTURES[architecture].find_longest_input(model.config)
    if architecture == "mpnet":
        add_bias_table(model, longest)
    elif architecture == "modernbert":
        add_rotary_tables(model, longest)
    count = len(model.base_model.get_submodule(layers))
    period = _find_period(model.config)
    if count > TRACED_PERIODS * period:
        prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
        graph = _trace_graph(model, architecture, task, TRACED_PERIODS * period)
        try:
            repeat_layers(graph.skeleton.graph, graph.weights, f"{prefix}{layers}", count, period=period)
        except LayersDifferError as err:
            log.debug("tracing all %d layers: %s", count, err)
        else:
            return graph
    return _trace_graph(model, architecture, task, count)


def _find_period(config: Any) -> int:
    """Return after how many layers one of the same kind comes again."""
    kinds = getattr(config, "layer_types", None) or ()
    return next((period for period in range(1, len(kinds)) if kinds[period:] == kinds[:-period]), max(1, len(kinds)))


def save_graph(graph: ExportedGraph, model: Any, path: Path, *, one_file_bytes: int = ONE_FILE_BYTES) -> int:
    """Write an exported graph as one ONNX file, the model's weights inside; as two where they are too large for it.

    Args:
        graph: What `export_graph` returned.
        model: The model that it was exported from.
        path: The file to write.
        one_file_bytes: The longest file that holds its weights itself.

    Returns:
        The number of nodes.
    """
    nodes = len(graph.skeleton.graph.node)
    tensors = _name_tensors(model)
    arrays = dict(graph.constants)
    for name, weight in graph.weights.items():
        array = tensors[weight.source].detach().numpy()
        arrays[name] = array.T if weight.is_transposed else array
    weights = [ArrayWeight(name, arrays[name]) for name in _list_initializers(graph.skeleton.graph)]
    save_with_weights(graph.skeleton, weights, path, one_file_bytes=one_file_bytes)
    return nodes


def _trace_graph(model: Any, architecture: Architecture, task: Task, layers: int) -> ExportedGraph:
    """Let torch export a model's first layers."""
    names, outputs = input_names(architecture, token_types=count_token_types(model.config)), TASKS[task].outputs
    longest = ARCHITECTURES[architecture].find_longest_input(model.config)
    batch, sequence = _EXAMPLE_SHAPE[0], min(_EXAMPLE_SHAPE[1], longest)
    example = tuple(torch.ones(batch, sequence, dtype=torch.int64, device="meta") for _ in names)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=longest)}
    try:
        with silence_vendors(), torch.no_grad():
            program = torch.onnx.export(
                ExportedModule(_make_stand_in(model, architecture, layers), architecture, task).eval(),
                example,
                dynamic_shapes=tuple(axes for _ in names),
                input_names=list(names),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
            graph = _graph_from_program(program)
    except Exception as err:  # torch.export and onnxscript raise many types
        reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise ExportError(
            f"torch {torch.__version__} cannot export this model: {reason}",
            hint=hint_to_compare_versions("export"),
        ) from err
    _check_weights(graph, model)
    _share_tied_weights(graph, model)
    return graph


def _make_stand_in(model: Any, architecture: Architecture, layers: int) -> Any:
    """Copy a model without its weights (they are on torch's meta device) and with its first layers only."""
    without_weights = {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    for parameter in model.parameters():
        without_weights[id(parameter)] = torch.nn.Parameter(parameter.to("meta"), requires_grad=False)
    stand_in = copy.deepcopy(model, without_weights)
    facts = ARCHITECTURES[architecture]
    if architecture == "mpnet":
        look_up_bias(stand_in)
    elif architecture == "modernbert":
        simplify_modernbert(stand_in, MASK_BIAS)
    holder = stand_in.base_model.get_submodule(facts.layers_parent)
    setattr(holder, facts.layers_attribute, holder.get_submodule(facts.layers_attribute)[:layers])
    return stand_in


def _graph_from_program(program: Any) -> ExportedGraph:
    """Optimize an exported program and take it apart."""
    initializers = program.model.graph.initializers
    weights = {name for name, value in initializers.items() if getattr(value.const_value.raw, "is_meta", False)}
    for name in weights:
        initializers[name].const_value = None  # the optimizer would look into it
    program.optimize()
    initializers = program.model.graph.initializers
    constants = {name: value.const_value.numpy() for name, value in initializers.items() if name not in weights}
    initializers.clear()
    return _clean_graph(program.model_proto, constants, weights)


def _name_tensors(model: Any) -> dict[str, Any]:
    """Return a model's parameters, tied ones under each of their names, and buffers."""
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def _check_weights(graph: ExportedGraph, model: Any) -> None:
    tensors = _name_tensors(model)
    for name, weight in graph.weights.items():
        if weight.source not in tensors:
            raise ExportError(
                f"torch {torch.__version__} exports {name}, which is none of the model's weights",
                hint=hint_to_compare_versions("export"),
            )


def _share_tied_weights(graph: ExportedGraph, model: Any) -> None:
    """Let the graph transpose a weight that it reads as it is too: the embedding, tied to what predicts tokens.

    A file that held both would be longer by the vocabulary: 507 MiB of BERT-base where 418 do. Runtimes fold the
    transpose when they load the graph.
    """
    tensors = _name_tensors(model)
    # Every weight is listed as it is too; of a Linear's the graph reads the transpose alone, which stays folded.
    read = {name for node in graph.skeleton.graph.node for name in node.input}
    plain = {
        id(tensors[weight.source]): name
        for name, weight in graph.weights.items()
        if name in read and not weight.is_transposed
    }
    for name, weight in list(graph.weights.items()):
        tied = plain.get(id(tensors[weight.source])) if weight.is_transposed else None
        if tied:
            del graph.weights[name]
            node = helper.make_node("Transpose", [tied], [name], name=f"{name}/Transpose", perm=[1, 0])
            nodes = [node, *graph.skeleton.graph.node]
            del graph.skeleton.graph.node[:]
            graph.skeleton.graph.node.extend(nodes)


def _clean_graph(skeleton: Any, constants: Mapping[str, npt.NDArray[Any]], weights: set[str]) -> ExportedGraph:
    """Name everything after its module, fold the transposes of weights, drop what only a debugger of torch would read.

    torch records stack traces with the paths of this machine in every node. Intermediate shapes go too: see above.
    """
    graph = skeleton.graph
    renamed = {name: name.removeprefix(_WRAPPER) for name in weights}
    sources = {renamed[name]: Weight(renamed[name]) for name in weights}
    outputs = {value.name for value in graph.output}
    taken: dict[str, int] = {}
    kept = []
    modules: dict[str, str] = {}  # by what is made there
    for node in graph.node:
        # What the optimizer wrote itself (a Split for a chunk) belongs to what it reads.
        module = _module_of_node(node, default=modules.get(node.input[0], "") if node.input else "")
        modules.update(dict.fromkeys(node.output, module))
        if node.op_type == "Transpose" and node.input[0] in weights:  # a Linear's weight
            renamed[node.output[0]] = f"{module}.weight.T"
            sources[f"{module}.weight.T"] = Weight(renamed[node.input[0]], is_transposed=True)
            continue
        node.name = _unique_name(f"{module}/{node.op_type}" if module else node.op_type, taken)
        del node.metadata_props[:]
        node.doc_string = ""
        for index, name in enumerate(name for name in node.output if name not in outputs):
            renamed[name] = f"{node.name}:{index}" if index else node.name
        for name in node.input:
            if name in constants and name not in renamed:
                renamed[name] = _unique_name("constant", taken)
        kept.append(node)
    for node in kept:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    for repeated in (graph.value_info, graph.metadata_props, skeleton.metadata_props, graph.node):
        del repeated[:]
    graph.node.extend(kept)
    graph.doc_string = ""
    arrays = {renamed[name]: array for name, array in constants.items() if name in renamed}
    return ExportedGraph(skeleton, arrays, sources)


def _list_initializers(graph: Any) -> list[str]:
    """Return what a graph reads and neither makes nor takes as an input, in the order of the first reading."""
    known = {value.name for value in graph.input} | {name for node in graph.node for name in node.output}
    read = dict.fromkeys(name for node in graph.node for name in node.input if name)
    return [name for name in read if name not in known]


def _module_of_node(node: Any, *, default: str) -> str:
    """Return the dotted path of the module that a node was traced in, empty for the wrapper's own."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES_KEY:
            scopes = ast.literal_eval(entry.value)
            inner = scopes[-2] if len(scopes) > 1 else ""
            return "" if f"{inner}." == _WRAPPER else str(inner).removeprefix(_WRAPPER)
    return default


def _unique_name(name: str, taken: dict[str, int]) -> str:
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}_{taken[name]}"
