"""Requests: what a user asked for, from `configs/*.yaml` or from flags (a flag wins over the file).

Every spec is frozen and refuses unknown keys, naming the nearest known one. YAML keys and flags have
the same names, in snake_case and kebab-case. Nothing here touches a model, a vendor library or the
network.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pipeline.errors import SpecError

Task = Literal[
    "auto",
    "fill-mask",
    "question-answering",
    "text-classification",
    "token-classification",
    "feature-extraction",
]
Weights = Literal["hub", "random"]
Precision = Literal["fp32", "fp16", "int8"]
Builder = Literal["auto", "tensorrt", "tensorrt-rtx"]
Runtime = Literal["tensorrt", "onnxruntime"]
CalibrationMethod = Literal["max", "percentile", "entropy", "mse"]
HardwareCompatibility = Literal["none", "ampere_plus"]
StreamPriority = Literal["default", "max", "min"]

TASKS: tuple[str, ...] = get_args(Task)
PRECISIONS: tuple[str, ...] = get_args(Precision)
BUILDERS: tuple[str, ...] = get_args(Builder)
CALIBRATION_METHODS: tuple[str, ...] = get_args(CalibrationMethod)
RUNTIMES: tuple[str, ...] = get_args(Runtime)
HARDWARE_COMPATIBILITIES: tuple[str, ...] = get_args(HardwareCompatibility)

# A name becomes a Triton model directory, a GCS object prefix and a Kubernetes label.
NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"


class Spec(BaseModel):
    """Base of every request: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown_keys(cls, given: Any) -> Any:
        """Name the nearest known key, which pydantic's own message does not."""
        if not isinstance(given, Mapping):
            return given
        for key in given:
            if key not in cls.model_fields:
                known = sorted(cls.model_fields)
                nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                hint = f"did you mean '{nearest[0]}'?" if nearest else f"known keys: {', '.join(known)}"
                raise PydanticCustomError("unknown_key", "unknown key '{key}'", {"key": str(key), "hint": hint})
        return given


_SHAPE = re.compile(r"^\s*(\d+)\s*x\s*(\d+)\s*$")


def parse_profile(text: str) -> dict[str, tuple[int, int]]:
    """Parse a min/opt/max triple of ``BATCHxSEQUENCE`` shapes.

    Args:
        text: Three shapes, ``1x16,8x128,16x384``.

    Returns:
        The keyword arguments of `OptimizationProfile`.

    Raises:
        ValueError: The text is not three shapes.
    """
    matches = [_SHAPE.match(part) for part in text.split(",")]
    shapes = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(matches) != 3 or len(shapes) != 3:
        raise ValueError(f"'{text}' is not a min,opt,max triple of BATCHxSEQUENCE shapes such as 1x16,8x128,16x384")
    return {"min": shapes[0], "opt": shapes[1], "max": shapes[2]}


class OptimizationProfile(Spec):
    """The shapes an engine accepts and the one it is tuned for; each is (batch, sequence).

    Source of the rule min <= opt <= max: `IOptimizationProfile::setDimensions` in NvInfer.h.
    """

    min: tuple[int, int]
    opt: tuple[int, int]
    max: tuple[int, int]

    @model_validator(mode="before")
    @classmethod
    def accept_triple(cls, given: Any) -> Any:
        """Accept the text form ``1x16,8x128,16x384``."""
        return parse_profile(given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def check_order(self) -> Self:
        """Refuse min > opt, opt > max and sizes below 1."""
        for axis, label in enumerate(("batch", "sequence")):
            low, mid, high = self.min[axis], self.opt[axis], self.max[axis]
            if not 1 <= low <= mid <= high:
                raise ValueError(f"{label} sizes must satisfy 1 <= min <= opt <= max, got {low}, {mid}, {high}")
        return self

    def __str__(self) -> str:
        return ",".join(f"{batch}x{sequence}" for batch, sequence in (self.min, self.opt, self.max))


DEFAULT_PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 128), max=(16, 384))
DEFAULT_BATCH = (1, 8, 16)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Parse sizes such as ``32,64,128``.

    Raises:
        ValueError: The text is not a list of whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"'{text}' is not a list of sizes such as 32,64,128")
    return tuple(int(part) for part in parts)


def profiles_from_seq_lens(
    seq_lens: Sequence[int], batch: Sequence[int] = DEFAULT_BATCH
) -> tuple[OptimizationProfile, ...]:
    """Give every sequence-length bucket an optimization profile of its own.

    Profile i takes the sequences that the bucket before it does not, and is tuned for the bucket's end,
    to which a client pads: min = the bucket before + 1 (1 for the first), opt = max = the bucket.

    Args:
        seq_lens: The ends of the buckets, increasing: ``(32, 64, 128)``.
        batch: Smallest, usual and largest batch size.

    Raises:
        ValueError: A size is below 1 or out of order, or `batch` is not a triple.
    """
    if not seq_lens or list(seq_lens) != sorted(set(seq_lens)) or seq_lens[0] < 1:
        raise ValueError(f"seq_lens must increase from 1 or more, got {_join_sizes(seq_lens)}")
    if len(batch) != 3 or list(batch) != sorted(batch) or batch[0] < 1:
        raise ValueError(f"batch must be min,opt,max with 1 <= min <= opt <= max, got {_join_sizes(batch)}")
    low, usual, high = batch
    return tuple(
        OptimizationProfile(min=(low, before + 1), opt=(usual, bucket), max=(high, bucket))
        for before, bucket in zip((0, *seq_lens), seq_lens, strict=False)
    )


def _join_sizes(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes)) or "nothing"


class ModelSpec(Spec):
    """Which model to export, and how.

    `weights="random"` builds the architecture with weights drawn from `seed`: for benchmarks and for
    machines that cannot reach a hub. It is never chosen for the user.
    """

    model: str = Field(min_length=1)
    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    task: Task = "auto"
    weights: Weights = "hub"
    seed: int = Field(default=0, ge=0)
    revision: str | None = None


def _lower(given: Any) -> Any:
    return given.strip().lower() if isinstance(given, str) else given


GpuName = Annotated[str, BeforeValidator(_lower), Field(min_length=1)]


def _parse_sizes(given: Any) -> Any:
    return parse_sizes(given) if isinstance(given, str) else given


Sizes = Annotated[tuple[int, ...], BeforeValidator(_parse_sizes)]


class BuildOptions(Spec):
    """How to build an engine, whatever it is built for.

    `seq_lens` with `batch` is a short way to write `profiles`: see `profiles_from_seq_lens`. The rest but
    `workspace_limit_mib` means something to the standard TensorRT builder alone (IBuilderConfig in
    NvInfer.h). `hardware_compatible: ampere_plus` makes a plan that Ampere and every later architecture
    load. A `refit` engine takes new weights later; `strip_weights` leaves them out of the plan, which must
    then be refitted before use.
    """

    builder: Builder = "auto"
    profiles: tuple[OptimizationProfile, ...] = Field(default=(DEFAULT_PROFILE,), min_length=1)
    seq_lens: Sizes = ()
    batch: Sizes = ()
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    workspace_limit_mib: Annotated[int, Field(gt=0)] | None = None
    version_compatible: bool = False
    hardware_compatible: HardwareCompatibility = "none"
    refit: bool = False
    strip_weights: bool = False

    @model_validator(mode="after")
    def check_profiles(self) -> Self:
        """Refuse two ways of saying the shapes, and a batch that belongs to no bucket."""
        if self.seq_lens:
            if self.profiles != (DEFAULT_PROFILE,):
                raise ValueError("profiles and seq_lens exclude each other")
            self.engine_profiles()
        elif self.batch:
            raise ValueError("batch belongs to seq_lens; a profile has its own batch sizes")
        return self

    def engine_profiles(self) -> tuple[OptimizationProfile, ...]:
        """Return the profiles that were asked for, in either way."""
        return profiles_from_seq_lens(self.seq_lens, self.batch or DEFAULT_BATCH) if self.seq_lens else self.profiles


class EngineSpec(BuildOptions):
    """One engine for one GPU architecture."""

    precision: Precision
    gpu: GpuName


class CalibrationSpec(Spec):
    """The text that INT8 activation ranges are measured on. There is no default: random ids tell nothing.

    `path` is a .txt (one text a line), .jsonl (`field` holds the text) or .npz (arrays named as the
    graph's inputs, ids within the vocabulary). `percentile` is used by method percentile alone.
    """

    path: str = Field(min_length=1)
    field: str = "text"
    samples: int = Field(default=128, ge=1)
    seed: int = Field(default=0, ge=0)
    method: CalibrationMethod = "max"
    percentile: float = Field(default=99.999, gt=50.0, le=100.0)


class GateSpec(Spec):
    """What a variant must reach to be written at all.

    `min_cosine` is the smallest mean cosine to FP32. `eval_data` is a .jsonl with labels;
    `max_accuracy_drop` is in points (0.5: from 90.0 to no less than 89.5).
    """

    min_cosine: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    eval_data: str | None = None
    max_accuracy_drop: Annotated[float, Field(ge=0.0, le=100.0)] | None = None

    @model_validator(mode="after")
    def check_eval_data(self) -> Self:
        """A drop needs labels, and labels need a budget."""
        if (self.eval_data is None) != (self.max_accuracy_drop is None):
            raise ValueError("eval_data and max_accuracy_drop belong together")
        return self


class QuantizationSpec(Spec):
    """Static symmetric INT8 for TensorRT: explicit Q/DQ, weights per channel, activations per tensor.

    `smoothing_alpha` moves the scale of activations into weights (SmoothQuant, arXiv:2211.10438); None
    turns it off. `keep_out` names layers that stay FP16 whatever is measured; `search` lets the
    sensitivity search keep out more until the gate is met.
    """

    calibration: CalibrationSpec
    smoothing_alpha: Annotated[float, Field(ge=0.0, le=1.0)] | None = 0.8
    keep_out: tuple[str, ...] = ()
    search: bool = True
    gate: GateSpec = GateSpec(min_cosine=0.99)


class QueueSpec(Spec):
    """Triton's dynamic batcher (`ModelDynamicBatching` in model_config.proto)."""

    max_queue_delay_us: int = Field(default=500, ge=0)
    preferred_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    priority_levels: int = Field(default=0, ge=0)
    default_priority_level: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def check_priority(self) -> Self:
        """Mirror the server: levels > 0 need a default within them (core, model_config_utils.cc)."""
        if self.priority_levels and not 1 <= self.default_priority_level <= self.priority_levels:
            raise ValueError(
                f"default_priority_level must be in 1..{self.priority_levels}, got {self.default_priority_level}"
            )
        if not self.priority_levels and self.default_priority_level:
            raise ValueError("default_priority_level needs priority_levels > 0")
        return self


class ServingSpec(Spec):
    """How Triton serves an entry: the part of config.pbtxt that is a choice, not a fact of the artifact.

    `max_batch_size` and `instance_kind` are taken from the artifact where they are None.
    """

    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    dynamic_batching: QueueSpec | None = QueueSpec()
    instance_count: int = Field(default=1, ge=1)
    instance_kind: Literal["cpu", "gpu"] | None = None
    stream_priority: StreamPriority = "default"
    threads: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def check_preferred_sizes(self) -> Self:
        """Mirror the server: preferred sizes lie in 1..max_batch_size (core, model_config_utils.cc)."""
        if self.max_batch_size and self.dynamic_batching:
            for size in self.dynamic_batching.preferred_batch_sizes:
                if size > self.max_batch_size:
                    raise ValueError(f"preferred batch size {size} exceeds max_batch_size {self.max_batch_size}")
        return self


class ConversionSpec(Spec):
    """Which graph to make of an exported one: for which runtime, in which precision, how good.

    `quantization` belongs to INT8 for TensorRT alone: ONNX Runtime's INT8 needs no calibration.
    `gate` is what the converted graph must reach; for a quantised one it takes the place of
    `quantization.gate`.
    """

    runtime: Runtime
    precision: Precision = "fp32"
    quantization: QuantizationSpec | None = None
    gate: GateSpec | None = None

    @model_validator(mode="after")
    def check_quantization(self) -> Self:
        """Refuse calibration where nothing is calibrated, and gates on what is not converted."""
        is_calibrated = self.precision == "int8" and self.runtime == "tensorrt"
        if self.quantization is not None and not is_calibrated:
            raise ValueError(
                f"quantization means nothing for {self.runtime} {self.precision}: only tensorrt int8 has it"
            )
        if self.gate is not None and self.precision == "fp32":
            raise ValueError("a gate means nothing for fp32, which is what the others are compared with")
        return self


class EntrySpec(ConversionSpec):
    """One entry of a Triton repository: which artifact, under which name, served how."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    serving: ServingSpec = ServingSpec()


class VariantSpec(EntrySpec, BuildOptions):
    """One way of serving a model: an entry, and for TensorRT the GPUs to build for.

    `int8_if_faster` keeps INT8 only where it is measured faster than FP16 on the GPU, else FP16 is built.
    """

    gpus: tuple[GpuName, ...] = ()
    int8_if_faster: bool = False

    @model_validator(mode="after")
    def check_runtime(self) -> Self:
        """Refuse TensorRT without a GPU and ONNX Runtime with TensorRT's keys or precisions."""
        if self.runtime == "tensorrt" and not self.gpus:
            raise ValueError("a tensorrt variant needs gpus, for example gpus: [t4, l4]")
        if self.runtime == "onnxruntime":
            for key in ("gpus", "int8_if_faster", *BuildOptions.model_fields):
                if key in self.model_fields_set:
                    raise ValueError(f"{key} means nothing for runtime onnxruntime")
        if self.runtime == "tensorrt" and self.precision == "int8" and self.quantization is None:
            raise ValueError("int8 for tensorrt needs calibration text: quantization.calibration (--calibration-data)")
        if self.int8_if_faster and self.precision != "int8":
            raise ValueError(f"int8_if_faster belongs to precision int8, not {self.precision}")
        return self

    def engine_specs(self) -> tuple[EngineSpec, ...]:
        """Return one engine request for each GPU."""
        options = {key: getattr(self, key) for key in BuildOptions.model_fields if key in self.model_fields_set}
        return tuple(EngineSpec(precision=self.precision, gpu=gpu, **options) for gpu in self.gpus)


class PipelineModelSpec(ModelSpec):
    """A model of a pipeline file, with the variants to make of it."""

    variants: tuple[VariantSpec, ...] = Field(min_length=1)

    def model_spec(self) -> ModelSpec:
        """Return the export request alone."""
        return ModelSpec(**{key: getattr(self, key) for key in ModelSpec.model_fields})


class VerifySpec(Spec):
    """How to check a repository or a release on a real Triton.

    `server_url` names a Triton that already serves it; one is started where it is None, on `grpc_port`
    or a free one. `timeout_s` is how long the server may take to load everything.
    """

    enabled: bool = True
    server_url: str | None = None
    grpc_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    timeout_s: float = Field(default=120.0, gt=0)


class RunSpec(Spec):
    """A whole pipeline file."""

    models: tuple[PipelineModelSpec, ...] = Field(min_length=1)
    repository: str = "model_repository"
    verify: VerifySpec = VerifySpec()
    publish: str | None = None


S = TypeVar("S", bound=Spec)


def build_spec(spec_type: type[S], given: Mapping[str, Any], *, where: str) -> S:
    """Build a spec from raw values.

    Args:
        spec_type: The spec to build.
        given: Raw values, keyed by field name.
        where: What the user wrote it in ("configs/nightly.yaml", "the command line"), for the message.

    Raises:
        SpecError: The values are not a valid request.
    """
    try:
        return spec_type.model_validate(given)
    except ValidationError as err:
        raise spec_error_from_validation(err, where=where) from err


def spec_error_from_validation(err: ValidationError, *, where: str) -> SpecError:
    """Turn pydantic's first finding into one sentence and a hint."""
    found = err.errors(include_url=False)
    first = found[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    kind, context = first["type"], first.get("ctx", {})
    if kind == "unknown_key":
        told, hint = f"unknown key '{context['key']}'", str(context["hint"])
    elif kind == "literal_error":
        told, hint = f"{first['input']!r} is not a known value", f"expected one of {context['expected']}"
    elif kind == "value_error":
        told, hint = str(context["error"]), "correct the value and run again"
    elif kind == "missing":
        told, hint = "a required key is missing", f"add '{first['loc'][-1]}'"
    elif kind == "string_pattern_mismatch":  # NAME_PATTERN is the only one
        told = f"{first['input']!r} is not a name"
        hint = "at most 63 lower-case letters, digits, '.', '_' and '-', beginning and ending with a letter or digit"
    elif kind == "too_short":
        told, hint = "at least one is needed", "see configs/ for examples"
    else:
        told, hint = f"{first['msg'].lower()} (got {first['input']!r})", "correct the value and run again"
    # A tuple whose items are wrong is reported as too short as well.
    others = sum(other["type"] != "too_short" for other in found[1:])
    more = f" (and {others} more)" if others else ""
    return SpecError(f"{where}{f', {place}' if place else ''}: {told}{more}", hint=hint)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which PyYAML would keep the last silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_run_spec(path: Path) -> RunSpec:
    """Load a pipeline file.

    Raises:
        SpecError: The file is missing, not UTF-8, not YAML, or not a valid pipeline.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise SpecError(f"there is no config file {path}", hint="see configs/ for examples to copy") from err
    except (OSError, UnicodeDecodeError) as err:
        raise SpecError(f"{path} cannot be read: {err}", hint="a config is a UTF-8 YAML file") from err
    return parse_run_spec(text, where=str(path))


def parse_run_spec(text: str, *, where: str) -> RunSpec:
    """Parse the text of a pipeline file; see `load_run_spec`."""
    try:
        # A subclass of SafeLoader: it builds plain values only.
        given = yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(err, "problem", None) or "not valid YAML"
        raise SpecError(f"{where}{line}: {problem}", hint="check the indentation and the quotes there") from err
    if not isinstance(given, Mapping):
        raise SpecError(f"{where} is not a mapping of keys", hint="a pipeline file begins with 'models:'")
    return build_spec(RunSpec, given, where=where)
