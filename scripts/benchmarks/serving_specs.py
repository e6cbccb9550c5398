"""Draws requests of serving, right and wrong, and the artifacts that they are for."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hypothesis import strategies as st
from prep_triton.artifact import Engine, OnnxModel
from prep_triton.spec import OptimizationProfile

from scripts.benchmarks.small_artifacts import make_engine, make_model

# A few sets of profiles: one wide, one for each length, and two that overlap.
PROFILE_SETS = (
    ("1x16,8x128,16x384",),
    ("1x1,8x32,32x32", "1x33,8x64,32x64", "1x65,4x384,8x384"),
    ("1x1,1x128,1x384", "1x1,16x128,32x384"),
    ("2x8,4x16,8x24",),
)
GPUS = (("t4", "7.5"), ("l4", "8.9"))


@dataclass(frozen=True)
class DrawnRequest:
    """Raw values of a `serving:` mapping, and what is to be served."""

    artifact: OnnxModel | tuple[Engine, ...]
    values: dict[str, Any]

    @property
    def is_plan(self) -> bool:
        """True where TensorRT plans are to be served, False for an ONNX graph."""
        return not isinstance(self.artifact, OnnxModel)


@cache
def drawn_model() -> OnnxModel:
    """A graph that onnxruntime runs, as long as BERT's."""
    return make_model(Path(mkdtemp(prefix="prep-test-"))).model_copy(update={"max_sequence_length": 512})


@cache
def drawn_engine(gpu: str, compute_capability: str, profiles: tuple[str, ...]) -> Engine:
    engine = make_engine(Path(mkdtemp(prefix="prep-test-")), gpu=gpu, compute_capability=compute_capability)
    return engine.model_copy(update={"profiles": tuple(map(OptimizationProfile.model_validate, profiles))})


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


policies = optional(
    timeout_action=st.sampled_from(["reject", "delay"]),
    default_timeout_us=st.sampled_from([0, 1000, 1 << 40]),
    allow_timeout_override=st.booleans(),
    max_queue_size=st.integers(0, 100),
)


@st.composite
def queues(draw: st.DrawFn) -> dict[str, Any]:
    queue = draw(
        optional(
            max_queue_delay_us=st.integers(0, 1 << 40),
            preferred_batch_sizes=st.lists(st.sampled_from([1, 2, 4, 8, 16]), max_size=2),
            preserve_ordering=st.booleans(),
            default_queue_policy=policies,
        )
    )
    levels = draw(st.sampled_from([None, 0, 1, 2, 5, 1 << 33]))
    if levels is not None:
        queue["priority_levels"] = levels
        if levels:
            queue["default_priority_level"] = draw(st.integers(1, min(levels, 5)))
            queue["priority_queue_policies"] = draw(st.dictionaries(st.integers(1, min(levels, 3)), policies))
    return queue


limiters = optional(
    priority=st.sampled_from([0, 1, 2, 100, 0xFFFFFFFF]),
    resources=st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["gpu", "memory", "slots"])},
            optional={"count": st.integers(1, 4), "scope": st.sampled_from(["device", "global"])},
        ),
        max_size=2,
    ),
)


def groups(*, is_plan: bool) -> st.SearchStrategy[dict[str, Any]]:
    fields = {"count": st.integers(1, 2), "rate_limiter": limiters}
    if is_plan:
        fields |= {"gpus": st.lists(st.integers(0, 3), max_size=2), "profiles": st.lists(st.integers(0, 3), max_size=2)}
    else:
        fields["kind"] = st.sampled_from([None, "cpu", "gpu"])
    return optional(**fields)


SHARED: dict[str, st.SearchStrategy[Any]] = {
    "tier": st.sampled_from([1, 2]),
    "max_batch_size": st.sampled_from([1, 4, 8, 16, 32]),
    "length_buckets": st.sampled_from([[], [16], [24], [32], [64, 128], [128, 384], [16, 512]]),
    "dynamic_batching": st.none() | queues(),
    "version_policy": st.sampled_from([{"latest": 1}, {"latest": 3}, {"all": True}, {"specific": [1]}]),
    "warmup": st.booleans(),
    "response_cache": st.booleans(),
    "parameters": st.dictionaries(st.sampled_from(["owner", "purpose", 'a "quoted"\n name']), st.text(max_size=5)),
}
OF_PLANS: dict[str, st.SearchStrategy[Any]] = {
    "stream_priority": st.sampled_from(["default", "max", "min"]),
    "cuda_graphs": st.booleans(),
    "output_copy_stream": st.booleans(),
    "eager_batching": st.booleans(),
}
OF_GRAPHS: dict[str, st.SearchStrategy[Any]] = {
    "threads": st.integers(1, 2),
    "inter_op_threads": st.integers(1, 2),
    "graph_level": st.sampled_from([-1, 1, 2]),
    "execution_accelerators": st.lists(st.sampled_from([{"name": "openvino"}, {"name": "cuda"}]), max_size=1),
}
# What is wrong in itself, or for one of the backends, or beyond a number of the proto.
ODDITIES: tuple[dict[str, Any], ...] = (
    {"tier": 3},
    {"max_batch_size": 0},
    {"max_batch_size": 1 << 31},
    {"max_batch_size": 1 << 70},
    {"length_buckets": [64, 32]},
    {"length_buckets": [0]},
    {"length_buckets": [4000]},
    {"dynamic_batching": {"preferred_batch_sizes": [0]}},
    {"dynamic_batching": {"preferred_batch_sizes": [33]}},
    {"dynamic_batching": {"max_queue_delay_us": 1 << 64}},
    {"dynamic_batching": {"max_queue_delay_us": -1}},
    {"dynamic_batching": {"priority_levels": 2}},
    {"dynamic_batching": {"priority_levels": 2, "default_priority_level": 3}},
    {"dynamic_batching": {"priority_levels": 1 << 65, "default_priority_level": 1}},
    {"dynamic_batching": {"default_priority_level": 1}},
    {"dynamic_batching": {"priority_queue_policies": {1: {}}}},
    {"dynamic_batching": {"default_queue_policy": {"max_queue_size": 1 << 32}}},
    {"dynamic_batching": {"default_queue_policy": {"default_timeout_us": 1 << 64}}},
    {
        "dynamic_batching": {
            "preserve_ordering": True,
            "default_queue_policy": {"timeout_action": "delay", "default_timeout_us": 5},
        }
    },
    {
        "dynamic_batching": {
            "preserve_ordering": True,
            "priority_levels": 1,
            "default_priority_level": 1,
            "priority_queue_policies": {1: {"timeout_action": "delay", "default_timeout_us": 5}},
        }
    },
    {"dynamic_batching": {"preserve_ordering": True, "priority_levels": 2, "default_priority_level": 1}},
    {"instance_count": 0},
    {"instance_count": 1 << 31},
    {"instance_kind": "cpu"},
    {"instance_kind": "model"},
    {"instance_count": 2, "instance_groups": [{"count": 1}]},
    {"instance_groups": [{"gpus": [1 << 31]}]},
    {"instance_groups": [{"kind": "cpu", "gpus": [0]}]},
    {"instance_groups": [{"profiles": [0]}]},
    {"instance_groups": [{"profiles": [9]}]},
    {"instance_groups": [{"profiles": [-1]}]},
    {"rate_limiter": {"priority": 1 << 32}},
    {"rate_limiter": {"resources": [{"name": "a b"}]}},
    {"rate_limiter": {"resources": [{"name": "a", "count": 1 << 32}]}},
    {"rate_limiter": {"resources": [{"name": "a"}, {"name": "a", "scope": "global"}]}},
    {
        "instance_groups": [
            {"rate_limiter": {"resources": [{"name": "a"}]}},
            {"rate_limiter": {"resources": [{"name": "a", "scope": "global"}]}},
        ]
    },
    {"version_policy": {}},
    {"version_policy": {"latest": 0}},
    {"version_policy": {"latest": 1 << 32}},
    {"version_policy": {"specific": [2]}},
    {"version_policy": {"specific": [1, 2]}},
    {"version_policy": {"latest": 1, "all": True}},
    {"parameters": {"execution_mode": "2"}},
    {"parameters": {"execution_context_allocation_strategy": "DYNAMIC"}},
    {"parameters": {"intra_op_thread_count": "3"}, "threads": 2},
    {"parameters": {"a": "\ud800"}},
    {"stream_priority": "highest"},
    {"stream_priority": "max"},
    {"cuda_graphs": True},
    {"output_copy_stream": True},
    {"eager_batching": True},
    {"threads": 0},
    {"threads": 2},
    {"inter_op_threads": 2},
    {"graph_level": 1},
    {"graph_level": 3},
    {"execution_accelerators": [{"name": "tensorrt"}]},
    {"execution_accelerators": [{"name": "cuda", "parameters": {"no_such_option": "1"}}]},
    {"execution_accelerators": [{"name": "openvino", "parameters": {"device": "CPU"}}]},
    {"execution_accelerators": [{"name": "armnn"}]},
    {"no_such_key": 1},
    {"warmup": True, "max_batch_size": 1 << 20},
)


@st.composite
def drawn_requests(draw: st.DrawFn) -> DrawnRequest:
    """Draw a request that is right for its artifact in most of its fields, and in half of the draws odd in one."""
    is_plan = draw(st.integers(0, 9)) > 0
    values = draw(optional(**SHARED, **(OF_PLANS if is_plan else OF_GRAPHS)))
    shape = draw(st.sampled_from(["short", "groups", "neither"]))
    if shape == "short":
        kinds = [None, "gpu"] if is_plan else [None, "cpu", "gpu"]
        fields = {
            "instance_count": st.integers(1, 2),
            "instance_kind": st.sampled_from(kinds),
            "rate_limiter": limiters,
        }
        values |= draw(optional(**fields))
    elif shape == "groups":
        values["instance_groups"] = draw(st.lists(groups(is_plan=is_plan), max_size=2))
    if draw(st.booleans()):
        values |= draw(st.sampled_from(ODDITIES))
    return DrawnRequest(draw(artifacts(is_plan=is_plan)), values)


@st.composite
def artifacts(draw: st.DrawFn, *, is_plan: bool) -> OnnxModel | tuple[Engine, ...]:
    if not is_plan:
        return drawn_model()
    chosen = draw(st.sampled_from([GPUS[:1], GPUS[1:], GPUS]))
    return tuple(drawn_engine(*gpu, draw(st.sampled_from(PROFILE_SETS))) for gpu in chosen)
