"""Rules that compare a configuration with its model files: ONNX graphs, plans, Python models."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, TensorSpec
from prep_triton.layout import MANIFEST_NAME, list_names
from prep_triton.triton.config.backends import BACKEND_LABELS
from prep_triton.triton.config.rules import find_builder_problem, find_plan_batch_problem
from prep_triton.triton.config.tensor_rules import (
    ServedTensor,
    find_input_problem,
    find_output_problem,
    find_shape_problem,
)
from prep_triton.triton.lint.entry import MODEL_FILES, EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.graph import DamagedGraphError, Signature, read_signature
from prep_triton.triton.lint.openvino import is_yes
from prep_triton.triton.lint.tensors import WILDCARD, data_type_name, describe_dims
from prep_triton.triton.lint.tree import is_readable_file, is_within

# Both engines that tensorrt-rtx 1.7.1 builds begin so; a version-compatible plan may too, so it proves nothing.
_RTX_MAGIC = b"vtrt"
# openvino_backend, src/openvino.cc, ReadModel
_OPENVINO_FILE = "model.xml"
# onnx.proto, ModelProto: ir_version (field 1, a small number) comes first, and then one of its other fields' tags.
_ONNX_BEGIN = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
_BUILD_PLAN = "build a plan with --builder tensorrt on a machine with that GPU, or serve the graph with onnxruntime"


def find_model_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find how the model files of the served versions contradict the configuration."""
    find = {
        "onnxruntime": _find_onnx_problems,
        "openvino": _find_openvino_problems,
        "tensorrt": _find_plan_problems,
        "python": _find_python_problems,
    }.get(entry.backend)
    if find is None:
        return
    config: Any = entry.config
    names = {"default_model_filename": config.default_model_filename}
    names |= {f"cc_model_filenames.{key}": name for key, name in config.cc_model_filenames.items()}
    outside = {where: name for where, name in names.items() if not is_within(name)}
    for where, name in outside.items():
        message = f"'{name}' leads out of the version folder"
        yield entry.at("file-missing", where, message, "name a file of the version folder")
    if outside:
        return
    for version in entry.served_versions:
        yield from find(entry, version)


def _missing(entry: EntryFolder, version: int, name: str) -> Finding:
    folder = entry.folder / str(version)
    path = folder / name
    state = "cannot be read" if path.exists() else "is not there"
    others = [other for other in list_names(folder) if not other.startswith(".")]
    message = f"the model file {name} of version {version} {state}; the folder has {', '.join(others) or 'nothing'}"
    code = "file-unreadable" if path.exists() else "file-missing"
    return entry.on(code, f"{version}/{name}", message, "put the model there, or assemble the entry again")


def _find_onnx_problems(entry: EntryFolder, version: int) -> Iterator[Finding]:
    for name in list_graphs(entry, version):
        yield from _find_graph_problems(entry, version, name)


def _find_openvino_problems(entry: EntryFolder, version: int) -> Iterator[Finding]:
    """Look into an ONNX graph; of OpenVINO's own format only whether both of its files are there."""
    config: Any = entry.config
    name = config.default_model_filename or _OPENVINO_FILE
    if name.endswith(".onnx"):
        yield from _find_graph_problems(entry, version, name)
        return
    names = [name, f"{name.removesuffix('.xml')}.bin"] if name.endswith(".xml") else [name]
    for needed in names:
        path = entry.folder / str(version) / needed
        if not (is_readable_file(path) or path.is_dir()):
            yield _missing(entry, version, needed)


def list_graphs(entry: EntryFolder, version: int) -> list[str]:
    """Return the graphs that ONNX Runtime's backend loads for a version, relative to the version's folder."""
    config: Any = entry.config
    default = config.default_model_filename or MODEL_FILES["onnxruntime"]
    names = sorted(set(config.cc_model_filenames.values()) or {default})
    # onnxruntime_backend: a graph with its weights may be a folder
    folder = entry.folder / str(version)
    return [f"{name}/{MODEL_FILES['onnxruntime']}" if (folder / name).is_dir() else name for name in names]


def _find_graph_problems(entry: EntryFolder, version: int, name: str) -> Iterator[Finding]:
    config: Any = entry.config
    path, relative = entry.folder / str(version) / name, f"{version}/{name}"
    if not is_readable_file(path):
        yield _missing(entry, version, name)
        return
    try:
        signature = read_signature(path)
    except DamagedGraphError as err:
        yield entry.on("model-damaged", relative, f"{relative} {err}", "export or assemble it again")
        return
    has_library = config.model_operations.op_library_filename or "CPU_EXTENSION_PATH" in config.parameters
    if signature.custom_operators and not has_library:
        operators = ", ".join(signature.custom_operators[:3])
        label = BACKEND_LABELS["openvino" if entry.backend == "openvino" else "onnxruntime"]
        message = f"{relative} has operators that {label} does not bring ({operators}): the server refuses it"
        hint = 'name their library in model_operations { op_library_filename: ["/PATH/ON/THE/SERVER.so"] }'
        if entry.backend == "openvino":
            hint = "name their library in parameters CPU_EXTENSION_PATH, or export it without them"
        yield entry.on("model-operators", relative, message, hint)
    yield from _compare(entry, signature, of=relative, must_give_all=True)


def _compare(entry: EntryFolder, model: Signature, *, of: str, must_give_all: bool) -> Iterator[Finding]:
    """Compare as the backends do (onnxruntime_backend, ValidateInputs, ValidateOutputs, CompareDimsSupported)."""
    config: Any = entry.config
    if not config.input and not config.output:
        return
    yield from _find_axis_problems(entry, model, of)
    for role, written, actual in (("input", config.input, model.inputs), ("output", config.output, model.outputs)):
        by_name = {tensor.name: tensor for tensor in actual}
        names = ", ".join(by_name) or "none"
        for index, tensor in enumerate(written):
            where = f"{role}[{index}]"
            match = by_name.get(tensor.name)
            if match is None and not (role == "input" and tensor.name in model.optional_inputs):
                message = f"{of} has no {role} '{tensor.name}'; it has {names}"
                yield entry.at("model-tensor", where, message, f"name one of {names}")
            elif match is not None:
                yield from _compare_tensor(entry, tensor, match, where, of)
        missing = [name for name in by_name if name not in {tensor.name for tensor in written}]
        if missing and role == "input" and must_give_all and not config.HasField("sequence_batching"):
            message = f"{of} needs the inputs {', '.join(missing)} too, which config.pbtxt leaves out"
            yield entry.at("model-tensor", role, message, "add every input of the model")


def _compare_tensor(entry: EntryFolder, tensor: Any, actual: TensorSpec, where: str, of: str) -> Iterator[Finding]:
    dtype = data_type_name(tensor.data_type)
    # OpenVINO's backend converts (ValidateInputs, set_element_type).
    if dtype not in {"INVALID", actual.dtype} and entry.backend != "openvino":
        message = f"'{tensor.name}' is TYPE_{dtype} here and TYPE_{actual.dtype} in {of}"
        yield entry.at("model-tensor", where, message, f"write data_type: TYPE_{actual.dtype}")
    shape = [size if isinstance(size, int) else WILDCARD for size in actual.shape]
    if not tensor.dims or (entry.is_batched() and shape[:1] != [WILDCARD]):
        return  # reported as tensor-invalid, or as model-batch-axis
    if problem := _find_tensor_problem(entry, tensor, shape, is_input=where.startswith("input")):
        expected = describe_dims(shape[1:] if entry.is_batched() else shape)
        batch = " (the batch axis is left out, for max_batch_size > 0)" if entry.is_batched() else ""
        field, hint = _field_and_hint(tensor, where, expected)
        yield entry.at("model-tensor", field, f"{problem.replace('the graph', of)}{batch}", hint)


def _find_tensor_problem(entry: EntryFolder, tensor: Any, shape: Sequence[int], *, is_input: bool) -> str | None:
    """Say why the entry's backend refuses a tensor of a graph or a plan."""
    served, is_batched = _served_tensor_from_message(tensor), entry.is_batched()
    match entry.backend:
        case "onnxruntime":
            find = find_input_problem if is_input else find_output_problem
            return find(served, shape, is_batched=is_batched)
        case "openvino":  # doesMatch takes any size where the graph leaves it open, of an output as well
            is_reshaped = is_input and is_yes(entry.config, "RESHAPE_IO_LAYERS")
            graph_shape = [WILDCARD] * len(shape) if is_reshaped else shape
            return find_shape_problem(served, graph_shape, is_batched=is_batched, is_exact=False)
        case _:
            # tensorrt_backend takes any of the narrower dims, also of an output; its ragged batches have other rules.
            if is_input and tensor.allow_ragged_batch:
                return None
            return find_shape_problem(served, shape, is_batched=is_batched, is_exact=False)


def _served_tensor_from_message(tensor: Any) -> ServedTensor:
    """Return an input or output of a configuration as the ONNX Runtime backend reads it."""
    return ServedTensor(
        name=tensor.name,
        dims=tuple(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims),
        is_optional=getattr(tensor, "optional", False),
        is_ragged=getattr(tensor, "allow_ragged_batch", False),
    )


def _field_and_hint(tensor: Any, where: str, expected: str) -> tuple[str, str]:
    """Return the field that the backend refuses, and what to do about it."""
    for name in ("optional", "allow_ragged_batch"):
        if getattr(tensor, name, False):
            return f"{where}.{name}", f"remove {name}"
    if tensor.HasField("reshape"):
        return f"{where}.reshape", f"remove reshape, or make its shape {expected}"
    return f"{where}.dims", f"write dims: {expected}"


def _find_axis_problems(entry: EntryFolder, model: Signature, of: str) -> Iterator[Finding]:
    config: Any = entry.config
    ranked = [tensor for tensor in (*model.inputs, *model.outputs) if tensor.shape or not model.is_partial]
    fixed = [tensor.name for tensor in ranked if not tensor.shape or isinstance(tensor.shape[0], int)]
    if entry.is_batched() and fixed:
        message = f"max_batch_size is {config.max_batch_size}, but {of} has no batch axis in {', '.join(fixed)}"
        yield entry.at(
            "model-batch-axis", "max_batch_size", message, "set max_batch_size: 0, or export with a dynamic batch"
        )
    elif config.max_batch_size == 0 and ranked and not fixed and entry.backend == "onnxruntime":
        message = f"max_batch_size is 0, so the server never batches, though {of} has a batch axis"
        yield entry.at(
            "batching-useless", "max_batch_size", message, "set max_batch_size, and take the axis out of the dims"
        )


def _find_plan_problems(entry: EntryFolder, version: int) -> Iterator[Finding]:
    config: Any = entry.config
    default = config.default_model_filename or MODEL_FILES["tensorrt"]
    names = dict(config.cc_model_filenames) or {"": default}
    engines = entry.manifest.engines if entry.manifest else ()
    for capability, name in sorted(names.items()):
        path = entry.folder / str(version) / name
        if not is_readable_file(path):
            yield _missing(entry, version, name)
        elif path.stat().st_size == 0:
            yield entry.on("model-damaged", f"{version}/{name}", f"the plan {name} is empty", _BUILD_PLAN)
        else:
            yield from _find_record_problems(entry, f"{version}/{name}", capability, engines)
    for engine in engines:
        if problem := find_builder_problem(engine):
            yield entry.on("plan-rtx", MANIFEST_NAME, problem, _BUILD_PLAN)
    yield from _find_profile_batch_problems(entry, engines)
    for engine in engines[:1]:
        signature = Signature(engine.model_inputs, engine.model_outputs)
        yield from _compare(entry, signature, of=f"the plan for {engine.gpu}", must_give_all=True)


def _find_record_problems(
    entry: EntryFolder, relative: str, capability: str, engines: Sequence[Engine]
) -> Iterator[Finding]:
    """Check a plan by the record of the engine that it is a copy of, or by how it begins: TensorRT alone opens it."""
    record = entry.manifest.files.get(relative) if entry.manifest else None
    made_from = [engine for engine in engines if record and record in engine.files.values()]
    if not made_from:
        yield from _find_content_problems(entry, relative)
    for engine in made_from[:1]:
        if capability and not engine.runs_on(capability):
            own = f"{engine.compute_capability} ({engine.gpu})"
            message = f"{relative} is for compute capability {own}, filed under {capability}"
            where = f"cc_model_filenames.{capability}"
            yield entry.at("plan-architecture", where, message, f"file it under {engine.compute_capability}")


def _find_content_problems(entry: EntryFolder, relative: str) -> Iterator[Finding]:
    with (entry.folder / relative).open("rb") as stream:
        begin = stream.read(4)
    if begin == _RTX_MAGIC:
        message = f"{relative} looks like a TensorRT-RTX engine, which no Triton backend loads: it begins with 'vtrt'"
        yield entry.on("plan-suspect", relative, message, _BUILD_PLAN)
    elif _ONNX_BEGIN.match(begin):
        yield entry.on("plan-onnx", relative, f"{relative} is an ONNX graph, not a plan", _BUILD_PLAN)


def _find_profile_batch_problems(entry: EntryFolder, engines: Sequence[Engine]) -> Iterator[Finding]:
    config: Any = entry.config
    sizes = [(max(profile.max[0] for profile in engine.profiles), engine.gpu) for engine in engines if engine.profiles]
    size, gpu = min(sizes, default=(config.max_batch_size, ""))
    if problem := find_plan_batch_problem(config.max_batch_size, size, gpu):
        hint = f"lower max_batch_size to {size}, or build the engine with a larger --profile"
        yield entry.at("model-batch-axis", "max_batch_size", problem, hint)


def _find_python_problems(entry: EntryFolder, version: int) -> Iterator[Finding]:
    config: Any = entry.config
    name = config.default_model_filename or MODEL_FILES["python"]
    path: Path = entry.folder / str(version) / name
    if not is_readable_file(path):
        yield _missing(entry, version, name)
        return
    relative = f"{version}/{name}"
    try:
        tree = ast.parse(path.read_bytes(), filename=name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        if path.stat().st_size == 0 or b"\0" in path.read_bytes():
            yield entry.on("model-damaged", relative, f"{relative} is not Python", "assemble the entry again")
            return
        version_here = f"{sys.version_info.major}.{sys.version_info.minor}"
        message = f"{relative} does not parse with Python {version_here}: {str(err)[:120]}"
        yield entry.on("python-syntax", relative, message, "correct it; the Python of the server's image decides")
        return
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    imported = any(
        isinstance(node, ast.ImportFrom | ast.Assign) and "TritonPythonModel" in ast.dump(node)
        for node in ast.walk(tree)
    )
    starred = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    if "TritonPythonModel" not in names and not imported and not starred:
        message = f"{relative} does not define the class TritonPythonModel, which the Python backend looks for"
        yield entry.on("model-damaged", relative, message, "define class TritonPythonModel with execute()")
