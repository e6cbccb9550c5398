"""Models on a store or in an MLflow folder: what is fetched, when it is fetched again, what is refused."""

import shutil
from pathlib import Path

import pytest
from prep_triton.artifact import SourceCopy
from prep_triton.errors import MissingPackageError, SourceError, SpecError
from prep_triton.publish.folder import FolderStore
from prep_triton.run import fetched
from prep_triton.run.export import check_origin
from prep_triton.run.fetched import fetch_model, is_elsewhere
from prep_triton.run.mlflow import parse_mlmodel
from prep_triton.run.names import name_of_model
from prep_triton.spec import ModelSpec
from prep_triton.workspace import NotMadeError, Workspace

from tests.fakes.bert_checkpoint import write_checkpoint

TRANSFORMERS = """
flavors:
  python_function: {loader_module: mlflow.transformers, data: model}
  transformers: {model_binary: model, components: [tokenizer], source_model_name: org/bert}
"""


def write_mlflow(folder: Path, *, mlmodel: str = TRANSFORMERS) -> Path:
    """Lay a checkpoint out as mlflow.transformers.save_model does: weights here, tokenizer there."""
    checkpoint = write_checkpoint(folder / "model")
    tokenizer = folder / "components" / "tokenizer"
    tokenizer.mkdir(parents=True)
    (checkpoint / "vocab.txt").rename(tokenizer / "vocab.txt")
    (folder / "MLmodel").write_text(mlmodel)
    (folder / "conda.yaml").write_text("name: env\n")
    return folder


def fetch(folder: Path, workspace: Workspace, **more):
    return fetch_model(ModelSpec(model=str(folder), **more), workspace)


def test_an_mlflow_model_is_its_weights_and_its_tokenizer_in_one_folder(tmp_path: Path) -> None:
    model = write_mlflow(tmp_path / "Sentiment")
    copy = fetch(model, Workspace(tmp_path / "build"))
    names = {path.name for path in copy.folder.iterdir()} - {"manifest.json"}
    assert names == {"config.json", "model.safetensors", "vocab.txt"}
    assert (copy.folder / "model.safetensors").read_bytes() == (model / "model" / "model.safetensors").read_bytes()
    assert copy.name == "sentiment" == name_of_model(ModelSpec(model=str(model)))
    assert copy.label.startswith("mlflow:Sentiment@")


def test_what_did_not_change_is_not_fetched_again_and_what_did_is_another_copy(tmp_path: Path, monkeypatch) -> None:
    model, workspace = write_mlflow(tmp_path / "m"), Workspace(tmp_path / "build")
    first = fetch(model, workspace)
    fetches: list[str] = []
    monkeypatch.setattr(FolderStore, "download_file", lambda self, name, path, **more: fetches.append(name))
    assert fetch(model, workspace) == first
    assert fetches == []
    monkeypatch.undo()
    (model / "components" / "tokenizer" / "vocab.txt").write_text("[PAD]\nother\n")
    second = fetch(model, workspace)
    assert second.folder != first.folder and second.label != first.label
    assert (second.folder / "vocab.txt").read_text() == "[PAD]\nother\n"
    assert workspace.current("source", "m", SourceCopy).folder == second.folder


def test_a_dry_run_fetches_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotMadeError):
        fetch(write_mlflow(tmp_path / "m"), Workspace(tmp_path / "build", read_only=True))
    assert not (tmp_path / "build").exists()


def test_only_what_an_export_reads_is_fetched_and_safetensors_win(tmp_path: Path) -> None:
    bucket = write_checkpoint(tmp_path / "bucket")
    (bucket / "optimizer.pt").write_bytes(b"x")
    (bucket / "pytorch_model.bin").write_bytes(b"x")
    (bucket / "1_Pooling").mkdir()
    (bucket / "1_Pooling" / "config.json").write_text("{}")
    (bucket / "checkpoint-500").mkdir()
    (bucket / "checkpoint-500" / "config.json").write_text("{}")
    listing = fetched._list_model(FolderStore(bucket), "gs://bucket/x")
    assert set(listing.objects) == {"config.json", "model.safetensors", "vocab.txt", "1_Pooling/config.json"}
    (bucket / "model.safetensors").unlink()
    assert "pytorch_model.bin" in fetched._list_model(FolderStore(bucket), "gs://bucket/x").objects


def test_an_object_whose_name_leads_elsewhere_is_not_written(tmp_path: Path, monkeypatch) -> None:
    model = write_mlflow(tmp_path / "m", mlmodel=TRANSFORMERS.replace("model_binary: model", "model_binary: ../../x"))
    with pytest.raises(SpecError, match=r"segment '\.\.', which is not allowed"):
        fetch(model, Workspace(tmp_path / "build"))
    objects = FolderStore(write_checkpoint(tmp_path / "bucket")).list_objects("")
    stray = [type(objects[0])(f"../../{o.name}", o.size, o.crc32c, o.generation, o.updated_at) for o in objects]
    monkeypatch.setattr(FolderStore, "list_objects", lambda self, prefix: [*objects, *stray])
    listing = fetched._list_model(FolderStore(tmp_path / "bucket"), "gs://bucket/x")
    assert not any(".." in name for name in listing.objects)


def test_an_object_that_changes_while_it_is_fetched_is_no_model(tmp_path: Path, monkeypatch) -> None:
    model = write_mlflow(tmp_path / "m")
    monkeypatch.setattr(FolderStore, "download_file", lambda self, name, path, **kw: path.write_bytes(b"half"))
    with pytest.raises(SourceError, match="changed while it was fetched"):
        fetch(model, Workspace(tmp_path / "build"))
    assert not list((tmp_path / "build").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("mlmodel", "sentence"),
    [
        ("flavors: {sklearn: {}}", "flavors sklearn; prep reads transformers"),
        ("[1", "has no flavors"),
        ("flavors: {transformers: {source_model_name: org/bert}}", "logged without its weights"),
    ],
)
def test_an_mlmodel_that_prep_cannot_read_says_why(mlmodel: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        parse_mlmodel(mlmodel.encode(), where="m")


def test_the_other_flavors_name_their_folder_or_file() -> None:
    sentence = b"flavors: {sentence_transformers: {}, python_function: {data: model.sentence_transformer}}"
    assert parse_mlmodel(sentence, where="m").folders == ("model.sentence_transformer",)
    assert parse_mlmodel(b"flavors: {onnx: {data: model.onnx}}", where="m").graph == "model.onnx"


def test_the_registry_needs_mlflow(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="needs mlflow"):
        fetch_model(ModelSpec(model="models:/sentiment/3"), Workspace(tmp_path))
    assert name_of_model(ModelSpec(model="models:/sentiment/3")) == "sentiment"


def test_a_place_is_checked_without_asking_anybody(tmp_path: Path) -> None:
    assert not list(check_origin(ModelSpec(model="gs://bucket/a/checkpoint")))
    (path, err), *_ = check_origin(ModelSpec(model="gs://B/a"))
    assert path == ("model",) and "not a bucket name" in err.message
    (path, err), *_ = check_origin(ModelSpec(model=str(tmp_path / "no.onnx")))
    assert "there is no file" in err.message
    (path, err), *_ = check_origin(ModelSpec(model="gs://bucket/m.onnx", checkpoint="no/such"))
    assert path == ("checkpoint",)
    assert is_elsewhere("gs://bucket/m") and not is_elsewhere("minilm") and not is_elsewhere(str(tmp_path))


def test_a_folder_without_config_is_no_checkpoint(tmp_path: Path) -> None:
    model = write_mlflow(tmp_path / "m")
    shutil.rmtree(model / "model")
    with pytest.raises(SourceError, match=r"no checkpoint at .* in 'model/' and 'components/tokenizer/'"):
        fetch(model, Workspace(tmp_path / "build"))
