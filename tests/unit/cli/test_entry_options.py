"""The flags of `prep assemble`, and a file of choices, as one request."""

import inspect

import pytest
from prep_triton.cli.assemble import assemble
from prep_triton.cli.entry_options import EntryOptions, entry_from_flags
from prep_triton.cli.groups import group_from_flags
from prep_triton.errors import SpecError
from prep_triton.spec import QueueSpec, ServingSpec, TextSpec

NO_FLAGS = {name: option.default for name, option in inspect.signature(assemble).parameters.items()}
NESTED = {"instance_groups", "rate_limiter", "version_policy", "execution_accelerators"}
NESTED_OF_QUEUE = {"default_queue_policy", "priority_queue_policies"}


def build(**flags):
    return entry_from_flags(group_from_flags(EntryOptions, {**NO_FLAGS, **flags}), "onnxruntime", "fp32")


def refuse(**flags):
    with pytest.raises(SpecError) as caught:
        build(**flags)
    return caught.value


def test_every_scalar_field_has_a_flag_of_its_name():
    fields = {*ServingSpec.model_fields, *QueueSpec.model_fields, *TextSpec.model_fields} - NESTED - NESTED_OF_QUEUE
    assert fields <= set(NO_FLAGS)


def test_no_flag_gives_the_defaults_and_leaves_them_to_the_tier():
    spec = build()
    assert (spec.runtime, spec.precision, spec.text) == ("onnxruntime", "fp32", None)
    assert spec.serving == ServingSpec()
    assert spec.serving.model_fields_set == {"dynamic_batching"}
    assert not spec.serving.dynamic_batching.model_fields_set
    assert build(runtime="tensorrt").precision == "fp16"


def test_flags_become_the_keys_of_their_names():
    spec = build(
        tier=1,
        length_buckets="32,64",
        preferred_batch_sizes=[2, 4],
        preserve_ordering=True,
        parameters=["a=1", "b=x=y"],
        graph_level=-1,
        warmup=False,
        name="entry",
    )
    assert spec.name == "entry"
    assert spec.serving.length_buckets == (32, 64)
    assert spec.serving.dynamic_batching == QueueSpec(preferred_batch_sizes=(2, 4), preserve_ordering=True)
    assert spec.serving.parameters == {"a": "1", "b": "x=y"}
    assert (spec.serving.tier, spec.serving.graph_level) == (1, -1)
    assert "warmup" in spec.serving.model_fields_set


def test_text_flags_become_a_text_request():
    assert build(text=True).text == TextSpec()
    choices = {"long_input": "stride", "stride": 8, "normalize": False, "text_instance_count": 3}
    assert build(text=True, **choices).text == TextSpec(
        long_input="stride", stride=8, normalize=False, instance_count=3
    )
    assert build(text=False).text is None


def test_a_flag_wins_over_the_file(tmp_path):
    path = tmp_path / "serving.yaml"
    path.write_text(
        "max_batch_size: 8\nthreads: 2\ndynamic_batching: {max_queue_delay_us: 7, preserve_ordering: true}\n"
        "instance_groups: [{count: 2}]\n"
    )
    serving = build(serving_file=path, max_batch_size=4, max_queue_delay_us=9).serving
    assert (serving.max_batch_size, serving.threads, serving.instance_groups[0].count) == (4, 2, 2)
    assert serving.dynamic_batching == QueueSpec(max_queue_delay_us=9, preserve_ordering=True)
    assert build(serving_file=path, dynamic_batching=False).serving.dynamic_batching is None
    assert build(serving_file=path, dynamic_batching=True).serving.dynamic_batching == QueueSpec(
        max_queue_delay_us=7, preserve_ordering=True
    )


def test_a_queue_that_the_file_turns_off_is_turned_on_by_a_flag(tmp_path):
    path = tmp_path / "serving.yaml"
    path.write_text("dynamic_batching: null\n")
    assert build(serving_file=path).serving.dynamic_batching is None
    assert build(serving_file=path, dynamic_batching=True).serving.dynamic_batching == QueueSpec()
    assert build(serving_file=path, max_queue_delay_us=9).serving.dynamic_batching == QueueSpec(max_queue_delay_us=9)


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        ("max_batch_sizes: 8", "serving.yaml:1:1: unknown key 'max_batch_sizes'", "did you mean 'max_batch_size'"),
        ("- 8", "serving.yaml is not a mapping", "keys of 'serving:'"),
        ("a: 1\na: 2", "key 'a' is given twice", "indentation"),
        ("instance_groups: [{count: 0}]", "serving.yaml:1:27: instance_groups[0].count: 0 is out", "1 or more"),
        ("dynamic_batching: true", "serving.yaml:1:19: dynamic_batching: true is not a mapping", "its keys"),
    ],
)
def test_a_wrong_file_is_told_by_its_name_and_place(tmp_path, content, message, hint):
    path = tmp_path / "serving.yaml"
    path.write_text(content)
    err = refuse(serving_file=path)
    assert message in err.message
    assert hint in err.hint


def test_a_file_and_a_flag_that_exclude_each_other_are_told_as_both(tmp_path):
    path = tmp_path / "serving.yaml"
    path.write_text("instance_groups: [{count: 2}]\n")
    err = refuse(serving_file=path, instance_count=3)
    assert f"{path} and the command line: --instance-count and instance_groups exclude" in err.message


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        ({"stride": 8}, "--stride means nothing without --text", "add --text"),
        ({"text": False, "text_instance_count": 2}, "--text-instance-count means nothing", "add --text"),
        ({"dynamic_batching": False, "preferred_batch_sizes": [2]}, "--preferred-batch-size means nothing", "remove"),
        ({"parameters": ["a"]}, "--parameter 'a' is not KEY=VALUE", "execution_mode=1"),
        ({"parameters": ["=a"]}, "--parameter '=a' is not KEY=VALUE", "execution_mode=1"),
        ({"parameters": ["a=1", "a=2"]}, "--parameter a is given twice", "once"),
        ({"tier": 3}, "--tier: 3 is not a known value", "one of 1, 2"),
        ({"length_buckets": "32,x"}, "'32,x' is not a list of sizes", "correct"),
    ],
)
def test_wrong_flags_are_refused(flags, message, hint):
    err = refuse(**flags)
    assert message in err.message
    assert hint in err.hint
