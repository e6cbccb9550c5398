"""How Triton serves an entry.

The keys are the choices of ``model_config.proto`` (triton-inference-server/common) that a user has; what the
artifact fixes is taken from the artifact. Which of them mean something to a backend is checked where the
configuration is made, in `prep_triton.triton.config`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from prep_triton.spec import server_rules
from prep_triton.spec.base import Sizes, Spec

StreamPriority = Literal["default", "max", "min"]
InstanceKind = Literal["cpu", "gpu"]
Tier = Literal[1, 2]
LongInput = Literal["truncate", "stride", "reject"]

DEFAULT_LENGTH_BUCKETS = (32, 64, 128, 256, 384)


def _refuse_first(problems: Sequence[str | None]) -> None:
    for problem in problems:
        if problem is not None:
            raise ValueError(problem)


class QueuePolicySpec(Spec):
    """What a queue does with requests that wait too long, or are too many (`ModelQueuePolicy`).

    0 means no timeout, and no limit.
    """

    timeout_action: Literal["reject", "delay"] = "reject"
    default_timeout_us: int = Field(default=0, ge=0)
    allow_timeout_override: bool = False
    max_queue_size: int = Field(default=0, ge=0)


class QueueSpec(Spec):
    """Triton's dynamic batcher (`ModelDynamicBatching`)."""

    max_queue_delay_us: int = Field(default=500, ge=0)
    preferred_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    preserve_ordering: bool = False
    priority_levels: int = Field(default=0, ge=0)
    default_priority_level: int = Field(default=0, ge=0)
    default_queue_policy: QueuePolicySpec | None = None
    priority_queue_policies: dict[int, QueuePolicySpec] = Field(default_factory=dict)

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

    name: str = Field(min_length=1)
    count: int = Field(default=1, ge=1)
    scope: Literal["device", "global"] = "device"


class RateLimiterSpec(Spec):
    """An instance's share under ``--rate-limit=execution_count`` (`ModelRateLimiter`).

    `priority` is a weight: an instance of priority 2 gets half the turns of one of priority 1.
    """

    resources: tuple[ResourceSpec, ...] = ()
    priority: int = Field(default=0, ge=0)


class InstanceGroupSpec(Spec):
    """Copies of the model that run at once (`ModelInstanceGroup`).

    `gpus` are device indices, all where empty; `profiles` are indices of a plan's optimization profiles, all
    where empty.
    """

    count: int = Field(default=1, ge=1)
    kind: InstanceKind | None = None
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
    profiles: tuple[Annotated[int, Field(ge=0)], ...] = ()
    rate_limiter: RateLimiterSpec | None = None

    @model_validator(mode="after")
    def check_devices(self) -> Self:
        """A CPU instance is on no GPU."""
        _refuse_first([server_rules.find_device_problem(self.kind or "", self.gpus)])
        return self


class AcceleratorSpec(Spec):
    """An execution provider that ONNX Runtime is to try (`ModelOptimizationPolicy.ExecutionAccelerators`)."""

    name: Literal["tensorrt", "cuda", "openvino"]
    parameters: dict[str, str] = Field(default_factory=dict)


class VersionPolicySpec(Spec):
    """Which versions of the entry are served (`ModelVersionPolicy`): the latest n, all, or these."""

    latest: Annotated[int, Field(ge=1)] | None = None
    all: Literal[True] | None = None
    specific: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def check_one(self) -> Self:
        """The proto has one of them (`oneof policy_choice`)."""
        if sum((self.latest is not None, bool(self.all), bool(self.specific))) != 1:
            raise ValueError("a version policy is one of latest, all and specific")
        return self


class TextSpec(Spec):
    """Text in, answer out: a tokenizer before the model and a post-processor after it, as an ensemble.

    `long_input` says what becomes of text beyond the longest length bucket: cut off, answered in windows that
    overlap by `stride` tokens, or refused; at most `max_characters` of a text are read for it. `normalize` belongs to
    embeddings (None: as the checkpoint declares), `top_k` to fill-mask and text-classification, `max_answer_tokens`
    to question-answering, as does
    `handle_impossible_answer`: a question whose [CLS] scores higher than every span has the empty answer (SQuAD 2.0).
    """

    long_input: LongInput = "truncate"
    stride: int = Field(default=64, ge=1)
    max_characters: int = Field(default=1_000_000, ge=1)
    normalize: bool | None = None
    top_k: int = Field(default=5, ge=1)
    max_answer_tokens: int = Field(default=30, ge=1)
    handle_impossible_answer: bool = False
    instance_count: int = Field(default=1, ge=1)


class ServingSpec(Spec):
    """How Triton serves an entry: the part of config.pbtxt that is a choice, not a fact of the artifact.

    `max_batch_size` and `instance_kind` are taken from the artifact where they are None. `instance_count` with
    `instance_kind` and `rate_limiter` is the short way to write one of `instance_groups`. `length_buckets` are the
    sequence lengths that clients and the tokenizer pad to; empty takes those of the profiles, or 32, 64, 128, 256,
    384 up to the length that the checkpoint declares, which is the last.
    `warmup` runs each of them, with real token ids, before the entry is ready.
    `tier` is the user's word for priority among the models of one server: see `prep_triton.triton.config.tiers`.
    """

    tier: Tier | None = None
    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    length_buckets: Sizes = ()
    dynamic_batching: QueueSpec | None = QueueSpec()
    instance_count: int = Field(default=1, ge=1)
    instance_kind: InstanceKind | None = None
    instance_groups: tuple[InstanceGroupSpec, ...] = ()
    rate_limiter: RateLimiterSpec | None = None
    version_policy: VersionPolicySpec | None = None
    warmup: bool = False
    response_cache: bool = False
    parameters: dict[str, str] = Field(default_factory=dict)
    # TensorRT alone
    stream_priority: StreamPriority = "default"
    cuda_graphs: bool = False
    output_copy_stream: bool = False
    eager_batching: bool = False
    # ONNX Runtime alone
    threads: Annotated[int, Field(ge=1)] | None = None
    inter_op_threads: Annotated[int, Field(ge=1)] | None = None
    graph_level: Literal[-1, 1, 2] | None = None
    execution_accelerators: tuple[AcceleratorSpec, ...] = ()

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
    """Accept ``text: true`` for the defaults, and false for none."""
    if isinstance(value, bool):
        return TextSpec() if value else None
    return value
