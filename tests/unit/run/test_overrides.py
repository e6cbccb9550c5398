"""Keys of a pipeline file that flags set, held to the rules of the file."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prep_triton.errors import SpecError
from prep_triton.run.overrides import override_settings
from prep_triton.spec import RUN_HINT, RunSpec, load_settings, parse_run_spec

FILE = """\
publish: gs://${PREP_ABSENT}/models
models:
  - model: ./all.mini.lm
    variants:
      - {runtime: onnxruntime, text: true}
      - {runtime: onnxruntime, precision: fp16, serving: {tier: 1}}
  - {model: bert-base, weights: random, variants: [{runtime: tensorrt, precision: fp16, gpus: [t4]}]}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("c.yaml")
    path.write_text(FILE)
    return path


def build(path: Path, *assignments: str) -> RunSpec:
    settings = load_settings(path, hint=RUN_HINT)
    return override_settings(settings, ["publish=", *assignments]).build(RunSpec)


def values(spec: Any, key: str) -> list[Any]:
    """Return a value of every variant of the first model."""
    found = spec.models[0].variants
    for part in key.split("."):
        found = [getattr(item, part) for item in found]
    return list(found)


@pytest.mark.parametrize(
    ("assignment", "key", "expected"),
    [
        ("models.all.mini.lm.serving.max_batch_size=16", "serving.max_batch_size", [16, 16]),
        ("models.all.mini.lm.variants.serving.max_batch_size=16", "serving.max_batch_size", [16, 16]),
        ("models.all.mini.lm.variants[1].serving.max_batch_size=16", "serving.max_batch_size", [None, 16]),
        ("models.all.mini.lm.variants.1.serving.max_batch_size=16", "serving.max_batch_size", [None, 16]),
        ("models.*.serving.tier=2", "serving.tier", [2, 2]),
        ("models.all.mini.lm.serving={warmup: true}", "serving.warmup", [True, True]),
        ("models.all.mini.lm.text.top_k=3", "text.top_k", [3, 3]),
        ("models.all.mini.lm.serving.length_buckets=[16, 32]", "serving.length_buckets", [(16, 32)] * 2),
        ("models.all.mini.lm.serving.length_buckets=16,32", "serving.length_buckets", [(16, 32)] * 2),
        ("models.all.mini.lm.serving.dynamic_batching=null", "serving.dynamic_batching", [None, None]),
        ("models.all.mini.lm.serving.parameters.execution_mode=1", "serving.parameters", [{"execution_mode": "1"}] * 2),
        ("models.all.mini.lm.variants[0].text=false", "text", [None, None]),
        ("models.all.mini.lm.variants[1].name=0123", "name", [None, "0123"]),
    ],
)
def test_a_key_of_a_models_variants_is_set(path: Path, assignment: str, key: str, expected: list[Any]):
    assert values(build(path, assignment), key) == expected


def test_the_rest_of_a_file_is_set(path: Path):
    spec = build(
        path,
        "jobs=3",
        "jobs=4",
        "target.triton=25.10",
        "target.gpus=[t4, l4]",
        "verify.enabled=false",
        "memory_gib=1.5",
        "models.bert-base.seed=7",
        "models.bert-base.gpus=[l4]",
        "models.*.weights=random",
        "models[0].name=other",
        "regression.max_size_increase_percent=null",
    )
    assert (spec.jobs, spec.memory_gib, spec.verify.enabled, spec.publish) == (4, 1.5, False, None)
    assert spec.target is not None
    assert (spec.target.triton, spec.target.gpus) == ("25.10", ("t4", "l4"))
    assert [(model.name, model.weights, model.seed) for model in spec.models] == [
        ("other", "random", 0),
        (None, "random", 7),
    ]
    assert spec.models[1].variants[0].gpus == ("l4",)
    assert spec.regression.max_size_increase_percent is None
    assert path.read_text() == FILE


def test_what_is_not_set_is_the_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREP_ABSENT", "b")
    settings = load_settings(path, hint=RUN_HINT)
    assert override_settings(settings, []) is settings
    assert override_settings(settings, ["jobs=1"]).build(RunSpec) == parse_run_spec(FILE, where="it").model_copy(
        update={"jobs": 1}
    )


@pytest.mark.parametrize(
    ("assignment", "place", "message", "hint"),
    [
        ("jobs", "--set", "--set 'jobs' is not KEY=VALUE", "--set jobs=2"),
        ("=2", "--set", "is not KEY=VALUE", "--set jobs=2"),
        ("jobs=none", "--set jobs: jobs", "'none' is not a whole number", "such as 8"),
        ("jbs=2", "--set jbs", "unknown key 'jbs'", "did you mean 'jobs'?"),
        ("models.bert-bas.seed=1", "--set models.bert-bas.seed", "no model 'bert-bas'", "did you mean 'bert-base'?"),
        ("models.bert-base=1", "", "names a model, and no key of it", "--set models.bert-base.weights=random"),
        (
            "models.bert-base.precison=int8",
            "--set models.bert-base.precison: models[1]",
            "unknown key 'precison'",
            "did you mean 'precision'? It belongs to 'variants': models[1].variants[].precision",
        ),
        (
            "models.bert-base.serving.threds=1",
            "--set models.bert-base.serving.threds: models[1].variants[0].serving",
            "unknown key 'threds'",
            "did you mean 'threads'?",
        ),
        ("models.bert-base.variants[3].text=true", "", "there is no '3' in the file", "count from 0"),
        ("models.bert-base.weights.x=1", "", "there is no 'x' in the file", "prep schema"),
        ("models.bert-base.gpus=[", "", "--set models.bert-base.gpus:1:2: ", "quote the value"),
        (
            "models.bert-base.gpus=t4",
            "--set models.bert-base.gpus: models[1].variants[0].gpus",
            "'t4' is not a list",
            "such as [t4]",
        ),
        ("models.bert-base.text=true", "", "", ""),
    ],
)
def test_a_wrong_flag_is_told_by_its_name(path: Path, assignment: str, place: str, message: str, hint: str):
    if not message:
        assert build(path, assignment).models[1].variants[0].text
        return
    with pytest.raises(SpecError) as caught:
        build(path, assignment)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not place or caught.value.place == place


def test_faults_of_the_file_keep_their_lines_beside_those_of_a_flag(path: Path):
    path.write_text(FILE.replace("weights: random", "weight: random"))
    with pytest.raises(SpecError) as caught:
        build(path, "jobs=none")
    assert [fault.place for fault in caught.value.faults] == ["--set jobs: jobs", "c.yaml:7:24: models[1]"]


@given(st.text("abjo.[]=*1{}:, ", max_size=20))
@example("*.=")
def test_any_text_is_a_setting_or_a_sentence(text: str):
    from prep_triton.spec import SettingsFile
    from prep_triton.spec.yaml_text import parse_document

    document = parse_document(FILE, where="it")
    try:
        override_settings(SettingsFile(document.value, document), [text, f"models.{text}"])
    except SpecError as err:
        assert err.hint
