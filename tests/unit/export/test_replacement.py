"""Another model under a known name."""

from dataclasses import replace
from pathlib import Path

import pytest
from prep_triton.errors import SpecError
from prep_triton.export.replacement import check_replacement, describe_replacement
from prep_triton.export.source import Source
from prep_triton.workspace import Workspace

from tests.fakes.exported import store_export

TRAINED = Source(
    name="tiny", label="folder:tiny", architecture="bert", task="fill-mask", weights="hub", config={}, digest="a"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "build")


def test_the_first_model_of_a_name_replaces_nothing(workspace: Workspace):
    assert describe_replacement(TRAINED, "export", workspace) == ""


def test_the_same_model_trained_again_is_the_same(workspace: Workspace):
    model = store_export(workspace.root)
    source = replace(TRAINED, name=model.name, label=f"{model.source}@1234", task=model.task, weights=model.weights)
    assert describe_replacement(replace(source, digest="other"), "export", workspace) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"label": "hub:org/other@1", "words": "would be org/other ("},
        {"task": "question-answering", "words": "(question-answering)"},
        {"weights": "random", "label": "random:tiny", "words": "would be tiny with random weights"},
    ],
)
def test_another_source_task_or_random_weights_is_another_model(workspace: Workspace, change: dict):
    model = store_export(workspace.root)
    source = replace(TRAINED, name=model.name, label=model.source, task=model.task, weights=model.weights)
    words = change.pop("words")
    with pytest.raises(SpecError) as refused:
        check_replacement(replace(source, **change), "export", workspace)
    assert words in refused.value.message
    assert refused.value.message.startswith(f"{model.name} is now ")
    assert "--replace" in refused.value.hint
