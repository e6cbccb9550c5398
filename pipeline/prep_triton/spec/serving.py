"""How Triton serves an entry.

The keys are the choices of ``model_config.proto`` (triton-inference-server/common) that a user has; what the
artifact fixes is taken from the artifact. Which of them mean something to a backend is checked where the
configuration is made, in `prep_triton.triton.config`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prep_triton.spec import server_rules
from prep_triton.spec.base import Sizes, Spec, describe_rule, refuse_all

StreamPriority = Literal["default", "max", "min"]
InstanceKind = Literal["cpu", "gpu"]
Tier = Literal[1, 2]
LongInput = Literal["truncate", "stride", "reject"]
AnswerForm = Literal["ranked", "scores"]
Padding = Literal["buckets", "longest"]
PerformanceHint = Literal["latency", "throughput"]

_WORDS = {"true": True, "false": False}

# Rows that a text request may become where the model takes any number: more would hold it for seconds.
MOST_ROWS = 64
DEFAULT_LENGTH_BUCKETS = (32, 64, 128, 256, 384, 512, 1024, 2048, 4096, 8192)


def _refuse_first(problems: Sequence[str | None]) -> None:
    for problem in problems:
        if problem is not None:
            raise ValueError(problem)


def _number_from_text(value: Any) -> Any:
    """Read a choice of numbers that came as text, as that of a variable does."""
    return int(value) if isinstance(value, str) and value.lstrip("-").isdecimal() else value


class QueuePolicySpec(Spec):
    """What a queue does with requests that wait too long, or are too many (`ModelQueuePolicy`)."""

    timeout_action: Literal["reject", "delay"] = Field(
        default="reject", description="What becomes of a request that waited too long."
    )
    default_timeout_us: int = Field(default=0, ge=0, description="How long a request may wait, µs; 0: no limit.")
    allow_timeout_override: bool = Field(default=False, description="Let a request bring a shorter timeout.")
    max_queue_size: int = Field(default=0, ge=0, description="Requests that may wait; 0: no limit.")


class QueueSpec(Spec):
    """Triton's dynamic batcher (`ModelDynamicBatching`)."""

    max_queue_delay_us: int = Field(default=500, ge=0, description="How long a request waits for others, µs.")
    preferred_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="Batch sizes that are sent on without waiting."
    )
    preserve_ordering: bool = Field(default=False, description="Answer in the order of the requests.")
    priority_levels: int = Field(default=0, ge=0, description="Priority levels of requests; 0: none.")
    default_priority_level: int = Field(
        default=0, ge=0, description="Level of a request that names none, 1 being the highest."
    )
    default_queue_policy: QueuePolicySpec | None = Field(default=None, description="Policy of every queue.")
    priority_queue_policies: dict[int, QueuePolicySpec] = Field(
        default_factory=dict,
        description="Policies of the queues of some levels, by level.",
        json_schema_extra={"default": {}},
    )

    @model_validator(mode="after")
    def check_priority(self) -> Self:
        """Mirror the server (core, model_config_utils.cc): a default within the levels, ordering with one at most."""
        levels, default = self.priority_levels, self.default_priority_level
        problems = [
            server_rules.find_default_level_problem(default, levels),
            server_rules.find_unused_level_problem(default, len(self.priority_queue_policies), levels),
            server_rules.find_ordering_problem(levels) if self.preserve_ordering else None,
            *(server_rules.find_policy_level_problem(level, levels) for level in self.priority_queue_policies),
        ]
        _refuse_first(problems)
        return self

    def policies(self) -> tuple[QueuePolicySpec, ...]:
        """Return every policy that was given: the default one, and those of the levels."""
        default = (self.default_queue_policy,) if self.default_queue_policy else ()
        return (*default, *self.priority_queue_policies.values())


class ResourceSpec(Spec):
    """What an execution takes of a resource that the rate limiter hands out (`ModelRateLimiter.Resource`)."""

    name: str = Field(min_length=1, description="The resource's name, any.")
    count: int = Field(default=1, ge=1, description="How much of it an execution takes.")
    scope: Literal["device", "global"] = Field(
        default="device", description="Whether each device has its own, or the server has one."
    )


class RateLimiterSpec(Spec):
    """An instance's share under ``--rate-limit=execution_count`` (`ModelRateLimiter`)."""

    resources: tuple[ResourceSpec, ...] = Field(default=(), description="What an execution takes.")
    priority: int = Field(
        default=0, ge=0, description="A weight: an instance of priority 2 gets half the turns of one of priority 1."
    )


class InstanceGroupSpec(Spec):
    """Copies of the model that run at once (`ModelInstanceGroup`)."""

    count: int = Field(default=1, ge=1, description="How many copies, on each device.")
    kind: InstanceKind | None = Field(default=None, description="Where they run; null: where the artifact does.")
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), description="Device indices; all where empty.")
    profiles: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), description="Indices of a plan's optimization profiles; all where empty."
    )
    rate_limiter: RateLimiterSpec | None = Field(default=None, description="Their share of the server's turns.")

    @model_validator(mode="after")
    def check_devices(self) -> Self:
        """A CPU instance is on no GPU."""
        _refuse_first([server_rules.find_device_problem(self.kind or "", self.gpus)])
        return self


class AcceleratorSpec(Spec):
    """An execution provider that ONNX Runtime is to try (`ModelOptimizationPolicy.ExecutionAccelerators`)."""

    name: Literal["tensorrt", "cuda", "openvino"] = Field(description="The execution provider.")
    parameters: dict[str, str] = Field(
        default_factory=dict, description="Its parameters, each a text.", json_schema_extra={"default": {}}
    )


class VersionPolicySpec(Spec):
    """Which versions of the entry are served (`ModelVersionPolicy`): the latest n, all, or these."""

    latest: Annotated[int | None, Field(ge=1, description="Serve so many versions, the newest.")] = None
    all: Annotated[
        Literal[True] | None,
        BeforeValidator(
            lambda value: _WORDS.get(value, value) if isinstance(value, str) else value,
            json_schema_input_type=Literal[True] | None,
        ),
    ] = Field(default=None, description="true serves every version.")
    specific: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(), description="Serve these versions.")

    @model_validator(mode="after")
    def check_one(self) -> Self:
        """The proto has one of them (`oneof policy_choice`)."""
        if sum((self.latest is not None, bool(self.all), bool(self.specific))) != 1:
            raise ValueError("a version policy is one of latest, all and specific")
        return self


class TextSpec(Spec):
    """Text in, answer out: a tokenizer before the model and a post-processor after it, as an ensemble."""

    long_input: LongInput = Field(
        default="truncate",
        description="What becomes of text beyond the longest length bucket: cut off, answered in windows, or refused.",
    )
    stride: int = Field(default=64, ge=1, description="Tokens by which windows overlap; of long_input stride alone.")
    max_characters: int = Field(default=1_000_000, ge=1, description="Characters of a text that are read at most.")
    normalize: bool | None = Field(
        default=None, description="Scale embeddings to length 1; null: as the checkpoint declares."
    )
    top_k: int = Field(default=5, ge=1, description="Answers given, of fill-mask and text-classification.")
    answers: AnswerForm = Field(
        default="ranked",
        description="Of text-classification and text-pair-classification: the best labels with their scores, or the "
        "scores of all labels in their own order with a label file, which Triton's classification extension and, of "
        "single texts, Dynamo's /v1/classify read.",
    )
    max_answer_tokens: int = Field(default=30, ge=1, description="Longest answer of question-answering, in tokens.")
    handle_impossible_answer: bool = Field(
        default=False,
        description="Answer a question with nothing where its [CLS] scores higher than every span (SQuAD 2.0).",
    )
    instance_count: int = Field(default=1, ge=1, description="Copies of the tokenizer and of the post-processor.")

    @model_validator(mode="after")
    def check_stride(self) -> Self:
        """Text that is not answered in windows has none that overlap."""
        if self.stride != type(self).model_fields["stride"].default and self.long_input != "stride":
            hint = "add long_input: stride, or remove stride"
            refuse_all([describe_rule(f"stride belongs to long_input: stride, not {self.long_input}", hint)])
        return self


class ServingSpec(Spec):
    """How Triton serves an entry: the part of config.pbtxt that is a choice, not a fact of the artifact.

    `instance_count` with `instance_kind` and `rate_limiter` is the short way to write one of `instance_groups`.
    """

    tier: Annotated[Tier | None, BeforeValidator(_number_from_text, json_schema_input_type=Tier | None)] = Field(
        default=None,
        description="Priority among the models of one server: 1 keeps its latency when a neighbour of 2 bursts.",
    )
    max_batch_size: Annotated[
        int | None,
        Field(
            ge=1,
            description="Largest batch; null: as large as a plan takes; of a graph 16, fewer where texts may have more "
            "than 2048 tokens. Not of OpenVINO, which takes any.",
        ),
    ] = None
    length_buckets: Sizes = Field(
        default=(),
        description="Sequence lengths that clients and the tokenizer pad to; empty: those of the profiles, or 32, 64, "
        "128, 256, 384, 512 and the doubles of it, up to the length that the checkpoint declares.",
    )
    padding: Padding = Field(
        default="buckets",
        description="What a text request is padded to: its length bucket, so that other lengths can join it, or "
        "its own longest row: no padding is computed, and requests of equal length alone are joined.",
    )
    dynamic_batching: QueueSpec | None = Field(
        default=QueueSpec(), description="How requests are joined into batches; null: they are not."
    )
    instance_count: int = Field(default=1, ge=1, description="Copies of the model that run at once, on each device.")
    instance_kind: InstanceKind | None = Field(
        default=None, description="Where they run; null: on a GPU for tensorrt, else on the CPU."
    )
    instance_groups: tuple[InstanceGroupSpec, ...] = Field(
        default=(), description="Groups of copies, each with its own devices."
    )
    rate_limiter: RateLimiterSpec | None = Field(default=None, description="Their share of the server's turns.")
    version_policy: VersionPolicySpec | None = Field(
        default=None, description="Which versions are served; null: the latest."
    )
    warmup: bool = Field(
        default=False, description="Run each length bucket, with real token ids, before the entry is ready."
    )
    response_cache: bool = Field(default=False, description="Answer repeated requests from Triton's cache.")
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="Parameters of the backend, each a text.",
        json_schema_extra={"default": {}},
    )
    # TensorRT alone
    stream_priority: StreamPriority = Field(
        default="default", description="TensorRT: priority of the CUDA stream; a tier sets it."
    )
    cuda_graphs: bool = Field(default=False, description="TensorRT: capture CUDA graphs of the shapes.")
    output_copy_stream: bool = Field(default=False, description="TensorRT: copy outputs in a stream of their own.")
    eager_batching: bool = Field(default=False, description="TensorRT: prepare the next batch while one runs.")
    # ONNX Runtime and OpenVINO
    threads: Annotated[
        int | None, Field(ge=1, description="ONNX Runtime, OpenVINO: threads within an operator; null: its own choice.")
    ] = None
    # OpenVINO alone
    streams: Annotated[
        int | None, Field(ge=1, description="OpenVINO: executions that share the threads; null: one an instance.")
    ] = None
    performance_hint: PerformanceHint | None = Field(
        default=None, description="OpenVINO: what it chooses streams and threads for; null: latency."
    )
    # ONNX Runtime alone
    inter_op_threads: Annotated[
        int | None, Field(ge=1, description="ONNX Runtime: operators run at once; null: its own choice.")
    ] = None
    graph_level: Annotated[
        Literal[-1, 1, 2] | None, BeforeValidator(_number_from_text, json_schema_input_type=Literal[-1, 1, 2] | None)
    ] = Field(default=None, description="ONNX Runtime: graph optimizer: -1 basic, 1 extended, 2 none; null: all.")
    execution_accelerators: tuple[AcceleratorSpec, ...] = Field(
        default=(), description="ONNX Runtime: execution providers to try, in this order."
    )

    @model_validator(mode="after")
    def check_preferred_sizes(self) -> Self:
        """Mirror the server: preferred sizes lie in 1..max_batch_size (core, model_config_utils.cc)."""
        if self.max_batch_size and self.dynamic_batching:
            sizes = self.dynamic_batching.preferred_batch_sizes
            _refuse_first([server_rules.find_preferred_size_problem(size, self.max_batch_size) for size in sizes])
        return self

    @model_validator(mode="after")
    def check_instances(self) -> Self:
        """Refuse two ways of saying the instances, and buckets out of order."""
        for key in ("instance_count", "instance_kind", "rate_limiter"):
            if self.instance_groups and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} and instance_groups exclude each other: write it into the groups")
        _refuse_first([server_rules.find_bucket_order_problem(self.length_buckets)])
        return self

    def groups(self) -> tuple[InstanceGroupSpec, ...]:
        """Return the instance groups that were asked for, in either way."""
        group = InstanceGroupSpec(count=self.instance_count, kind=self.instance_kind, rate_limiter=self.rate_limiter)
        return self.instance_groups or (group,)


def text_spec_from_value(value: Any) -> Any:
    """Accept ``text: true`` for the defaults, and false for none; also as text, as a variable's value is."""
    value = _WORDS.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(value, bool):
        return TextSpec() if value else None
    return value
