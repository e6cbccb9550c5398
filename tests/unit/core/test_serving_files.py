"""``serving: FILE`` of a pipeline file: the keys of another file, relative to the first, with its faults' own lines."""

from pathlib import Path

import pytest
from prep_triton.errors import SpecError
from prep_triton.run.overrides import override_settings
from prep_triton.spec import RUN_HINT, RunSpec, ServingSpec, load_run_spec, load_serving_file, load_settings

PIPELINE = "models: [{model: minilm, variants: [{runtime: onnxruntime, serving: tuned/fast.yaml}]}]\n"
TUNED = "# p99 <= 50 ms at 80/s\ninstance_count: 2\nthreads: 1\ndynamic_batching: null\n"


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "fast.yaml").write_text(TUNED)
    (tmp_path / "nightly.yaml").write_text(PIPELINE)
    return tmp_path / "nightly.yaml"


def test_the_keys_of_the_file_are_the_variants(pipeline: Path):
    (model,) = load_run_spec(pipeline).models
    assert model.variants[0].serving == ServingSpec(instance_count=2, threads=1, dynamic_batching=None)
    assert load_serving_file(pipeline.parent / "tuned" / "fast.yaml").values["threads"] == 1


def test_a_flag_names_another_file_or_sets_a_key_of_it(pipeline: Path):
    (pipeline.parent / "other.yaml").write_text("threads: 3\n")
    settings = load_settings(pipeline, hint=RUN_HINT)
    changed = override_settings(settings, ["models.minilm.serving.threads=2"]).build(RunSpec)
    assert changed.models[0].variants[0].serving.threads == 2
    assert changed.models[0].variants[0].serving.instance_count == 2
    other = override_settings(settings, ["models.minilm.serving=other.yaml"]).build(RunSpec)
    assert other.models[0].variants[0].serving == ServingSpec(threads=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("instance_count: 2\nthreds: 1\n", "fast.yaml:2:1: unknown key 'threds'"),
        ("threads: 0\n", "fast.yaml:1:10: threads: 0 is out of range"),
        ("- threads\n", "fast.yaml is not a mapping of keys"),
        (None, "there is no serving file"),
    ],
)
def test_a_fault_has_the_line_of_both_files(pipeline: Path, content: str | None, message: str):
    tuned = pipeline.parent / "tuned" / "fast.yaml"
    if content is None:
        tuned.unlink()
    else:
        tuned.write_text(content)
    with pytest.raises(SpecError) as caught:
        load_run_spec(pipeline)
    assert f"{pipeline}:1:" in str(caught.value)
    assert "models[0].variants[0].serving: " in caught.value.message
    assert message in caught.value.message
