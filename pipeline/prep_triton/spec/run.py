"""A whole pipeline file: models, their variants, where they go."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import InitErrorDetails

from prep_triton.layout import DEFAULT_REPOSITORY
from prep_triton.spec.base import GpuName, Spec, describe_rule, refuse_all
from prep_triton.spec.bench import BenchSpec
from prep_triton.spec.build import BuildOptions, EngineSpec
from prep_triton.spec.model import ModelSpec
from prep_triton.spec.precision import ConversionSpec
from prep_triton.spec.serving import ServingSpec, TextSpec, text_spec_from_value
from prep_triton.spec.target import TargetSpec
from prep_triton.spec.wording import NAME_PATTERN

# Keys at the top of a file that are the user's own: they hold what its anchors and aliases share.
OWN_KEY_PREFIX = "x-"


class EntrySpec(ConversionSpec):
    """One entry of a Triton repository: which artifact, under which name, served how.

    `text` (true, or a mapping) puts a tokenizer and a post-processor beside it: see `TextSpec`.
    """

    name: Annotated[
        str | None,
        Field(
            pattern=NAME_PATTERN,
            description="The entry's name in the repository; null makes one of model, runtime and precision.",
        ),
    ] = None
    serving: Annotated[ServingSpec, BeforeValidator(lambda value: value, json_schema_input_type=ServingSpec | str)] = (
        Field(default=ServingSpec(), description="How Triton serves it: choices, or the name of a file that has them.")
    )
    text: Annotated[
        TextSpec | None,
        BeforeValidator(text_spec_from_value, json_schema_input_type=TextSpec | bool | None),
        Field(description="Text in, answer out: true, or choices; null serves token ids alone."),
    ] = None


class VariantSpec(EntrySpec, BuildOptions):
    """One way of serving a model: an entry, and for TensorRT the GPUs to build for."""

    gpus: tuple[GpuName, ...] = Field(
        default=(), description="The GPUs that engines are built for, such as [t4, l4]; runtime tensorrt needs them."
    )
    int8_if_faster: bool = Field(
        default=False,
        description="Keep INT8 only where it is measured faster than FP16 on the GPU; else FP16 is built.",
    )

    @model_validator(mode="after")
    def check_runtime(self) -> Self:
        """Refuse TensorRT without a GPU, others with TensorRT's keys, and INT8 without calibration text."""
        refuse_all(self._list_contradictions())
        return self

    def _list_contradictions(self) -> Iterator[InitErrorDetails]:
        if self.runtime == "tensorrt" and not self.gpus:
            yield describe_rule("a tensorrt variant needs gpus, for example gpus: [t4, l4]", "add gpus: [t4, l4]")
        if self.runtime != "tensorrt":
            for key in ("gpus", "int8_if_faster", *BuildOptions.model_fields):
                if key in self.model_fields_set:
                    yield describe_rule(f"{key} means nothing for runtime {self.runtime}", f"remove {key}")
        if self.precision == "int8" and self.quantization is None:
            yield describe_rule(
                f"int8 for {self.runtime} needs calibration text: quantization.calibration (--calibration-data)",
                "add quantization: {calibration: {path: texts.txt}}",
            )
        if self.int8_if_faster and self.precision != "int8":
            yield describe_rule(
                f"int8_if_faster belongs to precision int8, not {self.precision}", "add precision: int8, or remove it"
            )

    def engine_specs(self) -> tuple[EngineSpec, ...]:
        """Return one engine request for each GPU."""
        options = {key: getattr(self, key) for key in BuildOptions.model_fields if key in self.model_fields_set}
        return tuple(EngineSpec(precision=self.precision, gpu=gpu, **options) for gpu in self.gpus)


class PipelineModelSpec(ModelSpec):
    """A model of a pipeline file, with the variants to make of it."""

    variants: tuple[VariantSpec, ...] = Field(
        min_length=1, description="The ways in which it is served: an entry, or engines, for each."
    )

    def model_spec(self) -> ModelSpec:
        """Return the export request alone."""
        return ModelSpec(**{key: getattr(self, key) for key in ModelSpec.model_fields})


class VerifySpec(Spec):
    """How to check a repository or a release on a real Triton."""

    enabled: bool = Field(default=True, description="Whether to check at all.")
    server_url: str | None = Field(
        default=None, description="HOST:PORT of a Triton that serves it already; null starts one."
    )
    grpc_port: Annotated[
        int | None, Field(ge=1, le=65535, description="Port of the server that is started; null takes a free one.")
    ] = None
    timeout_s: float = Field(
        default=120.0, gt=0, le=86400, description="Seconds that the server may take to load everything."
    )

    @model_validator(mode="after")
    def check_server(self) -> Self:
        """A server that runs already has its port in its address."""
        if self.server_url is not None and self.grpc_port is not None:
            hint = "remove one of them: grpc_port is that of a server to start"
            refuse_all([describe_rule("server_url and grpc_port exclude each other", hint)])
        return self


class RegressionSpec(Spec):
    """By how much a release may be worse than the current one and still become current; null does not compare."""

    max_cosine_drop: Annotated[
        float | None, Field(ge=0.0, le=2.0, description="Largest drop of the mean cosine to PyTorch FP32.")
    ] = 0.001
    max_accuracy_drop: Annotated[
        float | None, Field(ge=0.0, le=100.0, description="Largest drop of the accuracy, in points.")
    ] = 0.5
    max_size_increase_percent: Annotated[
        float | None, Field(ge=0.0, description="Largest growth of an entry's files, in percent.")
    ] = 25.0


class WorkspaceSpec(Spec):
    """Where artifacts are shared between machines; --workspace and PREP_WORKSPACE name the folder on this one."""

    remote: str | None = Field(
        default=None,
        description="gs://bucket/prefix or a folder that artifacts are fetched from, by their keys, before they are "
        "made, and saved to; null shares nothing. --remote-cache and PREP_REMOTE_CACHE win over it.",
    )


class RunSpec(Spec):
    """A whole pipeline file. Keys at its top that begin with ``x-`` are the user's own, for anchors."""

    model_config = ConfigDict(json_schema_extra={"patternProperties": {f"^{OWN_KEY_PREFIX}": {}}})

    models: tuple[PipelineModelSpec, ...] = Field(min_length=1, description="The models, each with its variants.")
    repository: str = Field(default=DEFAULT_REPOSITORY, description="Folder of the Triton model repository to write.")
    workspace: WorkspaceSpec = Field(default=WorkspaceSpec(), description="The cache of artifacts that machines share.")
    target: TargetSpec | None = Field(
        default=None,
        description="The server that the repository is made for: what does not fit it is refused before it ships.",
    )
    verify: VerifySpec = Field(default=VerifySpec(), description="How the result is checked on a real Triton.")
    bench: BenchSpec | None = Field(
        default=None,
        description="The load under which the result is measured on a real Triton once it was verified, for bench.json "
        "beside the repository; null measures nothing.",
    )
    publish: str | None = Field(
        default=None, description="gs://bucket/prefix or a folder to publish releases to; null publishes nothing."
    )
    allow_random: bool = Field(
        default=False, description="Publish models with random weights too: for benchmarks, their answers mean nothing."
    )
    regression: RegressionSpec = Field(
        default=RegressionSpec(), description="How much worse than the current one a release may be to become current."
    )
    jobs: int = Field(default=1, ge=1, description="Models made at once, as far as memory_gib allows.")
    memory_gib: Annotated[
        float | None, Field(gt=0, description="Memory limit of the models made at once, GiB; null takes what is free.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def leave_own_keys_out(cls, values: Any) -> Any:
        """Leave out what the user keeps at the top of the file for its anchors."""
        if not isinstance(values, Mapping):
            return values
        return {key: value for key, value in values.items() if not str(key).startswith(OWN_KEY_PREFIX)}
