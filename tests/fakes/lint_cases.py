"""Repositories that are wrong in one way each, with the code that lint gives it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from scripts.benchmarks.small_artifacts import save_graph

PYTHON_MODEL = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor("b", np.zeros((1, 4), np.float32))]) for _ in requests]
"""
TENSORS = """
input [{ name: "a" data_type: TYPE_INT64 dims: [-1] }]
output [{ name: "b" data_type: TYPE_FP32 dims: [-1] }]
"""
GRAPH_TENSORS = """
input [
  { name: "input_ids" data_type: TYPE_INT64 dims: [-1] },
  { name: "attention_mask" data_type: TYPE_INT64 dims: [-1] },
  { name: "token_type_ids" data_type: TYPE_INT64 dims: [-1] }
]
output [{ name: "last_hidden_state" data_type: TYPE_FP32 dims: [-1, 8] }]
"""
ON_CPU = "instance_group [{ count: 1 kind: KIND_CPU }]\n"


def python_config(name: str, extra: str = "", *, batch: int = 8, tensors: str = TENSORS) -> str:
    return f'name: "{name}"\nbackend: "python"\nmax_batch_size: {batch}\n{tensors}{extra}'


def graph_config(name: str, extra: str = ON_CPU, *, batch: int = 8, tensors: str = GRAPH_TENSORS) -> str:
    return f'name: "{name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: {batch}\n{tensors}{extra}'


def write_python(repository: Path, name: str, config: str | None = None, *, version: str = "1") -> Path:
    folder = repository / name
    (folder / version).mkdir(parents=True, exist_ok=True)
    (folder / version / "model.py").write_text(PYTHON_MODEL)
    (folder / "config.pbtxt").write_text(python_config(name) if config is None else config)
    return folder


def write_graph(repository: Path, name: str, config: str | None = None) -> Path:
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    save_graph(folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(graph_config(name) if config is None else config)
    return folder


def ensemble_config(
    name: str, *steps: str, batch: int = 8, input_type: str = "INT64", input_fields: str = "", extra: str = ""
) -> str:
    return (
        f'name: "{name}"\nplatform: "ensemble"\nmax_batch_size: {batch}\n'
        f'input [{{ name: "IN" data_type: TYPE_{input_type} dims: [-1] {input_fields} }}]\n'
        f'output [{{ name: "OUT" data_type: TYPE_FP32 dims: [-1] }}]\n'
        f"ensemble_scheduling {{ step [{', '.join(steps)}] }}\n{extra}"
    )


def step(
    model: str, source: str = "IN", target: str = "OUT", *, key: str = "a", out: str = "b", version: int = -1
) -> str:
    return (
        f'{{ model_name: "{model}" model_version: {version} input_map {{ key: "{key}" value: "{source}" }} '
        f'output_map {{ key: "{out}" value: "{target}" }} }}'
    )


def warmup(data: str, *, dims: str = "[4]", dtype: str = "INT64", key: str = "a", batch: int = 1) -> str:
    value = f"data_type: TYPE_{dtype} dims: {dims} {data}"
    return f'model_warmup [{{ name: "w" batch_size: {batch} inputs {{ key: "{key}" value {{ {value} }} }} }}]'


@dataclass(frozen=True)
class Case:
    """A wrong entry: `write` makes it in a repository, in which `ok` is a right one."""

    name: str
    code: str
    write: Callable[[Path], object]


def _python_case(name: str, code: str, extra: str, **more) -> Case:
    return Case(name, code, lambda repository: write_python(repository, name, python_config(name, extra, **more)))


def _reshape_case(name: str, dims: str, reshape: str, *, code: str = "tensor-invalid", batch: int = 8) -> Case:
    tensors = TENSORS.replace("dims: [-1]", f"dims: {dims} reshape {{ {reshape} }}", 1)
    return _python_case(name, code, "", tensors=tensors, batch=batch)


def labelled(label_filename: str) -> str:
    """Return the tensors, the output with three values and labels."""
    return TENSORS.replace("TYPE_FP32 dims: [-1]", f'TYPE_FP32 dims: [3] label_filename: "{label_filename}"')


def environment(name: str) -> str:
    """Return the Python backend's parameter for an environment in the entry's folder."""
    value = f'"$$TRITON_MODEL_DIRECTORY/{name}"'
    return f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: {value} }} }}'


# Of sequence batching, with where its state begins; and a parameter of the Python backend.
_STATE = """sequence_batching { state [{
  input_name: "s" output_name: "t" data_type: TYPE_FP32 dims: [4]
  initial_state { name: "i" data_type: TYPE_FP32 dims: [4] zero_data: true }
}] }"""
_CPU_TENSORS = 'parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "yes" } }'


def _control_case(name: str, control: str, *, tensor: str = "S", code: str = "sequence-control") -> Case:
    named = f'name: "{tensor}"' if tensor else ""
    controls = f"control_input [{{ {named} control [{{ kind: {control} }}] }}]"
    return _python_case(name, code, f"sequence_batching {{ {controls} }}")


def _tensor_case(name: str, fields: str) -> Case:
    return _python_case(name, "tensor-invalid", "", tensors=TENSORS.replace("dims: [-1]", f"dims: [-1] {fields}", 1))


def batch_output(target: str, source: str) -> str:
    """Return a batch_output, as a model whose output is as long as an input has it."""
    kind = "BATCH_SCATTER_WITH_INPUT_SHAPE"
    return f'batch_output [{{ target_name: "{target}" kind: {kind} source_input: "{source}" }}]'


def _batch_input_case(name: str, source: str, *, data_type: str = "FP32", code: str = "tensor-batch") -> Case:
    fields = f'kind: BATCH_ELEMENT_COUNT target_name: "c" data_type: TYPE_{data_type} {source}'
    return _python_case(name, code, f"batch_input [{{ {fields} }}]")


def _environment_case(name: str, code: str, path: str) -> Case:
    return _python_case(name, code, environment(path))


def _version_case(name: str, version: str) -> Case:
    return Case(name, "version-none", lambda repository: write_python(repository, name, version=version))


def _ensemble_case(name: str, code: str, *steps: str, **more) -> Case:
    def write(repository: Path) -> None:
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(ensemble_config(name, *steps, **more))

    return Case(name, code, write)


def _file_case(name: str, code: str, change: Callable[[Path], object], *, graph: bool = False) -> Case:
    make = write_graph if graph else write_python
    return Case(name, code, lambda repository: change(make(repository, name)))


def _operator_case(name: str, code: str, **graph) -> Case:
    def write(repository: Path) -> None:
        path = write_graph(repository, name) / "1" / "model.onnx"
        onnx.save(add_operator(onnx.load(path), **graph), path)

    return Case(name, code, write)


def add_operator(
    model: onnx.ModelProto,
    *,
    domain: str = "acme",
    operator: str = "Fuse",
    is_in_branch: bool = False,
    is_defined: bool = False,
) -> onnx.ModelProto:
    """Give a graph one more node, of another domain; in a branch, or with the function that it stands for."""
    node = helper.make_node(operator, ["wide_mask"], ["extra"], domain=domain)
    model.opset_import.append(helper.make_opsetid(domain, 1))
    if is_in_branch:
        extra = helper.make_tensor_value_info("extra", TensorProto.FLOAT, None)
        branch = helper.make_graph([node], "branch", [], [extra])
        yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True]))
        model.graph.node.append(yes)
        node = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    if is_defined:
        body = [helper.make_node("Neg", ["x"], ["y"])]
        function = helper.make_function(domain, operator, ["x"], ["y"], body, [helper.make_opsetid("", 17)])
        model.functions.append(function)
    model.graph.node.append(node)
    return model


def _write_texts(folder: Path, texts: dict[str, str]) -> None:
    for relative, text in texts.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(text)


def _write_before(path: Path, text: bytes) -> None:
    path.write_bytes(text + path.read_bytes())


def _write_warmup(folder: Path, content: bytes) -> None:
    (folder / "warmup").mkdir()
    (folder / "warmup" / "x").write_bytes(content)


# The server at hand (2.51) refuses every one of these.
REFUSED_CASES = [
    _python_case("unknown-field", "config-unknown-field", "max_batch: 3"),
    _python_case("wrong-type", "config-syntax", 'dynamic_batching { max_queue_delay_microseconds: "soon" }'),
    _python_case("given-twice", "config-syntax", "max_batch_size: 3"),
    Case("no-text", "config-syntax", lambda at: write_python(at, "no-text", "\x7fELF")),
    Case("other-name", "config-name", lambda at: write_python(at, "other-name", python_config("another"))),
    Case("platform", "config-platform", lambda at: write_python(at, "platform", 'platform: "magic"\n' + TENSORS)),
    _python_case(
        "decoupled-cache",
        "cache-decoupled",
        "model_transaction_policy { decoupled: true } response_cache { enable: true }",
    ),
    _control_case("control-unnamed", "CONTROL_SEQUENCE_START int32_false_true: [0, 1]", tensor=""),
    _control_case("control-none", "CONTROL_SEQUENCE_START"),
    _control_case("control-one", "CONTROL_SEQUENCE_START int32_false_true: [0]"),
    _control_case("control-both", "CONTROL_SEQUENCE_START int32_false_true: [0, 1] fp32_false_true: [0, 1]"),
    _control_case("control-type", "CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32"),
    _python_case("slots", "sequence-scheduling", "sequence_batching { direct { minimum_slot_utilization: 1.5 } }"),
    _python_case(
        "oldest",
        "sequence-scheduling",
        "sequence_batching { oldest { max_candidate_sequences: 4 preferred_batch_size: [9] } }",
    ),
    _python_case("state", "sequence-scheduling", _STATE.replace("zero_data: true", "")),
    _python_case("cpu-tensors", "parameter-value", _CPU_TENSORS.replace("yes", "maybe")),
    _tensor_case("shape-tensor", "is_shape_tensor: true"),
    _tensor_case("non-linear", "is_non_linear_format_io: true"),
    _tensor_case("format", "format: FORMAT_NCHW"),
    _python_case("plus", "config-syntax", "dynamic_batching { max_queue_delay_microseconds: +5 }"),
    _python_case("nul", "config-syntax", "# \0"),
    _batch_input_case("batch-type", 'source_input: "a"', data_type="INT64"),
    _batch_input_case("batch-no-source", ""),
    _batch_input_case("batch-two-sources", 'source_input: ["a", "a"]'),
    _batch_input_case("batch-source", 'source_input: "z"'),
    _python_case("batch-target", "tensor-batch", batch_output("z", "a")),
    _python_case("batch-output-source", "tensor-batch", batch_output("b", "z")),
    _python_case("pair", "config-platform", 'platform: "ensemble"'),
    _python_case("negative-batch", "config-batch-size", "", batch=-1),
    _python_case("preferred", "batching-preferred-size", "dynamic_batching { preferred_batch_size: [4, 9] }"),
    _python_case("priority", "batching-priority", "dynamic_batching { priority_levels: 2 }"),
    _python_case(
        "level",
        "batching-priority",
        "dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value {} } }",
    ),
    _python_case(
        "ordering",
        "batching-ordering",
        "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
    ),
    _python_case("no-dims", "tensor-invalid", 'input [{ name: "c" data_type: TYPE_FP32 }]'),
    _python_case("dim-zero", "tensor-invalid", 'input [{ name: "c" data_type: TYPE_FP32 dims: [0] }]'),
    _reshape_case("reshape-size", "[4]", "shape: [1, 2]"),
    _reshape_case("reshape-any", "[-1]", "shape: [-1, -1]"),
    _reshape_case("reshape-zero", "[-1]", "shape: [0]"),
    _reshape_case("reshape-scalar", "[1]", "", batch=0),
    _environment_case("environment", "file-missing", "env.tar.gz"),
    _environment_case("environment-folder", "file-missing", "1"),
    _file_case(
        "environment-no-archive",
        "file-missing",
        lambda at: _write_texts(
            at,
            {
                "config.pbtxt": python_config("environment-no-archive", environment("env.tar.gz")),
                "env.tar.gz": "not a tar",
            },
        ),
    ),
    _operator_case("operators", "model-operators"),
    _operator_case("operators-in-a-branch", "model-operators", is_in_branch=True),
    _python_case("no-labels", "file-missing", "", tensors=labelled("labels.txt")),
    _python_case("cpu-gpus", "instance-devices", "instance_group [{ kind: KIND_CPU gpus: [0] }]"),
    _python_case("profile", "instance-devices", 'instance_group [{ kind: KIND_CPU profile: ["0"] }]'),
    _python_case("absent-version", "version-none", "version_policy { specific { versions: [3] } }"),
    _python_case("no-version", "version-none", "version_policy { latest { num_versions: 0 } }"),
    _version_case("named-version", "v1"),
    _version_case("padded-version", "01"),
    _file_case("no-config", "config-missing", lambda at: (at / "config.pbtxt").unlink()),
    _file_case("no-class", "model-damaged", lambda at: (at / "1" / "model.py").write_text("x = 1")),
    _file_case("no-python", "python-syntax", lambda at: (at / "1" / "model.py").write_text("def (")),
    _file_case("no-graph", "file-missing", lambda at: (at / "1" / "model.onnx").unlink(), graph=True),
    _file_case(
        "truncated",
        "model-damaged",
        lambda at: (at / "1" / "model.onnx").write_bytes((at / "1" / "model.onnx").read_bytes()[:-40]),
        graph=True,
    ),
    _file_case("empty-graph", "model-damaged", lambda at: (at / "1" / "model.onnx").write_bytes(b""), graph=True),
    _python_case("warmup-any", "warmup-input", warmup("zero_data: true", dims="[-1]")),
    _python_case("warmup-type", "warmup-input", warmup("zero_data: true", dtype="INT32")),
    _python_case("warmup-rank", "warmup-input", warmup("zero_data: true", dims="[4, 4]")),
    _python_case("warmup-none", "warmup-input", warmup("zero_data: true", key="z")),
    _python_case("warmup-nothing", "warmup-data", warmup("")),
    _python_case("warmup-absent", "warmup-data", warmup('input_data_file: "x"')),
    Case(
        "warmup-short",
        "warmup-data",
        lambda at: _write_warmup(
            write_python(at, "warmup-short", python_config("warmup-short", warmup('input_data_file: "x"'))), b"1" * 31
        ),
    ),
    _ensemble_case("e-absent", "ensemble-step", step("nope")),
    _ensemble_case("e-version", "ensemble-step", step("ok", version=9)),
    _ensemble_case("e-version-less", "ensemble-step", step("ok", version=-2)),
    _ensemble_case("e-itself", "ensemble-flow", step("e-itself", key="IN", out="OUT")),
    _ensemble_case("e-input", "ensemble-tensor", step("ok", key="z")),
    _ensemble_case("e-output", "ensemble-tensor", step("ok", out="z")),
    _ensemble_case("e-type", "ensemble-type", step("ok"), input_type="FP32"),
    _ensemble_case("e-batch", "ensemble-batch-size", step("ok"), batch=9),
    _ensemble_case("e-unused", "ensemble-flow", step("ok"), step("ok", target="X")),
    _ensemble_case("e-never", "ensemble-flow", step("ok", source="X")),
    _ensemble_case("e-circle", "ensemble-flow", step("ok", "X", "OUT"), step("ok", "OUT", "X")),
    _ensemble_case("e-instances", "ensemble-field", step("ok"), extra=ON_CPU),
    _ensemble_case("e-empty", "ensemble-step"),
    Case(".hidden", "entry-hidden", lambda at: (at / ".hidden" / "1").mkdir(parents=True)),
]

# The server loads these, and lint has no error for them; a code is the warning that it has.
SERVED_CASES = [
    _python_case("plain", "", ON_CPU),
    Case("plain-graph", "", lambda at: write_graph(at, "plain-graph")),
    _python_case(
        "queue", "", "dynamic_batching { max_queue_delay_microseconds: 5 priority_levels: 2 default_priority_level: 1 }"
    ),
    _python_case("all-versions", "", "version_policy { all {} }"),
    _python_case("some-version", "version-absent", "version_policy { specific { versions: [1, 3] } }"),
    _reshape_case("reshape-right", "[-1]", "shape: [1, -1]", code=""),
    _reshape_case("reshape-empty", "[1]", "", code=""),
    _file_case(
        "few-labels",
        "labels-count",
        lambda at: _write_texts(
            at, {"config.pbtxt": python_config("few-labels", tensors=labelled("labels.txt")), "labels.txt": "a\nb\n"}
        ),
    ),
    _file_case(
        "environment-there",
        "",
        lambda at: _write_texts(
            at, {"config.pbtxt": python_config("environment-there", environment("env")), "env/bin/activate": ""}
        ),
    ),
    _file_case(
        "labels-in-folder",
        "",
        lambda at: _write_texts(
            at, {"config.pbtxt": python_config("labels-in-folder", tensors=labelled("l/a.txt")), "l/a.txt": "a\nb\nc"}
        ),
    ),
    _operator_case("operators-of-its-own", "", is_defined=True),
    _operator_case("operators-of-microsoft", "", domain="com.microsoft", operator="Gelu"),
    _file_case("latin-1", "", lambda at: _write_before(at / "config.pbtxt", b"# caf\xe9\n")),
    Case("Upper-Case", "", lambda at: write_python(at, "Upper-Case")),
    _python_case("batch-output", "", batch_output("b", "a")),
    _batch_input_case("batch-input", 'source_input: "a"', code=""),
    _control_case("control", "CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64", code=""),
    _python_case("state-of-zeros", "", _STATE),
    _python_case("cpu-tensors-yes", "", _CPU_TENSORS),
    _python_case("warm-of-nothing", "", warmup("zero_data: true", dims="[0]")),
    Case("version-0", "", lambda at: write_python(at, "version-0", version="0")),
    _python_case("no-merging", "batching-useless", "dynamic_batching {}", batch=0),
    _python_case("stream", "backend-ignores-field", "optimization { priority: PRIORITY_MAX }"),
    _python_case("cached", "server-arguments", "response_cache { enable: true }"),
    _python_case("no-tensors", "config-incomplete", "", tensors=""),
    _python_case("warm", "", warmup("zero_data: true", batch=2)),
    Case("folders", "version-ignored", lambda at: (write_python(at, "folders") / "assets").mkdir()),
    Case("nameless", "", lambda at: write_python(at, "nameless", 'backend: "python"\nmax_batch_size: 8\n' + TENSORS)),
    _ensemble_case("e-plain", "version-empty", step("ok")),
    _ensemble_case("e-single", "version-empty", step("ok"), batch=0),
    _ensemble_case("e-optional", "ensemble-optional", step("ok"), input_fields="optional: true"),
]


def _write_ensemble_over_a_queue(repository: Path) -> None:
    queue = "dynamic_batching { default_queue_policy { max_queue_size: 8 } }"
    write_python(repository, "limited", python_config("limited", queue))
    (repository / "e-limited" / "1").mkdir(parents=True)
    (repository / "e-limited" / "config.pbtxt").write_text(ensemble_config("e-limited", step("limited")))


def _write_plan(repository: Path) -> None:
    folder = repository / "a-plan"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.plan").write_bytes(b"a plan")
    text = graph_config("a-plan", "instance_group [{ kind: KIND_GPU }]")
    (folder / "config.pbtxt").write_text(text.replace("onnxruntime_onnx", "tensorrt_plan"))


def quantized_graph(name: str, scale_type: int, *, is_constant: bool = False) -> Callable[[Path], object]:
    def write(repository: Path) -> None:
        path = write_graph(repository, name) / "1" / "model.onnx"
        model = onnx.load(path)
        scale = helper.make_tensor("scale", scale_type, [], [0.5])
        if is_constant:
            model.graph.node.append(helper.make_node("Constant", [], ["scale"], value=scale))
        else:
            model.graph.initializer.append(scale)
        model.graph.initializer.append(helper.make_tensor("weights", TensorProto.INT8, [2], [1, 2]))
        model.graph.node.append(helper.make_node("DequantizeLinear", ["weights", "scale"], ["extra"]))
        onnx.save(model, path)

    return write


def openvino_config(name: str, extra: str = ON_CPU, *, batch: int = 0) -> str:
    """An entry of OpenVINO's backend for `save_graph`'s graph, its batch among the dims unless there is a `batch`."""
    tensors = GRAPH_TENSORS if batch else GRAPH_TENSORS.replace("dims: [", "dims: [-1, ")
    head = f'name: "{name}"\nbackend: "openvino"\ndefault_model_filename: "model.onnx"\nmax_batch_size: {batch}\n'
    return f"{head}{tensors}{extra}"


def openvino_graph(name: str, operator: str = "") -> Callable[[Path], object]:
    def write(repository: Path) -> None:
        path = write_graph(repository, name, openvino_config(name)) / "1" / "model.onnx"
        if operator:
            model = onnx.load(path)
            model.graph.node.append(helper.make_node(operator, ["input_ids"], ["extra"]))
            onnx.save(model, path)

    return write


_ARM = {"triton": "26.07", "platform": "linux/arm64"}


@dataclass(frozen=True)
class TargetCase:
    """An entry that a target does not serve as it should: `code` is found with `target`, and not with `other`.

    Targets are the arguments of `tests.fakes.lint_helpers.target_for`.
    """

    name: str
    code: str
    write: Callable[[Path], object]
    target: dict[str, str]
    other: dict[str, str]


_HALF = TensorProto.FLOAT16
TARGET_CASES = [
    TargetCase("half", "target-onnxruntime", quantized_graph("half", _HALF), {"triton": "26.04"}, {"triton": "26.03"}),
    TargetCase("half", "target-onnxruntime", quantized_graph("half", _HALF), {"triton": "26.06"}, {"triton": "26.07"}),
    TargetCase(
        "half-constant",
        "target-onnxruntime",
        quantized_graph("half-constant", _HALF, is_constant=True),
        {"triton": "26.05"},
        {"triton": "26.05-trtllm"},
    ),
    TargetCase("ov", "target-platform", openvino_graph("ov"), _ARM, {"triton": "26.07"}),
    TargetCase("at", "target-openvino", openvino_graph("at", "Attention"), {"triton": "26.03"}, {"triton": "26.04"}),
    TargetCase(
        "rms", "target-openvino", openvino_graph("rms", "RMSNormalization"), {"triton": "26.07"}, {"triton": "26.08"}
    ),
    TargetCase("e-limited", "ensemble-queue", _write_ensemble_over_a_queue, {"triton": "26.02"}, {"triton": "26.03"}),
    *(
        TargetCase("a-plan", code, _write_plan, {"gpu": gpu, **target}, {"gpu": other_gpu, **other})
        for code, gpu, target, other_gpu, other in (
            ("target-unproven", "t4", {"triton": "26.06"}, "t4", {"triton": "26.05"}),
            ("target-unproven", "t4", {"triton": "26.10"}, "l4", {"triton": "26.10"}),
            (
                "target-driver",
                "l4",
                {"triton": "25.08", "driver": "575"},
                "l4",
                {"triton": "25.08", "driver": "580"},
            ),
            ("target-driver", "l4", {"triton": "26.10", "driver": "550"}, "l4", {"triton": "25.07", "driver": "550"}),
        )
    ),
]


@dataclass(frozen=True)
class OnnxRuntimeCase:
    """A change of `GRAPH_TENSORS` that the ONNX Runtime backend refuses, and the `field` that lint names."""

    name: str
    change: tuple[str, str]
    field: str

    @property
    def tensors(self) -> str:
        """The tensors with the change."""
        old, new = self.change
        return GRAPH_TENSORS.replace(old, new, 1)


ONNXRUNTIME_CASES = [
    OnnxRuntimeCase("input-rank", ("dims: [-1]", "dims: [-1] reshape { shape: [1, -1] }"), "input[0].reshape"),
    OnnxRuntimeCase(
        "output-rank", ("dims: [-1, 8]", "dims: [-1, 8] reshape { shape: [-1, 8, 1] }"), "output[0].reshape"
    ),
    OnnxRuntimeCase(
        "output-size", ("dims: [-1, 8]", "dims: [-1, 8] reshape { shape: [-1, 4, 2] }"), "output[0].reshape"
    ),
    OnnxRuntimeCase("optional", ("dims: [-1]", "dims: [-1] optional: true"), "input[0].optional"),
    OnnxRuntimeCase("ragged", ("dims: [-1]", "dims: [-1] allow_ragged_batch: true"), "input[0].allow_ragged_batch"),
    OnnxRuntimeCase("output-dims", ("dims: [-1, 8]", "dims: [4, 8]"), "output[0].dims"),
]
