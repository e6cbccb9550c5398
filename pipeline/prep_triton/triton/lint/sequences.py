"""Sequence batching (core, model_config_utils.cc, ValidateModelConfig and Get…SequenceControlProperties)."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tensors import data_type_name

_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRELATION = "CONTROL_SEQUENCE_CORRID"
_CORRELATION_TYPES = ("UINT64", "INT64", "UINT32", "INT32", "STRING")


def find_sequence_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find what the server refuses of sequence_batching."""
    config: Any = entry.config
    if not config.HasField("sequence_batching"):
        return
    batcher, where = config.sequence_batching, "sequence_batching"
    for message in _describe_controls(batcher.control_input):
        yield entry.at("sequence-control", f"{where}.control_input", message, "correct control_input")
    share = batcher.direct.minimum_slot_utilization
    if batcher.HasField("direct") and (share < 0 or share > 1):
        message = f"minimum_slot_utilization is {share}, expected more than 0 and 1 at most"
        yield entry.at("sequence-scheduling", f"{where}.direct", message, "set it within 0..1, or remove it")
    for size in batcher.oldest.preferred_batch_size:
        if not 0 < size <= config.max_batch_size:
            message = f"the preferred_batch_size {size} is not within 1..{config.max_batch_size}"
            yield entry.at("sequence-scheduling", f"{where}.oldest", message, "remove it")
    for state in batcher.state:
        if any(initial.WhichOneof("state_data") is None for initial in state.initial_state):
            message = f"an initial_state of the state '{state.input_name}' has neither zero_data nor data_file"
            yield entry.at("sequence-scheduling", f"{where}.state", message, "write zero_data: true")


def _describe_controls(controls: Any) -> Iterator[str]:
    names = Counter(control_input.name for control_input in controls)
    if names.pop("", 0):
        yield "a control_input does not have a name"
    for name in sorted(name for name, count in names.items() if count > 1):
        yield f"the control_input '{name}' is there {names[name]} times"
    inner = [control for control_input in controls for control in control_input.control]
    kinds = Counter(_kind_name(control) for control in inner)
    for kind in sorted(kind for kind, count in kinds.items() if count > 1):
        yield f"{kind} has {kinds[kind]} tensors, expected 1"
    for control in inner:
        yield from _describe_values(control, _kind_name(control))


def _kind_name(control: Any) -> str:
    kinds = type(control).Kind
    return str(kinds.Name(control.kind)) if control.kind in kinds.values() else str(control.kind)


def _describe_values(control: Any, kind: str) -> Iterator[str]:
    counts = {name: len(getattr(control, name)) for name in _VALUES if len(getattr(control, name))}
    if kind == _CORRELATION:
        if counts:
            yield f"{kind} has {', '.join(counts)}, and takes a data_type alone"
        if data_type_name(control.data_type) not in _CORRELATION_TYPES:
            yield f"{kind} is TYPE_{data_type_name(control.data_type)}, expected {', '.join(_CORRELATION_TYPES)}"
    elif len(counts) != 1:
        yield f"{kind} has {len(counts)} of {', '.join(_VALUES)}, expected 1"
    elif set(counts.values()) != {2}:
        yield f"{kind} has {max(counts.values())} values in {', '.join(counts)}, expected 2"
