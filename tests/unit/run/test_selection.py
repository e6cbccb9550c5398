"""Some models of a file: the release keeps what it has of the others."""

from pathlib import Path

import pytest
from prep_triton.errors import SpecError
from prep_triton.publish.catalog import resolve
from prep_triton.publish.uri import open_store
from prep_triton.run.selection import select_models
from prep_triton.spec import RunSpec, parse_run_spec

from tests.fakes.played_stages import Stages, run

FILE = """\
models:
  - {model: ./tiny, name: first, variants: [{runtime: onnxruntime}]}
  - {model: ./tiny, name: second, variants: [{runtime: onnxruntime, serving: {max_batch_size: SIZE}}]}
  - {model: ./tiny, name: third, variants: [{runtime: onnxruntime, name: own-name}]}
"""


def file_with(size: int = 8) -> RunSpec:
    return parse_run_spec(FILE.replace("SIZE", str(size)), where="a test")


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    monkeypatch.chdir(tmp_path)
    return Stages(monkeypatch)


def published() -> dict[str, str]:
    release = resolve(open_store("./releases"), "current")
    return {entry.name: entry.key for entry in release.entries}


def test_the_others_stay_in_the_release_as_they_are(stages: Stages):
    run(file_with(), publish_uri="./releases")
    before = published()
    stages.verified.clear()
    report = run(file_with(size=4), publish_uri="./releases", only_models=("second",))
    after = published()
    assert [row.artifact for row in report.rows if row.stage == "export"] == ["second"]
    assert [names for _, names in stages.verified] == [["second-onnx-fp32"]]
    assert after.keys() == before.keys() == {"first-onnx-fp32", "second-onnx-fp32", "own-name"}
    assert {name for name in after if after[name] != before[name]} == {"second-onnx-fp32"}
    (publish,) = [row for row in report.rows if row.stage == "publish"]
    assert publish.note == "kept from the current release: first-onnx-fp32, own-name"


def test_what_the_current_release_does_not_have_is_not_kept(stages: Stages):
    run(file_with(), publish_uri="./releases", only_models=("first", "third"))
    assert published().keys() == {"first-onnx-fp32", "own-name"}
    run(file_with(), publish_uri="./releases", only_models=("second",))
    assert published().keys() == {"first-onnx-fp32", "second-onnx-fp32", "own-name"}


def test_a_chosen_model_that_fails_is_the_runs_failure(stages: Stages):
    run(file_with(), publish_uri="./releases")
    stages.broken = "second"
    with pytest.raises(Exception, match="the hub is gone"):
        run(file_with(), publish_uri="./releases", only_models=("second",))
    assert len(published()) == 3


def test_models_are_chosen_in_the_order_of_the_file():
    chosen, others = select_models(file_with(), ["third", "first"])
    assert ([model.name for model in chosen.models], [model.name for model in others]) == (
        ["first", "third"],
        ["second"],
    )
    assert select_models(file_with(), []) == (file_with(), ())


@pytest.mark.parametrize(
    ("name", "hint"), [("secnd", "did you mean 'second'?"), ("zzz", "its models are first, second, third")]
)
def test_an_unknown_model_is_refused(name: str, hint: str):
    with pytest.raises(SpecError, match=f"the file has no model '{name}'") as caught:
        select_models(file_with(), [name])
    assert caught.value.hint == hint
