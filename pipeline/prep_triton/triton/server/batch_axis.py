"""Where a batch stands in an entry's tensors: before the dims, with a max_batch_size, or as the first of them.

An entry without a max_batch_size whose inputs all begin with an axis of any size takes any number of rows (OpenVINO's,
see `prep_triton.triton.config.openvino`); what a client sends is the same in both.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_ANY_SIZE = -1
# Of an entry that takes any number: enough to see that rows do not get mixed up.
_ROWS_OF_ANY = 8


def has_batch_axis(config: "ModelConfig") -> bool:
    """Whether the first axis of what is sent counts rows."""
    return config.max_batch_size > 0 or _is_axis_in_dims(config)


def row_dims(config: "ModelConfig", tensor: Any) -> tuple[int, ...]:
    """Return the dims of one row of an input or output."""
    dims = tuple(map(int, tensor.dims))
    return dims[1:] if config.max_batch_size == 0 and _is_axis_in_dims(config) else dims


def largest_request(config: "ModelConfig") -> int:
    """Return how many rows to send at most: what the entry takes; a few where it takes any number."""
    return int(config.max_batch_size) or (_ROWS_OF_ANY if _is_axis_in_dims(config) else 1)


def _is_axis_in_dims(config: "ModelConfig") -> bool:
    return bool(config.input) and all(len(tensor.dims) > 1 and tensor.dims[0] == _ANY_SIZE for tensor in config.input)
