"""What a request of `prep verify` may hold: sequence lengths, element types, and how many rows at once."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Self

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError
from prep_triton.layout import CONFIG_NAME
from prep_triton.reference import Reference
from prep_triton.triton.config import decode_config, parse_config
from prep_triton.triton.config.shapes import choose_bucket
from prep_triton.triton.server.batch_axis import row_dims

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# A container's shared memory, through which a Python backend answers, is often 64 MiB.
ANSWER_BUDGET_BYTES = 32 << 20


def load_config(entry: RepositoryEntry) -> "ModelConfig":
    """Load an entry's config.pbtxt.

    Raises:
        RepositoryError: It is missing or not a configuration.
    """
    path = entry.path(CONFIG_NAME)
    try:
        return parse_config(decode_config(path.read_bytes()), where=str(path))
    except (OSError, UnicodeError) as err:
        raise RepositoryError(f"{path} cannot be read: {err}", hint="assemble the entry again") from err


@dataclass(frozen=True)
class SequenceLengths:
    """The sequence lengths that a model entry takes, in tokens.

    `buckets` are those of its length buckets that lie within `shortest` and `longest`, ascending; there are none where
    rows are padded to the longest of a request.
    """

    shortest: int
    longest: int
    buckets: tuple[int, ...]

    @classmethod
    def from_entry(cls, entry: RepositoryEntry) -> Self:
        """Return the lengths of a model entry, as its profiles and buckets limit them."""
        shortest, longest = int(entry.spec.get("min_sequence", 1)), int(entry.spec.get("max_sequence", 1 << 30))
        is_exact = entry.spec.get("serving", {}).get("padding") == "longest"
        buckets = () if is_exact else entry.length_buckets
        return cls(shortest, longest, tuple(size for size in buckets if shortest <= size <= longest))

    def padded(self, length: int) -> int:
        """Return the bucket for a number of tokens; the number itself where no bucket holds it."""
        needed = max(length, self.shortest)
        return choose_bucket(needed, self.buckets) or needed


def numpy_dtype(tensor: Any) -> Any:
    """Return the numpy type of a tensor of a configuration (`ModelInput` or `ModelOutput`)."""
    from tritonclient.utils import triton_to_np_dtype

    types = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    return triton_to_np_dtype(types[tensor.data_type].name.removeprefix("TYPE_"))


def sequence_outputs(config: "ModelConfig") -> dict[str, bool]:
    """Return for each output whether the first axis of a row is the sequence: a fixed one (labels) has no padding."""
    return {tensor.name: row_dims(config, tensor)[:1] == (-1,) for tensor in config.output}


def affordable_rows(reference: Reference, is_sequence: Mapping[str, bool], width: int) -> int:
    """Return how many answers of a sequence length fit the shared memory at once; 1 or more.

    Args:
        reference: Answers of the same model.
        is_sequence: For each output, whether its first axis is the sequence.
        width: The length that rows are padded to, in tokens.
    """
    row_bytes = 0
    for name, array in reference.outputs.items():
        values = array[:1].size
        row_bytes += 4 * (values * width // array.shape[1] if is_sequence[name] else values)
    return max(1, ANSWER_BUDGET_BYTES // max(1, row_bytes))


def full_batches(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """Deal rows into batches of exactly `size`: the last one takes the first rows again for what it lacks."""
    dealt = islice(cycle(rows), math.ceil(len(rows) / size) * size)
    while batch := list(islice(dealt, size)):
        yield batch
