"""Variables in the values of a file, and the keys of a file's own that hold what its anchors share."""

import textwrap
from pathlib import Path

import pytest
from prep_triton.errors import SpecError
from prep_triton.spec import parse_run_spec
from prep_triton.spec.variables import expand_variables

ENVIRONMENT = {"BUCKET": "models", "EMPTY": "", "NESTED": "${BUCKET}"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("gs://${BUCKET}/x", "gs://models/x"),
        ("${BUCKET}${BUCKET}", "modelsmodels"),
        ("${ABSENT:-other}", "other"),
        ("${EMPTY:-other}", "other"),  # as in a shell
        ("${EMPTY}", ""),
        ("${ABSENT:-}", ""),
        ("${ABSENT:-gs://a:b/-}", "gs://a:b/-"),
        ("$${BUCKET}", "${BUCKET}"),
        ("$$${BUCKET}", "$${BUCKET}"),
        ("${NESTED}", "${BUCKET}"),  # once: what a variable holds is no text of the file
        ("$BUCKET costs $5 {BUCKET}", "$BUCKET costs $5 {BUCKET}"),
    ],
)
def test_a_variable_is_expanded(text, value):
    assert expand_variables({"a": [text]}, ENVIRONMENT) == ({"a": [value]}, [])


def test_keys_and_other_values_stay_as_they_are():
    values = {"${BUCKET}": 1, "a": {"b": None, "c": [True, 1.5]}}
    assert expand_variables(values, ENVIRONMENT) == (values, [])


@pytest.mark.parametrize("text", ["${}", "${1}", "${A B}", "${BUCKET-x}", "${BUCKET:?x}", "a ${BUCKET"])
def test_what_is_no_variable_is_refused(text):
    (problem,) = expand_variables({"a": text}, ENVIRONMENT)[1]
    assert problem.path == ("a",)
    assert "is not a variable, which is ${NAME} or ${NAME:-default}" in problem.message
    assert "$${" in problem.hint


FILE = """\
publish: gs://${PREP_TEST_BUCKET}/models
jobs: ${PREP_TEST_JOBS:-2}
models:
  - model: ${PREP_TEST_MODEL}
    variants:
      - runtime: onnxruntime
        serving: {warmup: "${PREP_TEST_WARM:-true}", tier: "${PREP_TEST_TIER:-1}"}
"""


def test_a_file_takes_numbers_and_true_from_variables(monkeypatch):
    monkeypatch.setenv("PREP_TEST_BUCKET", "b")
    monkeypatch.setenv("PREP_TEST_MODEL", "minilm")
    spec = parse_run_spec(FILE, where="c.yaml")
    assert (spec.publish, spec.jobs, spec.models[0].model) == ("gs://b/models", 2, "minilm")
    assert (spec.models[0].variants[0].serving.warmup, spec.models[0].variants[0].serving.tier) == (True, 1)
    monkeypatch.setenv("PREP_TEST_JOBS", "many")
    with pytest.raises(SpecError, match=r"c\.yaml:2:7: jobs: 'many' is not a whole number"):
        parse_run_spec(FILE, where="c.yaml")


def test_every_variable_that_is_not_set_is_told_with_its_line():
    text = FILE.replace("${PREP_TEST_JOBS:-2}", "${PREP_TEST_JOBS}").replace("warmup", "warm_up")
    with pytest.raises(SpecError) as caught:
        parse_run_spec(text, where="c.yaml")
    assert [(fault.place, fault.message) for fault in caught.value.faults] == [
        ("c.yaml:1:10: publish", "the environment variable PREP_TEST_BUCKET is not set"),
        ("c.yaml:2:7: jobs", "the environment variable PREP_TEST_JOBS is not set"),
        ("c.yaml:4:12: models[0].model", "the environment variable PREP_TEST_MODEL is not set"),
        ("c.yaml:7:19: models[0].variants[0].serving", "unknown key 'warm_up'"),
    ]
    assert "export PREP_TEST_BUCKET=" in caught.value.faults[0].hint
    assert "${PREP_TEST_BUCKET:-default}" in caught.value.faults[0].hint


def test_own_keys_hold_what_anchors_share():
    text = """\
x-served: &served
  runtime: onnxruntime
  text: true
x-anything: 3
models:
  - {model: a, variants: [{<<: *served}, {<<: *served, precision: fp16}]}
  - {model: b, variants: [*served]}
"""
    spec = parse_run_spec(text, where="c.yaml")
    assert [variant.precision for model in spec.models for variant in model.variants] == ["fp32", "fp16", "fp32"]
    assert all(variant.text for model in spec.models for variant in model.variants)


def test_own_keys_are_at_the_top_alone():
    with pytest.raises(SpecError, match=r"models\[0\]: unknown key 'x-note'"):
        parse_run_spec("models: [{model: a, x-note: 1, variants: [{runtime: onnxruntime}]}]", where="c.yaml")


def test_the_example_of_the_guide_is_a_pipeline():
    guide = (Path(__file__).parents[3] / "configs" / "README.md").read_text(encoding="utf-8")
    text = "\n".join(line for line in guide.splitlines() if line.startswith("    ") and "prep run" not in line)
    spec = parse_run_spec(textwrap.dedent(text), where="configs/README.md")
    served = [
        (model.model, variant.precision, variant.text is None) for model in spec.models for variant in model.variants
    ]
    assert served == [
        ("./sentiment", "fp32", False),
        ("./sentiment", "fp16", False),
        ("./topics", "fp32", False),
    ]
