"""The server's rules for inputs and outputs (core, model_config_utils.cc, ValidateModelIOConfig)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tree import is_within

WILDCARD = -1
_IMAGE_FORMATS = (1, 2)  # FORMAT_NHWC, FORMAT_NCHW
# BatchInput.Kind and BatchOutput.Kind, which need one source each
_BATCH_INPUT_KINDS, _BATCH_OUTPUT_KINDS = range(6), range(1)


def data_type_name(number: int) -> str:
    """Return Triton's word for a type, without ``TYPE_``."""
    from tritonclient.grpc import model_config_pb2

    known = model_config_pb2.DataType.DESCRIPTOR.values_by_number
    return known[number].name.removeprefix("TYPE_") if number in known else str(number)


def describe_dims(dims: Sequence[int]) -> str:
    """Render dims as the configuration writes them."""
    return f"[{', '.join(map(str, dims))}]"


def find_tensor_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Judge the inputs and outputs of a configuration by themselves."""
    config: Any = entry.config
    for role, tensors in (("input", config.input), ("output", config.output)):
        seen: set[str] = set()
        for index, tensor in enumerate(tensors):
            where = f"{role}[{index}]"
            for message in _judge_tensor(tensor, role, config):
                yield entry.at("tensor-invalid", where, message, f"mend {where}, or assemble the entry again")
            if tensor.name and tensor.name in seen:
                message = f"the {role} '{tensor.name}' is there twice"
                yield entry.at("tensor-duplicate", where, message, "remove one of them")
            seen.add(tensor.name)
    for index, tensor in enumerate(config.output):
        if tensor.label_filename:
            yield from _find_label_problems(entry, tensor, f"output[{index}].label_filename")
    yield from _find_batch_io_problems(entry)
    if not (config.input and config.output):
        message = (
            "its inputs or outputs are left to the server's auto-complete, and can be neither checked nor relied on"
        )
        yield entry.at("config-incomplete", "", message, "write down every input and output")


def _judge_tensor(tensor: Any, role: str, config: Any) -> Iterator[str]:
    name = f"{role} '{tensor.name}'"
    if not tensor.name:
        yield f"an {role} has no name"
    if data_type_name(tensor.data_type) in {"INVALID", str(tensor.data_type)}:
        yield f"{name} has no data_type that Triton knows"
    if not tensor.dims:
        yield f"{name} has no dims"
    yield from _judge_shape(tensor, name, config.max_batch_size)
    if role == "input" and tensor.format in _IMAGE_FORMATS and len(tensor.dims) != 3:
        yield f"{name} has an image format and {len(tensor.dims)} dims, expected 3"
    if config.platform != "tensorrt_plan" and config.backend != "tensorrt":
        for flag in ("is_shape_tensor", "is_non_linear_format_io"):
            if getattr(tensor, flag):
                yield f"{name} has {flag}, which TensorRT alone knows"
    elif tensor.is_non_linear_format_io and len(tensor.dims) != 3:
        yield f"{name} has is_non_linear_format_io and {len(tensor.dims)} dims, expected 3"


def _judge_shape(tensor: Any, name: str, max_batch_size: int) -> Iterator[str]:
    sizes = [*tensor.dims, *tensor.reshape.shape]
    if any(size < 1 and size != WILDCARD for size in sizes):
        yield f"{name} has the dims {describe_dims(sizes)}; a size is 1 or more, or -1 for any"
    elif tensor.HasField("reshape"):
        yield from _judge_reshape(tensor, name, max_batch_size)


def _judge_reshape(tensor: Any, name: str, max_batch_size: int) -> Iterator[str]:
    dims, shape = list(tensor.dims), list(tensor.reshape.shape)
    if not shape and max_batch_size == 0:
        yield f"{name} has an empty reshape, which needs max_batch_size > 0"
    elif not shape:
        if math.prod(dims) != 1 or WILDCARD in dims:
            yield f"{name} has the dims {describe_dims(dims)} and an empty reshape, expected dims of one element"
    elif _trunks(dims) != _trunks(shape):
        yield f"{name} has the dims {describe_dims(dims)} and is reshaped to {describe_dims(shape)}: sizes differ"


def _trunks(dims: Sequence[int]) -> list[int]:
    """Return the element counts between the dims of any size."""
    counts = [1]
    for size in dims:
        if size == WILDCARD:
            counts.append(1)
        else:
            counts[-1] *= size
    return counts


def _find_label_problems(entry: EntryFolder, tensor: Any, where: str) -> Iterator[Finding]:
    path = entry.folder / tensor.label_filename
    if not is_within(tensor.label_filename):
        message = f"the label file {tensor.label_filename} lies outside the entry: newer servers refuse that"
        yield entry.at("file-missing", where, message, "put it into the entry")
    elif not path.is_file():
        yield entry.at(
            "file-missing", where, f"there is no label file {tensor.label_filename}", "add it, or remove the field"
        )


def _find_batch_io_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for role, items, kinds in (
        ("batch_input", config.batch_input, _BATCH_INPUT_KINDS),
        ("batch_output", config.batch_output, _BATCH_OUTPUT_KINDS),
    ):
        for index, item in enumerate(items):
            message = ""
            if item.kind not in kinds or len(item.source_input) != 1:
                message = f"{role} needs a known kind and one source_input, it has {list(item.source_input)}"
            elif role == "batch_input" and data_type_name(item.data_type) not in {"INT32", "FP32"}:
                message = f"batch_input has the type {data_type_name(item.data_type)}, expected INT32 or FP32"
            elif set(item.source_input) - inputs:
                message = f"source_input {item.source_input[0]} is no input"
            elif role == "batch_output" and (
                set(item.target_name) - outputs or len(set(item.target_name)) < len(item.target_name)
            ):
                message = f"target_name {list(item.target_name)} must name outputs, each once"
            if message:
                yield entry.at("tensor-batch-io", f"{role}[{index}]", message, "mend it, or remove it")
