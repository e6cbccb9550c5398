"""A whole pipeline file: models, their variants, where they go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from prep_triton.errors import SpecError
from prep_triton.spec.base import NAME_PATTERN, GpuName, Spec, build_spec
from prep_triton.spec.build import BuildOptions, EngineSpec
from prep_triton.spec.model import ModelSpec
from prep_triton.spec.precision import ConversionSpec
from prep_triton.spec.serving import ServingSpec, TextSpec, text_spec_from_value
from prep_triton.spec.target import TargetSpec
from prep_triton.spec.yaml_text import load_yaml, parse_yaml


class EntrySpec(ConversionSpec):
    """One entry of a Triton repository: which artifact, under which name, served how.

    `text` (true, or a mapping) puts a tokenizer and a post-processor beside it: see `TextSpec`.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    serving: ServingSpec = ServingSpec()
    text: Annotated[TextSpec | None, BeforeValidator(text_spec_from_value)] = None


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
    timeout_s: float = Field(default=120.0, gt=0, le=86400)


class RegressionSpec(Spec):
    """By how much a release may be worse than the current one and still become current; None does not compare.

    `max_cosine_drop` is of the mean cosine to PyTorch FP32, `max_accuracy_drop` in points. Latency is the median
    of single requests as `prep verify` sees it: compare it only where nights run on the same quiet machine.
    """

    max_cosine_drop: Annotated[float, Field(ge=0.0, le=2.0)] | None = 0.001
    max_accuracy_drop: Annotated[float, Field(ge=0.0, le=100.0)] | None = 0.5
    max_size_increase_percent: Annotated[float, Field(ge=0.0)] | None = 25.0
    max_latency_increase_percent: Annotated[float, Field(ge=0.0)] | None = None


class RunSpec(Spec):
    """A whole pipeline file.

    `target` is the server that the repository is made for: what does not fit it is refused before it ships.
    `jobs` models are made at once, as long as their estimated memory stays within `memory_gib` (None: what is
    free now).
    """

    models: tuple[PipelineModelSpec, ...] = Field(min_length=1)
    repository: str = "model_repository"
    target: TargetSpec | None = None
    verify: VerifySpec = VerifySpec()
    publish: str | None = None
    regression: RegressionSpec = RegressionSpec()
    jobs: int = Field(default=1, ge=1)
    memory_gib: Annotated[float, Field(gt=0)] | None = None


def load_run_spec(path: Path) -> RunSpec:
    """Load a pipeline file.

    Raises:
        SpecError: The file is missing, not UTF-8, not YAML, or not a valid pipeline.
    """
    return build_spec(RunSpec, load_mapping(path, hint=_RUN_HINT), where=str(path))


def parse_run_spec(text: str, *, where: str) -> RunSpec:
    """Parse the text of a pipeline file; see `load_run_spec`."""
    return build_spec(RunSpec, _check_mapping(parse_yaml(text, where=where), where=where, hint=_RUN_HINT), where=where)


def load_mapping(path: Path, *, hint: str) -> Mapping[str, Any]:
    """Load a YAML file that is a mapping of keys.

    Args:
        path: The file.
        hint: What such a file holds, for the message.

    Raises:
        SpecError: The file is missing, not a mapping, or refused by `load_yaml`.
    """
    try:
        content = load_yaml(path)
    except FileNotFoundError as err:
        raise SpecError(f"there is no config file {path}", hint="see configs/ for examples to copy") from err
    return _check_mapping(content, where=str(path), hint=hint)


_RUN_HINT = "a pipeline file begins with 'models:'"


def _check_mapping(content: Any, *, where: str, hint: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise SpecError(f"{where} is not a mapping of keys", hint=hint)
    return content
