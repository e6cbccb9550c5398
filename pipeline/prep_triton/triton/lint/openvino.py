"""Rules of Triton's OpenVINO backend (openvino_backend, ``src/openvino.cc``), and of the OpenVINO of a container."""

from collections.abc import Iterator, Mapping
from typing import Any

from prep_triton.target import Target, find_openvino_platform_problem
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.graph import DamagedGraphError, read_signature
from prep_triton.triton.lint.tensors import WILDCARD, data_type_name

# openvino_utils.cc, ModelConfigDataTypeToOpenVINOElement
_TYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32")
# The first OpenVINO of a container that reads an operator of opset 23, seen with the wheels of 2024.4 to 2026.4; the
# opset itself is no matter, and all of them read what prep writes. None: no container's in the table.
_FIRST_READER: Mapping[str, tuple[int, ...] | None] = {
    "Attention": (2026, 1),
    "RMSNormalization": None,
    "RotaryEmbedding": None,
}
_EXPORT_LOWER = "export it with an opset below 23, which has plain operators for it: prep export MODEL"


def find_openvino_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find what OpenVINO's backend refuses, or answers otherwise than a configuration says."""
    config: Any = entry.config
    if entry.backend != "openvino":
        return
    for role, tensors in (("input", config.input), ("output", config.output)):
        for index, tensor in enumerate(tensors):
            dtype = data_type_name(tensor.data_type)
            if dtype not in (*_TYPES, "INVALID"):
                message = f"'{tensor.name}' is TYPE_{dtype}, which OpenVINO's backend does not know"
                hint = f"write one of its types: {', '.join(_TYPES)}"
                yield entry.at("model-tensor", f"{role}[{index}].data_type", message, hint)
    if config.max_batch_size > 1:
        message = (
            f"max_batch_size is {config.max_batch_size}, which OpenVINO's backend makes the only batch: it "
            f"{_describe_fate(config)}"
        )
        hint = "set max_batch_size: 0 and begin the dims with -1: a request may then have any number of rows"
        yield entry.at("batching-static", "max_batch_size", message, hint)


def is_yes(config: Any, name: str) -> bool:
    """Whether a switch among the parameters is on: the backend reads every other text as no."""
    return name in config.parameters and config.parameters[name].string_value.lower() == "yes"


def _describe_fate(config: Any) -> str:
    if not is_yes(config, "ENABLE_BATCH_PADDING"):
        return "refuses every request that does not have just that many rows, and several that make it up"
    if any(WILDCARD in tensor.dims for tensor in config.input):
        return "refuses every smaller request, since its padding has no room where a size is -1"
    return "answers a full batch after a padded one with too few rows (openvino_backend#115)"


def find_openvino_target_problems(entry: EntryFolder, target: Target) -> Iterator[Finding]:
    """Say why a target's OpenVINO does not serve an entry: it is not there on ARM, or older than an operator."""
    if entry.backend != "openvino":
        return
    if entry.manifest is None and (problem := find_openvino_platform_problem(target)):
        yield entry.on("target-platform", "", *problem)
    version = target.release.openvino
    name = entry.config.default_model_filename if entry.config else ""
    if version is None or not name.endswith(".onnx"):
        return
    have = tuple(int(part) for part in version.split("."))
    for served in entry.served_versions:
        relative = f"{served}/{name}"
        try:
            operators = read_signature(entry.folder / relative).operators
        except (DamagedGraphError, OSError):  # which the rules of `models` report
            continue
        for operator in sorted(operators & _FIRST_READER.keys()):
            first = _FIRST_READER[operator]
            if first is None or have < first:
                since = f"{first[0]}.{first[1]} does" if first else "no container's is known to"
                message = (
                    f"{relative} has the operator {operator}, which OpenVINO {version} of Triton {target.release.tag} "
                    f"does not read; {since}"
                )
                yield entry.on("target-openvino", relative, message, _EXPORT_LOWER)
