"""Every fault of a file at once, with its line, in the words of who wrote it, and where a key belongs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SpecError
from prep_triton.spec import RunSpec, ServingSpec, build_spec, parse_run_spec

# Faults of every kind in one file. What follows from another fault is none: `model` and `triton` are there, wrongly.
FILE = """\
publsh: gs://bucket/models
jobs: none
models:
  - modle: minilm
    precision: fp16
    max_batch_size: 16
    variants:
      - runtime: onnxruntim
        serving: {max_batch_size: 0, tier: 3, dynamic_batching: {priority_levels: 2, max_delay: 3}}
      - runtime: tensorrt
        gpus: t4
        repository: x
        serving:
  - model: bert-base
    tokenizer: minilm
    variants:
      - runtime: onnxruntime
        gpus: [t4]
        refit: yes please
        text: {tier: 1}
        gate: {eval_data: labelled.jsonl}
      - precision: int8
        quantization: {samples: 3}
target: {triton: 25.10}
"""
FAULTS = [
    ("1:1", "unknown key 'publsh'", "did you mean 'publish'?"),
    ("2:7: jobs", "'none' is not a whole number", "write a whole number, such as 8"),
    ("4:5: models[0]", "unknown key 'modle'", "did you mean 'model'?"),
    ("5:5: models[0]", "unknown key 'precision'", "'precision' belongs to 'variants': models[0].variants[].precision"),
    (
        "6:5: models[0]",
        "unknown key 'max_batch_size'",
        "'max_batch_size' belongs to 'serving': models[0].variants[].serving.max_batch_size",
    ),
    (
        "8:18: models[0].variants[0].runtime",
        "'onnxruntim' is not a known value",
        "did you mean onnxruntime? expected one of tensorrt, onnxruntime, openvino",
    ),
    ("9:35: models[0].variants[0].serving.max_batch_size", "0 is out of range", "expected 1 or more"),
    ("9:44: models[0].variants[0].serving.tier", "3 is not a known value", "expected one of 1, 2"),
    (
        "9:65: models[0].variants[0].serving.dynamic_batching",
        "default_priority_level is 0, expected 1..2",
        "correct the value and run again",
    ),
    (
        "9:86: models[0].variants[0].serving.dynamic_batching",
        "unknown key 'max_delay'",
        "did you mean 'max_queue_delay_us'?",
    ),
    ("11:15: models[0].variants[1].gpus", "'t4' is not a list", "write a list, such as [t4]"),
    ("12:9: models[0].variants[1]", "unknown key 'repository'", "'repository' belongs to the top of the file"),
    (
        "13:17: models[0].variants[1].serving",
        "an empty value is not a mapping of keys",
        "write its keys below it, each on a line of its own",
    ),
    (
        "15:16: models[1].tokenizer",
        "tokenizer belongs to weights: random; a checkpoint brings its own",
        "correct the value and run again",
    ),
    ("17:9: models[1].variants[0]", "gpus means nothing for runtime onnxruntime", "remove gpus"),
    ("19:16: models[1].variants[0].refit", "'yes please' is not true or false", "write true or false, without quotes"),
    (
        "20:16: models[1].variants[0].text",
        "unknown key 'tier'",
        "'tier' belongs to 'serving': models[1].variants[0].serving.tier",
    ),
    (
        "21:15: models[1].variants[0].gate",
        "eval_data and max_accuracy_drop belong together",
        "correct the value and run again",
    ),
    ("22:9: models[1].variants[1]", "a required key is missing", "add 'runtime'"),
    ("23:23: models[1].variants[1].quantization", "a required key is missing", "add 'calibration'"),
    (
        "23:24: models[1].variants[1].quantization",
        "unknown key 'samples'",
        "'samples' belongs to 'calibration': models[1].variants[1].quantization.calibration.samples",
    ),
    ("24:18: target.triton", "25.1 is not text", "put it in quotes: without them YAML reads it as a number"),
]


def test_every_fault_of_a_file_is_told_at_once():
    with pytest.raises(SpecError) as caught:
        parse_run_spec(FILE, where="c.yaml")
    told = [(fault.place, fault.message, fault.hint) for fault in caught.value.faults]
    assert told == [(f"c.yaml:{place}", message, hint) for place, message, hint in FAULTS]
    lines = caught.value.message.splitlines()
    assert lines[0] == f"c.yaml has {len(FAULTS)} faults"
    assert lines[1] == "  c.yaml:1:1: unknown key 'publsh'; did you mean 'publish'?"
    assert caught.value.place == "c.yaml:1:1"


def test_a_file_without_those_faults_is_accepted():
    mended = """\
publish: gs://bucket/models
models:
  - model: minilm
    variants:
      - runtime: onnxruntime
        serving: {max_batch_size: 16, dynamic_batching: {priority_levels: 2, default_priority_level: 1}}
"""
    assert parse_run_spec(mended, where="c.yaml").publish == "gs://bucket/models"


def test_a_single_fault_is_one_sentence():
    with pytest.raises(SpecError) as caught:
        parse_run_spec("models:\n  - model: a\n    variants: [{runtime: onnxruntime, gate: 0.9}]\n", where="c.yaml")
    assert caught.value.message == "c.yaml:3:45: models[0].variants[0].gate: 0.9 is not a mapping of keys"
    assert caught.value.place == "c.yaml:3:45: models[0].variants[0].gate"


def test_a_fault_made_often_is_not_a_page():
    variants = "\n".join("      - {runtime: onnxruntime, presicion: fp16}" for _ in range(200))
    with pytest.raises(SpecError) as caught:
        parse_run_spec(f"models:\n  - model: a\n    variants:\n{variants}\n", where="c.yaml")
    assert len(caught.value.faults) == 200
    assert caught.value.message.splitlines()[-1] == "  and 170 more"
    assert len(caught.value.message.splitlines()) == 32


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"models": "minilm"}, "'minilm' is not a list", "write [{model: minilm}]"),
        ({"models": {"model": "a"}}, "a mapping of keys is not a list", "begin each item with a dash"),
        ({"models": None}, "it is empty, and not a list", "after a dash"),
        ({"jobs": 1.5}, "jobs: 1.5 is not a whole number", "such as 8"),
        ({"memory_gib": "much"}, "memory_gib: 'much' is not a number", "such as 0.5"),
        ({"publish": 7}, "publish: 7 is not text", "put it in quotes"),
        ({"publish": ["a"]}, "publish: the list ['a'] is not text", "write one text"),
        ({"verify": {"enabled": "maybe"}}, "'maybe' is not true or false", "without quotes"),
        ({"verify": {"timeout_s": 0}}, "0 is out of range", "more than 0"),
        ({"min_cosine": 0.9}, "unknown key 'min_cosine'", "belongs to 'gate': models[].variants[].gate.min_cosine"),
        ({"server": "h:1"}, "unknown key 'server'", "did you mean"),
        ({3: 4}, "unknown key '3'", "known keys: allow_random, bench, jobs"),
        ({"zzz": 4}, "unknown key 'zzz'", "known keys: allow_random, bench, jobs"),
    ],
)
def test_a_value_is_refused_in_the_words_of_yaml(values, message, hint):
    models = {"models": [{"model": "a", "variants": [{"runtime": "onnxruntime"}]}]}
    with pytest.raises(SpecError) as caught:
        build_spec(RunSpec, {**models, **values}, where="c.yaml")
    (fault,) = caught.value.faults
    assert message in f"{fault.place}: {fault.message}"
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("model", "hints"),
    [
        ("bert-base", ["write {model: bert-base}"]),
        ({"path": "./x", "variants": []}, ["add one", "did you mean 'model'?"]),
        ({"model": "x", "variants": ["onnxruntime"]}, ["write {runtime: onnxruntime}"]),
        ({"model": "x", "variants": "onnxruntime"}, ["write [{runtime: onnxruntime}]"]),
        ({"model": "x", "variants": [{"runtime": "onnx"}]}, ["did you mean onnxruntime? expected one of"]),
        ({"model": "x", "variants": [{"backend": "tensorrt"}]}, ["did you mean 'runtime'?"]),
        (
            {"model": "x", "variants": [{"runtime": "onnxruntime", "precision": "fp16", "gate": 0.99}]},
            ["write {min_cosine: 0.99}"],
        ),
        (
            {"model": "x", "variants": [{"runtime": "onnxruntime", "batch_size": 8}]},
            ["did you mean 'max_batch_size'? It belongs to 'serving': models[0].variants[0].serving.max_batch_size"],
        ),
        (
            {"model": "x", "variants": [{"runtime": "onnxruntime", "serving": {"batching": {}, "instances": 2}}]},
            ["did you mean 'dynamic_batching'?", "did you mean 'instance_count'?"],
        ),
        (
            {"model": "x", "task": "sequence-classification", "variants": [{"runtime": "onnxruntime"}]},
            ["did you mean text-classification?"],
        ),
    ],
    ids=str,
)
def test_what_others_call_it_and_what_stands_for_a_mapping_is_understood(model, hints):
    with pytest.raises(SpecError) as caught:
        build_spec(RunSpec, {"models": [model]}, where="c.yaml")
    assert len(caught.value.faults) == len(hints)
    for fault, hint in zip(caught.value.faults, hints, strict=True):
        assert fault.hint.startswith(hint)


def test_a_single_value_is_put_where_it_belongs():
    models = {"models": [{"model": "a", "variants": [{"runtime": "onnxruntime"}]}]}
    with pytest.raises(SpecError) as caught:
        build_spec(RunSpec, {**models, "target": 25.08, "verify": False, "regression": "much"}, where="c.yaml")
    assert [fault.hint for fault in caught.value.faults] == [
        'write {triton: "25.08"}',
        "write {enabled: false}",
        "write its keys below it, each on a line of its own",
    ]


def test_a_key_that_two_places_know_names_both():
    with pytest.raises(SpecError) as caught:
        build_spec(ServingSpec, {"priority": 1}, where="serving.yaml")
    assert caught.value.hint == "'priority' belongs to 'rate_limiter': rate_limiter.priority"
    with pytest.raises(SpecError) as caught:
        build_spec(ServingSpec, {"resources": []}, where="serving.yaml")
    assert "rate_limiter.resources" in caught.value.hint


keys = st.sampled_from(["models", "model", "variants", "runtime", "serving", "text", "gpus", "x-a", "gate", "tier"])
scalars = (
    st.none() | st.booleans() | st.integers(-2, 40) | st.sampled_from(["tensorrt", "onnxruntime", "a", "", "${A}"])
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.integers(0, 3), inner), max_leaves=25
)


@given(st.dictionaries(keys, trees))
def test_any_values_are_a_request_or_a_list_of_faults(values):
    try:
        assert build_spec(RunSpec, values, where="it").models
    except SpecError as err:
        assert err.faults
        assert all(fault.hint and fault.message for fault in err.faults)


@pytest.mark.parametrize(("key", "shown"), [(".inf", "inf"), ("1.5", "1.5"), ("~", "None")])
def test_a_key_that_is_no_text_is_an_unknown_key(key: str, shown: str):
    for text in (f"{key}: 1\n", f"models:\n  - {{model: minilm, {key}: 1, variants: []}}\n"):
        with pytest.raises(SpecError, match=f"unknown key '{shown}'"):
            parse_run_spec(text, where="p.yaml")
