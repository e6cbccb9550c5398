"""README: exit code 2 when the request is wrong, 1 when something failed."""

from pathlib import Path

import pytest
from prep_triton.cli.app import app
from typer.testing import CliRunner

from tests.fakes.exported import store_export

ID = "20260131T235959Z-0123456789ab"

# A command line, and what its error says.
WRONG = {
    "export bert-bse": "unknown model 'bert-bse'",
    "export ./nowhere": "there is no folder nowhere",
    "export c.yaml": "c.yaml is a file",
    "export a/b/c": "there is no folder 'a/b/c'",
    "export bert-base --weights random --tokenizer ./nowhere": "there is no folder ./nowhere to take a tokenizer from",
    "export bert-base --task guess": "'guess' is not a known value",
    "export bert-base --name A!": "'A!' is not a name",
    "build-engine other": "no model 'other' was exported",
    "build-engine tiny --gpu t5": "unknown GPU 't5'",
    "build-engine tiny --gpu h100 --builder tensorrt-rtx": "does not build for h100",
    "build-engine tiny --gpu t4 --profile 1": "is not a min,opt,max triple",
    "build-engine tiny --gpu t4 --int8 --calibration-data nowhere.txt": "there is no calibration file nowhere.txt",
    "build-engine tiny --gpu t4 --eval-data no.jsonl --max-accuracy-drop 1": "there is no evaluation file no.jsonl",
    "build-engine tiny --gpu t4 --int8 --calibration-data c.yaml": "c.yaml",
    "inspect nowhere": "there is no 'nowhere' in",
    "assemble other": "no model 'other' was exported",
    "assemble tiny --serving nowhere.yaml": "there is no serving file nowhere.yaml",
    "assemble tiny --parameter a": "is not KEY=VALUE",
    "assemble --adopt nowhere": "nowhere has no config.pbtxt",
    "lint nowhere": "there is no model repository nowhere",
    "lint r --entry nothing": "has no entry 'nothing'",
    "lint r --target 19.01": "Triton 19.01 is not in the table",
    "lint r --target 25.08 --triton-releases nowhere.yaml": "cannot be read",
    "lint r --target 25.08 --gpu t5": "unknown GPU 't5'",
    "verify nowhere": "nowhere is not a folder",
    "verify empty": "holds no entry",
    "verify r --timeout-s 0": "0.0 is out of range",
    "client a --server :1": "is not the address of a server",
    "client": "there is no text to send",
    "publish": "there is no URI to publish to",
    "publish nowhere ./store": "there is no model repository nowhere",
    "publish empty ./store": "has no entry to publish",
    "publish r s3://bucket": "unknown scheme 's3'",
    "publish r gs://": "does not name a bucket",
    "publish --check empty": "there is no release under",
    "releases gs://x": "'x' in 'gs://x' is not a bucket name",
    "releases empty --show current": "there is no release under",
    f"releases empty --show {ID}": f"has no release {ID}",
    "releases empty --show what": "'what' is not the id of a release",
    f"rollback empty {ID}": f"has no release {ID}",
    "prune empty --keep 0": "0",
    "fetch empty copy": "there is no release under",
    "fetch empty": "there is no folder to copy empty to",
    "deploy ./empty": "is not on GCS",
    "deploy gs://bucket/models --target new": "'new' is not a tag",
    "deploy gs://bucket/models --target 99.01": "Triton 99.01 is not in the table of releases",
    "deploy gs://bucket/models --gpu a10": "GKE has no GPU 'a10'",
    "deploy gs://bucket/models --namespace kube-system": "'kube-system' belongs to the cluster",
    "run nowhere.yaml": "there is no config file nowhere.yaml",
    "run c.yaml --set a": "is not KEY=VALUE",
    "run c.yaml --model nothing": "nothing",
    "list --kind what": "what",
    "gc --older-than soon": "soon",
    "gc --to much": "much",
    "gc --model nothing": "nothing",
    "schema what": "what",
    "init --runtime what": "'what' is not a known value",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    store_export(folder / "build")
    (folder / "empty").mkdir()
    (folder / "c.yaml").write_text("models: [{model: minilm, variants: [{runtime: onnxruntime}]}]\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert CliRunner().invoke(app, ["assemble", "tiny", "-o", "r"]).exit_code == 0
    return folder


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_request_ends_with_2_a_sentence_and_a_hint(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 2, done.output
    assert WRONG[line] in done.stderr
    assert "hint: " in done.stderr


# What the request cannot help: a server that is not there, a stage that was not run, a place that cannot be written.
FAILED = {
    "verify r --server 127.0.0.1:9": "no Triton answers at 127.0.0.1:9",
    "client a --server 127.0.0.1:9": "no Triton answers at 127.0.0.1:9",
    "assemble tiny --runtime tensorrt": "no fp16 engine of tiny was built",
    "assemble tiny -o c.yaml": "c.yaml",
    "rollback empty": "was made current yet",
}


@pytest.mark.parametrize("line", FAILED)
def test_what_fails_ends_with_1(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 1, done.output
    assert FAILED[line] in done.stderr
