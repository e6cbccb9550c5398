"""What the server makes of a batch's shape for a model (core, model_config_utils.cc, ValidateBatchIO)."""

from collections.abc import Iterator
from typing import Any

from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tensors import data_type_name

_TYPES = ("INT32", "FP32")


def find_batch_tensor_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find batch_input and batch_output that the server refuses."""
    config: Any = entry.config
    inputs, outputs = ({tensor.name for tensor in tensors} for tensors in (config.input, config.output))
    for role, tensors in (("batch_input", config.batch_input), ("batch_output", config.batch_output)):
        for index, tensor in enumerate(tensors):
            for message in _describe_mistakes(tensor, role, inputs, outputs):
                yield entry.at("tensor-batch", f"{role}[{index}]", message, f"correct or remove {role}[{index}]")


def _describe_mistakes(tensor: Any, role: str, inputs: set[str], outputs: set[str]) -> Iterator[str]:
    sources, targets = list(tensor.source_input), list(tensor.target_name)
    if tensor.DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number.get(tensor.kind) is None:
        yield f"a {role} has the kind {tensor.kind}, which Triton does not know"
    elif len(sources) != 1:
        yield f"a {role} has {len(sources)} names in source_input, expected 1"
    if role == "batch_input" and data_type_name(tensor.data_type) not in _TYPES:
        yield f"a {role} is TYPE_{data_type_name(tensor.data_type)}, expected TYPE_INT32 or TYPE_FP32"
    for name in sorted(set(sources) - inputs):
        yield f"a {role} has the source_input '{name}', which is not an input"
    if role == "batch_output":
        for name in sorted(set(targets) - outputs):
            yield f"a {role} has the target_name '{name}', which is not an output"
        if len(targets) != len(set(targets)):
            yield f"a {role} has a target_name twice: {', '.join(targets)}"
