"""Warm-up: the shapes that an entry runs, on real token ids, before the server calls it ready.

`ModelWarmup` of model_config.proto; the files lie in ``<entry>/warmup/`` and hold one row each: the server
repeats it for a batch (core, src/backend_model_instance.cc, GenerateWarmupData).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import Engine, OnnxModel, TensorSpec
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.layout import WARMUP_DIR
from prep_triton.reference import load_reference
from prep_triton.spec import ServingSpec
from prep_triton.triton.config.shapes import dims_at_length, smallest_batch_size

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# The server makes a request for every row of a sample, before it runs any.
LARGEST_WARMUP_BATCH = 1024
_NUMPY_TYPES = {"INT64": "<i8", "INT32": "<i4"}


def fill_warmup(config: "ModelConfig", artifact: OnnxModel | Sequence[Engine], serving: ServingSpec) -> None:
    """Write one sample for each length bucket at the smallest batch, and one at the largest.

    Where an entry has no max_batch_size, its inputs have the batch among their dims, and a sample a batch of 1.

    Raises:
        SpecError: The largest batch is more than a server should prepare.
    """
    if not serving.warmup:
        return
    largest = config.max_batch_size
    if largest > LARGEST_WARMUP_BATCH:
        raise SpecError(
            f"warmup at max_batch_size {largest} would have the server make {largest} requests for each length",
            hint=f"lower max_batch_size to {LARGEST_WARMUP_BATCH} or less, or remove warmup",
        )
    tensors = {tensor.name: tensor for tensor in _inputs_of(artifact)}
    for bucket in serving.length_buckets:
        for batch in sorted({smallest_batch_size(artifact, serving, bucket), largest or 1}):
            sample = config.model_warmup.add(name=f"length-{bucket}-batch-{batch}", batch_size=batch, count=1)
            for tensor in config.input:
                entry = sample.inputs[tensor.name]
                entry.data_type = tensor.data_type
                entry.dims.extend([*([] if largest else [1]), *dims_at_length(tensors[tensor.name], bucket)])
                entry.input_data_file = warmup_file_name(tensor.name, bucket)


def warmup_file_name(input_name: str, bucket: int) -> str:
    """Return the name of the file that holds an input's row of a length."""
    return f"{input_name}-{bucket}.bin"


def write_warmup_files(
    folder: Path, reference_path: Path, inputs: Sequence[TensorSpec], buckets: Sequence[int]
) -> None:
    """Write a row of every length: the reference's real tokens between the first [CLS] and its [SEP].

    Args:
        folder: The entry's folder; the files go below ``warmup/``.
        reference_path: The graph's ``reference.npz``.
        inputs: The graph's inputs.
        buckets: The lengths.

    Raises:
        RepositoryError: The reference has no tokens, or an input is of a type that holds no ids.
    """
    rows = _Rows(reference_path)
    target = folder / WARMUP_DIR
    target.mkdir(exist_ok=True)
    for tensor in inputs:
        if tensor.dtype not in _NUMPY_TYPES:
            raise RepositoryError(
                f"warm-up needs token ids, but the input {tensor.name} is {tensor.dtype}; expected INT64 or INT32",
                hint="remove warmup, or export the model again with `prep export`",
            )
        for bucket in buckets:
            row = rows.make(tensor.name, bucket).astype(_NUMPY_TYPES[tensor.dtype])
            (target / warmup_file_name(tensor.name, bucket)).write_bytes(row.tobytes())


def _inputs_of(artifact: OnnxModel | Sequence[Engine]) -> tuple[TensorSpec, ...]:
    return artifact.model_inputs if isinstance(artifact, OnnxModel) else artifact[0].model_inputs


class _Rows:
    """Rows of any length from the rows of a reference."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        reference = load_reference(path, ["input_ids"], [])
        self.inputs, ids = reference.inputs, reference.inputs["input_ids"]
        if not any(reference.lengths):
            raise RepositoryError(
                f"{path} holds no token ids to warm up with", hint="export the model again with `prep export`"
            )
        real = [row[:length] for row, length in zip(ids, reference.lengths, strict=True) if length]
        self.first, self.last = real[0][0], real[0][-1]
        self.body = np.concatenate([row[1:-1] for row in real])
        if not self.body.size:
            self.body = ids[0][:1]

    def make(self, name: str, length: int) -> Any:
        """Return one input's row, without padding: the server computes padded places as well."""
        import numpy as np

        if name == "input_ids":
            tokens = np.concatenate([[self.first], np.resize(self.body, max(0, length - 2)), [self.last]])
            return tokens[:length]
        if name == "attention_mask":
            return np.ones(length)
        known = self.inputs.get(name)
        return np.zeros(length) if known is None else np.resize(known[0][:1], length)
