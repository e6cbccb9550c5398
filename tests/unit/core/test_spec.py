"""Requests: what is accepted, and how a wrong one is refused."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SpecError
from prep_triton.spec import (
    ConversionSpec,
    EngineSpec,
    GateSpec,
    ModelSpec,
    OptimizationProfile,
    ServingSpec,
    VariantSpec,
    build_spec,
    load_run_spec,
    parse_profile,
    parse_run_spec,
    profiles_from_seq_lens,
)

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
MINIMAL = "models: [{model: minilm, variants: [{runtime: onnxruntime}]}]"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path: Path):
    assert load_run_spec(path).models


def test_there_are_shipped_configs():
    assert {"quickstart.yaml", "nightly.yaml"} <= {path.name for path in CONFIGS}


shapes = st.tuples(st.integers(1, 64), st.integers(1, 512))


@given(st.lists(shapes, min_size=3, max_size=3))
def test_profile_text_round_trips_when_ordered(drawn):
    batches, sequences = sorted(shape[0] for shape in drawn), sorted(shape[1] for shape in drawn)
    text = ",".join(f"{batch}x{sequence}" for batch, sequence in zip(batches, sequences, strict=True))
    assert str(OptimizationProfile.model_validate(text)) == text


@given(st.text(max_size=30))
def test_profile_parser_gives_three_shapes_or_a_value_error(text: str):
    try:
        parsed = parse_profile(text)
    except ValueError as err:
        assert "BATCHxSEQUENCE" in str(err)
    else:
        assert list(parsed) == ["min", "opt", "max"]


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("8x16,4x128,16x384", "batch sizes must satisfy 1 <= min <= opt <= max, got 8, 4, 16"),
        ("1x16,8x512,16x384", "sequence sizes must satisfy 1 <= min <= opt <= max, got 16, 512, 384"),
        ("0x16,8x128,16x384", "batch sizes must satisfy"),
        ("1x16,8x128", "is not a min,opt,max triple"),
        ("fast", "is not a min,opt,max triple"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_values_seen(profile: str, message: str):
    with pytest.raises(SpecError, match=message):
        build_spec(EngineSpec, {"precision": "fp16", "gpu": "t4", "profiles": [profile]}, where="the command line")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("modles: []", "unknown key 'modles'", "did you mean 'models'?"),
        (
            "models: [{model: minilm, variants: [{runtime: onnxruntime, precison: fp16}]}]",
            "models[0].variants[0]: unknown key 'precison'",
            "did you mean 'precision'?",
        ),
        ("models: [{model: minilm, variants: []}]", "models[0].variants: at least one is needed", "begins with a dash"),
        (
            "models: [{model: a, name: A b, variants: [{runtime: onnxruntime}]}]",
            "'A b' is not a name",
            "at most 63 letters",
        ),
        (
            "models: [{model: a, variants: [{runtime: onnxruntim}]}]",  # one fault, and not also an empty list
            "variants[0].runtime: 'onnxruntim' is not a known value",
            "did you mean onnxruntime? expected one of tensorrt, onnxruntime",
        ),
        ("models: [{model: minilm, task: translate, variants: [{runtime: onnxruntime}]}]", "'translate'", "fill-mask"),
        ("models: [{variants: [{runtime: onnxruntime}]}]", "a required key is missing", "add 'model'"),
        ("models: [{model: a, variants: [{runtime: tensorrt}]}]", "needs gpus", "add gpus: [t4, l4]"),
        ("models: [{model: a, variants: [{runtime: onnxruntime, gpus: [t4]}]}]", "gpus means nothing", "remove gpus"),
        ("{models: [], models: []}", "key 'models' is given twice", "check the indentation"),
        ("models: [", "the config", "check the indentation"),
        ("just text", "is not a mapping", "begins with 'models:'"),
    ],
)
def test_a_wrong_config_is_refused_with_its_place_and_a_hint(text: str, message: str, hint: str):
    with pytest.raises(SpecError) as caught:
        parse_run_spec(text, where="the config")
    assert message in caught.value.message
    assert hint in caught.value.hint


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_a_spec_error(text: str):
    try:
        assert parse_run_spec(text, where="it").models
    except SpecError as err:
        assert err.hint


def test_a_missing_or_binary_config_is_refused(tmp_path: Path):
    with pytest.raises(SpecError, match="there is no config file"):
        load_run_spec(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read"):
        load_run_spec(binary)


def test_specs_are_frozen_and_comparable():
    spec = parse_run_spec(MINIMAL, where="it")
    assert spec == parse_run_spec(MINIMAL, where="elsewhere")
    with pytest.raises(ValueError, match="frozen"):
        spec.publish = "gs://elsewhere"  # type: ignore[misc]


def test_a_variant_gives_one_engine_request_for_each_gpu():
    variant = VariantSpec(runtime="tensorrt", precision="fp16", gpus=("T4", " l4"))
    assert [spec.gpu for spec in variant.engine_specs()] == ["t4", "l4"]
    assert {spec.precision for spec in variant.engine_specs()} == {"fp16"}


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        ({"priority_levels": 2}, "default_priority_level is 0, expected 1..2"),
        ({"priority_levels": 2, "default_priority_level": 3}, "default_priority_level is 3, expected 1..2"),
        ({"default_priority_level": 1}, "means nothing without priority_levels"),
    ],
)
def test_priority_levels_follow_the_servers_rule(queue: dict[str, int], message: str):
    with pytest.raises(SpecError, match=message):
        build_spec(ServingSpec, {"dynamic_batching": queue}, where="it")


def test_a_preferred_batch_size_beyond_the_largest_is_refused():
    given_ = {"max_batch_size": 4, "dynamic_batching": {"preferred_batch_sizes": [8]}}
    with pytest.raises(SpecError, match=r"preferred batch size 8 is not within 1..max_batch_size"):
        build_spec(ServingSpec, given_, where="it")


@pytest.mark.parametrize("name", ["a/b", "../x", "-a", "a b", "é", "a" * 64])
def test_a_name_that_no_directory_or_label_can_have_is_refused(name: str):
    with pytest.raises(SpecError, match="name"):
        build_spec(ModelSpec, {"model": "bert-base", "name": name}, where="the command line")


sizes = st.lists(st.integers(1, 4096), min_size=1, max_size=8, unique=True).map(sorted)


@given(sizes, st.lists(st.integers(1, 64), min_size=3, max_size=3).map(sorted))
def test_length_buckets_cover_every_length_once(seq_lens, batch):
    profiles = profiles_from_seq_lens(seq_lens, batch)
    covered = [length for profile in profiles for length in range(profile.min[1], profile.max[1] + 1)]
    assert covered == list(range(1, seq_lens[-1] + 1))
    assert all(profile.opt == (batch[1], profile.max[1]) for profile in profiles)
    assert {(profile.min[0], profile.max[0]) for profile in profiles} == {(batch[0], batch[2])}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seq_lens": "64,32"}, "seq_lens must increase from 1 or more, got 64,32"),
        ({"seq_lens": [32, 32]}, "seq_lens must increase from 1 or more, got 32,32"),
        ({"seq_lens": [0, 32]}, "seq_lens must increase from 1 or more, got 0,32"),
        ({"seq_lens": "32;64"}, "'32;64' is not a list of sizes such as 32,64,128"),
        ({"seq_lens": [32], "batch": "1,8"}, "batch must be min,opt,max with 1 <= min <= opt <= max, got 1,8"),
        ({"seq_lens": [32], "batch": [8, 1, 16]}, "batch must be min,opt,max"),
        ({"seq_lens": [32], "profiles": ["1x1,1x8,1x16"]}, "profiles and seq_lens exclude each other"),
        ({"batch": [1, 8, 16]}, "batch belongs to seq_lens"),
        ({"hardware_compatible": "ampere"}, "'ampere' is not a known value"),
    ],
)
def test_wrong_build_options_are_refused_with_the_values_seen(fields, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        build_spec(EngineSpec, {"precision": "fp16", "gpu": "t4", **fields}, where="the command line")


def test_seq_lens_are_a_short_way_to_write_profiles():
    spec = EngineSpec.model_validate({"precision": "fp16", "gpu": "t4", "seq_lens": "32,64", "batch": "1,4,8"})
    assert [str(profile) for profile in spec.engine_profiles(512)] == ["1x1,4x32,8x32", "1x33,4x64,8x64"]
    assert EngineSpec.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("usual_length", "profile"),
    [(512, "1x16,8x128,16x512"), (256, "1x16,8x128,16x256"), (64, "1x16,8x64,16x64"), (8, "1x8,8x8,16x8")],
)
def test_an_engine_ends_where_the_checkpoint_declares(usual_length, profile):
    spec = EngineSpec(precision="fp16", gpu="t4")
    assert [str(shapes) for shapes in spec.engine_profiles(usual_length)] == [profile]
    asked = spec.model_copy(update={"profiles": (OptimizationProfile.model_validate("1x1,2x32,4x64"),)})
    assert [str(shapes) for shapes in asked.engine_profiles(usual_length)] == ["1x1,2x32,4x64"]


def test_a_variant_hands_its_build_options_to_every_engine():
    options = {"seq_lens": (32, 64), "version_compatible": True, "refit": True, "optimization_level": 5}
    variant = VariantSpec(runtime="tensorrt", precision="fp16", gpus=("a100", "l4"), **options)
    assert variant.engine_specs() == tuple(EngineSpec(precision="fp16", gpu=gpu, **options) for gpu in ("a100", "l4"))


@pytest.mark.parametrize("key", ["seq_lens", "profiles", "refit", "hardware_compatible"])
def test_a_build_option_means_nothing_to_onnxruntime(key):
    choices = {"seq_lens": [32], "profiles": ["1x1,1x8,1x16"], "refit": True, "hardware_compatible": "ampere_plus"}
    with pytest.raises(SpecError, match=f"{key} means nothing for runtime onnxruntime"):
        build_spec(VariantSpec, {"runtime": "onnxruntime", key: choices[key]}, where="a test")


TEXTS = {"calibration": {"path": "texts.txt"}}


def test_a_gate_within_quantization_is_refused_with_its_place():
    quantization = {**TEXTS, "gate": {"min_cosine": 0.9}}
    variant = {"runtime": "tensorrt", "precision": "int8", "gpus": ["t4"], "quantization": quantization}
    with pytest.raises(SpecError, match="quantization: unknown key 'gate'") as caught:
        build_spec(VariantSpec, variant, where="it")
    assert caught.value.hint == "'gate' belongs to the top of the file"
    text = "models: [{model: a, variants: [{runtime: tensorrt, gpus: [t4], precision: int8, quantization: "
    with pytest.raises(SpecError) as caught:
        parse_run_spec(f"{text}{{calibration: {{path: x}}, gate: {{}}}}}}]}}]", where="it")
    assert caught.value.hint == "'gate' belongs to models[0].variants[0]"


def test_a_precision_has_a_gate_of_its_own_until_another_is_asked_for():
    gates = {
        (runtime, precision): gate and gate.min_cosine
        for runtime, others in (("tensorrt", "fp16 int8"), ("onnxruntime", "fp16"), ("openvino", "bf16 int8"))
        for precision in ("fp32", *others.split())
        for gate in [ConversionSpec(runtime=runtime, precision=precision).required_gate()]
    }
    assert gates == {
        ("tensorrt", "fp32"): None,
        ("tensorrt", "fp16"): 0.999,
        ("tensorrt", "int8"): 0.99,
        ("onnxruntime", "fp32"): None,
        ("onnxruntime", "fp16"): 0.999,
        ("openvino", "fp32"): None,
        ("openvino", "bf16"): 0.999,
        ("openvino", "int8"): 0.99,
    }


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        ({"min_cosine": 0.95}, 0.85),  # three times as far as the mean
        ({"min_cosine": 0.5}, 0.0),
        ({"min_cosine": 0.999}, 0.97),  # a stricter mean says nothing of single rows
        ({"min_cosine": 0.95, "min_row_cosine": 0.9}, 0.9),
        ({"eval_data": "a.jsonl", "max_accuracy_drop": 1.0}, 0.97),
    ],
)
def test_a_gate_implies_a_bound_on_single_rows_until_one_is_asked_for(asked: dict, row: float):
    gate = ConversionSpec(runtime="openvino", precision="int8", gate=GateSpec(**asked)).required_gate()
    assert gate == GateSpec(**{**asked, "min_row_cosine": row})


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"runtime": "tensorrt", "precision": "int8", "gpus": ["t4"]}, "int8 for tensorrt needs calibration text"),
        ({"runtime": "openvino", "precision": "int8"}, "int8 for openvino needs calibration text"),
        ({"runtime": "onnxruntime", "precision": "fp16", "quantization": TEXTS}, "means nothing for onnxruntime fp16"),
        ({"runtime": "onnxruntime", "precision": "int8", "quantization": TEXTS}, "int8 on a CPU is openvino's"),
        (
            {"runtime": "tensorrt", "precision": "fp16", "gpus": ["t4"], "quantization": TEXTS},
            "means nothing for tensorrt fp16",
        ),
        ({"runtime": "onnxruntime", "gate": {"min_cosine": 0.9}}, "a gate means nothing for fp32"),
        (
            {"runtime": "tensorrt", "precision": "fp16", "gpus": ["t4"], "int8_if_faster": True},
            "int8_if_faster belongs to precision int8",
        ),
        ({"runtime": "onnxruntime", "precision": "fp16", "gate": {"min_cosine": 1.5}}, "gate.min_cosine"),
        ({"runtime": "onnxruntime", "precision": "fp16", "gate": {"eval_data": "x"}}, "belong together"),
    ],
)
def test_a_conversion_that_says_nothing_sensible_is_refused(variant: dict[str, object], message: str):
    with pytest.raises(SpecError, match=message):
        build_spec(VariantSpec, variant, where="it")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (r'"a\0b"', r"'a\x00b' has the character '\x00' in it"),
        (r'"x\e[31mred"', r"'x\x1b[31mred' has the character '\x1b' in it"),
        (r'"gs://bucket/x\n"', r"has the character '\n' in it"),
        ("a" * 5000, "(5,000 characters)"),
    ],
)
@pytest.mark.parametrize("key", ["models: [{variants: [{runtime: onnxruntime}], model", "models: [{name", "publish"])
def test_a_text_that_no_file_can_be_named_is_refused_in_short(key: str, value: str, message: str):
    with pytest.raises(SpecError) as caught:
        parse_run_spec(f"{key}: {value}{'}]' if '{' in key else ''}", where="the config")
    assert message in caught.value.message
    assert f"{re.findall(r'[a-z]+', key)[-1]} " in caught.value.message
    assert len(caught.value.message) < 500
