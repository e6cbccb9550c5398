"""What Triton's ONNX Runtime and OpenVINO backends refuse of tensors, for lint and for the backends' stand-ins alike.

onnxruntime_backend, ``src/onnxruntime.cc``, and openvino_backend, ``src/openvino.cc``, `ValidateInputs` and
`ValidateOutputs`; backend, ``src/backend_model.cc``, `CompareDimsSupported`. A stand-in runs inside the server with a
copy of this file beside it, so it imports nothing of prep.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ANY_SIZE = -1


@dataclass(frozen=True)
class ServedTensor:
    """An input or output as config.pbtxt has it; `dims` are those of `reshape` where it has one, as the backend reads.

    `is_optional` and `is_ragged` are the fields `optional` and `allow_ragged_batch` of an input.
    """

    name: str
    dims: tuple[int, ...]
    is_optional: bool = False
    is_ragged: bool = False


def find_input_problem(tensor: ServedTensor, shape: Sequence[int], *, is_batched: bool) -> str | None:
    """Say why the ONNX Runtime backend refuses an input.

    Args:
        tensor: The input.
        shape: The graph's, its batch axis with it, -1 for any size; empty for a scalar or an unknown rank.
        is_batched: `max_batch_size` is above 0.
    """
    if tensor.is_optional and is_batched:
        return f"'{tensor.name}' is optional, which the ONNX Runtime backend refuses with a max_batch_size above 0"
    if tensor.is_ragged and tensor.is_optional:
        return f"'{tensor.name}' is optional, which the ONNX Runtime backend refuses with allow_ragged_batch"
    if tensor.is_ragged:
        if list(shape) == [ANY_SIZE]:
            return None
        message = f"'{tensor.name}' has allow_ragged_batch, for which the ONNX Runtime backend needs the shape [-1]"
        return f"{message} in the graph; it has {list(shape)}"
    return find_shape_problem(tensor, shape, is_batched=is_batched, is_exact=False)


def find_output_problem(tensor: ServedTensor, shape: Sequence[int], *, is_batched: bool) -> str | None:
    """Say why the ONNX Runtime backend refuses an output; the arguments are those of `find_input_problem`."""
    return find_shape_problem(tensor, shape, is_batched=is_batched, is_exact=True)


def find_shape_problem(tensor: ServedTensor, shape: Sequence[int], *, is_batched: bool, is_exact: bool) -> str | None:
    """Say why a backend refuses the dims of a tensor.

    An input may be narrower than the graph's, an output is what the graph says (`is_exact`); a scalar has sizes of 1
    alone. The other arguments are those of `find_input_problem`.
    """
    if not shape:
        fits = all(size == 1 for size in tensor.dims)
        return None if fits else f"'{tensor.name}' has the dims {list(tensor.dims)} and is a scalar in the graph"
    if is_batched and shape[0] != ANY_SIZE:
        return f"'{tensor.name}' has no batch axis in the graph, whose shape is {list(shape)}"
    expected = list(shape[1:] if is_batched else shape)
    fits = len(expected) == len(tensor.dims) and all(
        size == dim or (size == ANY_SIZE and not is_exact) for size, dim in zip(expected, tensor.dims, strict=True)
    )
    return None if fits else f"'{tensor.name}' has the dims {list(tensor.dims)}, the graph gives {expected}"
