import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.spec import QueueSpec, ServingSpec
from prep_triton.triton.config import parse_config, render_config

from scripts.benchmarks.serving_configs import build_config
from scripts.benchmarks.small_artifacts import make_engine, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return make_engine(tmp_path_factory.mktemp("engine"))


def test_onnxruntime_config_holds_the_artifacts_facts_and_the_defaults(model):
    config = build_config("tiny-onnx-fp32", model, ServingSpec())
    text = render_config(config)
    assert 'backend: "onnxruntime"' in text
    assert 'platform: "onnxruntime_onnx"' in text
    assert config.max_batch_size == 16
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.output] == [
        ("last_hidden_state", 11, [-1, 8])
    ]
    assert {tuple(tensor.dims) for tensor in config.input} == {(-1,)}
    assert config.instance_group[0].kind == config.instance_group[0].KIND_CPU
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert not config.dynamic_batching.preferred_batch_size
    assert not config.parameters


def test_tensorrt_config_carries_a_plan_for_each_gpu_and_the_smallest_batch(tmp_path, engine):
    other = make_engine(tmp_path, gpu="l4", compute_capability="8.9", profile="1x2,2x8,4x16")
    config = build_config("tiny-trt-fp16", [engine, other], ServingSpec(stream_priority="max"))
    assert dict(config.cc_model_filenames) == {"7.5": "model_sm75.plan", "8.9": "model_sm89.plan"}
    assert config.max_batch_size == 4
    assert config.platform == "tensorrt_plan"
    assert config.optimization.priority == config.optimization.PRIORITY_MAX
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU


def test_every_profile_of_an_engine_is_listed(engine):
    twice = engine.model_copy(update={"profiles": engine.profiles * 2})
    config = build_config("tiny-trt-fp16", [twice], ServingSpec())
    assert list(config.instance_group[0].profile) == ["0", "1"]


def test_priorities_threads_and_preferred_sizes_are_written(model):
    queue = QueueSpec(max_queue_delay_us=7, preferred_batch_sizes=(2, 4), priority_levels=3, default_priority_level=2)
    config = build_config(
        "tiny", model, ServingSpec(dynamic_batching=queue, threads=3, max_batch_size=4, instance_count=2)
    )
    batching = config.dynamic_batching
    assert (list(batching.preferred_batch_size), batching.priority_levels) == ([2, 4], 3)
    assert batching.default_priority_level == 2
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    assert config.instance_group[0].count == 2


@pytest.mark.parametrize("queue", [None, QueueSpec()])
def test_batch_size_one_or_no_queue_leaves_dynamic_batching_out(model, queue):
    size = 1 if queue else 8
    config = build_config("tiny", model, ServingSpec(max_batch_size=size, dynamic_batching=queue))
    assert not config.HasField("dynamic_batching")


def test_zero_delay_still_asks_for_dynamic_batching(model):
    config = build_config("tiny", model, ServingSpec(dynamic_batching=QueueSpec(max_queue_delay_us=0)))
    assert parse_config(render_config(config)).HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("serving", "message", "hint"),
    [
        (ServingSpec(stream_priority="max"), "means nothing to the ONNX Runtime backend", "priority_levels"),
        (ServingSpec(dynamic_batching=QueueSpec(preferred_batch_sizes=(17,))), "size 17 is not within", r"1\.\.16"),
        (ServingSpec(max_batch_size=1 << 31), "does not fit", "32-bit"),
        (ServingSpec(dynamic_batching=QueueSpec(max_queue_delay_us=1 << 64)), "does not fit", "64-bit"),
    ],
)
def test_onnxruntime_refuses_what_it_cannot_do(model, serving, message, hint):
    with pytest.raises(SpecError, match=message) as caught:
        build_config("tiny", model, serving)
    assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize(
    ("serving", "message", "hint"),
    [
        (ServingSpec(instance_kind="cpu"), "runs on a GPU only", "onnxruntime"),
        (ServingSpec(threads=2), "means nothing to the TensorRT backend", "remove threads"),
        (ServingSpec(max_batch_size=9), "9 exceeds the batch of the t4 engine's profile, 8", "--profile"),
    ],
)
def test_tensorrt_refuses_what_it_cannot_do(engine, serving, message, hint):
    with pytest.raises(SpecError, match=message) as caught:
        build_config("tiny", [engine], serving)
    assert hint in caught.value.hint


def test_an_rtx_engine_is_never_a_plan(tmp_path):
    with pytest.raises(RepositoryError, match="an RTX engine is never a plan") as caught:
        build_config("tiny", [make_engine(tmp_path, builder="tensorrt-rtx")], ServingSpec())
    assert "--builder tensorrt" in caught.value.hint


def test_engines_that_do_not_belong_together_are_refused(tmp_path, engine):
    with pytest.raises(RepositoryError, match="same compute capability") as caught:
        build_config("tiny", [engine, engine], ServingSpec())
    assert "one engine for each" in caught.value.hint
    other = make_engine(tmp_path, gpu="l4", compute_capability="8.9").model_copy(update={"model_outputs": ()})
    with pytest.raises(RepositoryError, match="different inputs or outputs") as caught:
        build_config("tiny", [engine, other], ServingSpec())
    assert "same ONNX model" in caught.value.hint
    with pytest.raises(RepositoryError, match="no engine") as caught:
        build_config("tiny", [], ServingSpec())
    assert "prep build-engine" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"dtype": "INT3"}, "type INT3, which Triton does not know", "INT64"),
        ({"shape": ("batch",)}, "leading 'batch' axis", "prep export"),
        ({"shape": (1, "sequence")}, "leading 'batch' axis", "prep export"),
    ],
)
def test_a_tensor_that_triton_cannot_take_is_refused(model, change, message, hint):
    wrong = model.model_copy(update={"model_inputs": (model.model_inputs[0].model_copy(update=change),)})
    with pytest.raises(RepositoryError, match=message) as caught:
        build_config("tiny", wrong, ServingSpec())
    assert hint in caught.value.hint


def test_parse_names_the_line_and_the_nearest_field():
    text = 'name: "a"\ndynamic_batching {\n  max_queue_delay_microsecond: 1\n}\n'
    with pytest.raises(RepositoryError, match=r"config\.pbtxt, line 3: ModelDynamicBatching has no field") as caught:
        parse_config(text)
    assert caught.value.hint == "did you mean 'max_queue_delay_microseconds'?"


def test_parse_lists_the_fields_where_none_is_near():
    with pytest.raises(RepositoryError, match="line 1: ModelConfig has no field 'zzzz'") as caught:
        parse_config("zzzz: 1")
    assert "known fields: backend" in caught.value.hint


@pytest.mark.parametrize("text", ["max_batch_size: [", "name: 3", "input { data_type: TYPE_INT3 }", "name"])
def test_parse_refuses_damaged_text(text):
    with pytest.raises(RepositoryError, match="here, line 1") as caught:
        parse_config(text, where="here")
    assert "prep assemble" in caught.value.hint


@given(st.text(max_size=100) | st.text(max_size=100).map(lambda text: f'name: "{text}"'))
@example('name: "\\ "')
def test_parse_either_parses_or_refuses(text):
    try:
        config = parse_config(text)
    except RepositoryError as err:
        assert err.hint
    else:
        assert parse_config(render_config(config)) == config


queues = st.builds(
    lambda delay, sizes, levels, default: QueueSpec(
        max_queue_delay_us=delay,
        preferred_batch_sizes=tuple(sizes),
        priority_levels=levels,
        default_priority_level=min(default, levels),
    ),
    st.integers(0, 1 << 40),
    st.lists(st.integers(1, 8), max_size=3),
    st.integers(0, 5),
    st.integers(1, 5),
)
servings = st.builds(
    ServingSpec,
    max_batch_size=st.none() | st.integers(8, 1 << 20),
    dynamic_batching=st.none() | queues,
    instance_count=st.integers(1, 64),
    instance_kind=st.none() | st.sampled_from(["cpu", "gpu"]),
    threads=st.none() | st.integers(1, 64),
)


@given(servings)
def test_rendered_config_parses_to_the_same_config(model, serving):
    config = build_config("tiny", model, serving)
    assert parse_config(render_config(config)) == config
