"""The server's rules for inputs and outputs (core, model_config_utils.cc, ValidateModelIOConfig)."""

from collections.abc import Iterator, Sequence
from typing import Any

from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding

WILDCARD = -1


def data_type_name(number: int) -> str:
    """Return Triton's word for a type, without ``TYPE_``."""
    from tritonclient.grpc import model_config_pb2

    known = model_config_pb2.DataType.DESCRIPTOR.values_by_number
    return known[number].name.removeprefix("TYPE_") if number in known else str(number)


def describe_dims(dims: Sequence[int]) -> str:
    """Render dims as the configuration writes them."""
    return f"[{', '.join(map(str, dims))}]"


def find_tensor_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find what is wrong with the inputs and outputs of a configuration by themselves."""
    config: Any = entry.config
    for role, tensors in (("input", config.input), ("output", config.output)):
        seen: set[str] = set()
        for index, tensor in enumerate(tensors):
            where = f"{role}[{index}]"
            mistakes = _describe_mistakes(tensor, role, is_batched=entry.is_batched())
            for message in (*mistakes, *_describe_misuse(tensor, role, entry.backend)):
                yield entry.at("tensor-invalid", where, message, f"correct {where}, or assemble the entry again")
            if tensor.name and tensor.name in seen:
                message = f"the {role} '{tensor.name}' is there twice"
                yield entry.at("tensor-duplicate", where, message, "remove one of them")
            seen.add(tensor.name)
    if not (config.input and config.output):
        message = (
            "its inputs or outputs are left to the server's auto-complete, and can be neither checked nor relied on"
        )
        yield entry.at("config-incomplete", "", message, "write down every input and output")


def _describe_mistakes(tensor: Any, role: str, *, is_batched: bool) -> Iterator[str]:
    name = f"{role} '{tensor.name}'"
    if not tensor.name:
        yield f"an {role} does not have a name"
    if data_type_name(tensor.data_type) in {"INVALID", str(tensor.data_type)}:
        yield f"{name} does not have a data_type that Triton knows"
    if not tensor.dims:
        yield f"{name} does not have dims"
    if any(size < 1 and size != WILDCARD for size in tensor.dims):
        yield f"{name} has the dims {describe_dims(tensor.dims)}; a size is 1 or more, or -1 for any"
    elif tensor.dims and tensor.HasField("reshape"):
        shape = list(tensor.reshape.shape)
        if not shape and not is_batched:
            yield f"{name} has an empty reshape, which needs a max_batch_size above 0"
        elif any(size < 1 and size != WILDCARD for size in shape):
            yield f"{name} has the reshape {describe_dims(shape)}; a size is 1 or more, or -1 for any"
        elif _count_between_wildcards(tensor.dims) != _count_between_wildcards(shape):
            dims = describe_dims(tensor.dims)
            yield f"{name} has the dims {dims}, which the reshape {describe_dims(shape)} does not fit"


def _describe_misuse(tensor: Any, role: str, backend: str) -> Iterator[str]:
    """Say which fields of a tensor the server refuses with this backend, or with these dims."""
    name = f"{role} '{tensor.name}'"
    for field in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, field) and backend != "tensorrt":
            yield f"{name} has {field}, which is TensorRT's alone"
    if role == "input" and tensor.format and len(tensor.dims) != 3:
        format_name = type(tensor).Format.Name(tensor.format).removeprefix("FORMAT_")
        yield f"{name} has the format {format_name}, for which it needs 3 dims; it has {len(tensor.dims)}"


def _count_between_wildcards(dims: Sequence[int]) -> list[int]:
    """Return the number of elements before, between and after sizes of -1 (core, ValidateIOShape)."""
    counts = [1]
    for size in dims:
        if size == WILDCARD:
            counts.append(1)
        else:
            counts[-1] *= size
    return counts
