"""A graph that one file cannot hold, along the whole chain: what is made of it answers as what is made of one file.

What "cannot hold" means is a parameter: here a few kilobytes, so that a tiny checkpoint is too large.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import load as load_onnx
from prep_triton.artifact import OnnxModel
from prep_triton.engine.build import build_engine
from prep_triton.errors import RepositoryError, WorkspaceError
from prep_triton.export.onnx import export_model
from prep_triton.layout import ONE_FILE_BYTES
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_to_int8
from prep_triton.publish.fetch import fetch_release
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store
from prep_triton.spec import (
    CalibrationSpec,
    EngineSpec,
    GateSpec,
    ModelSpec,
    OptimizationProfile,
    QuantizationSpec,
    ServingSpec,
    TextSpec,
    VerifySpec,
)
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.lint import lint_repository
from prep_triton.triton.verify.report import check_report
from prep_triton.triton.verify.repository import verify_entries
from prep_triton.workspace import Workspace
from transformers import AutoModel

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.bert_checkpoint import CONFIG, write_checkpoint
from tests.fakes.onnx_bert import make_feed, run_onnx

pytestmark = pytest.mark.integration

SMALL = 4096
FEED = make_feed(vocab=CONFIG["vocab_size"])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


def make_all(checkpoint: Path, folder: Path, one_file_bytes: int) -> dict[str, Any]:
    """Return every graph that is made of a checkpoint, by precision; INT8 searches for layers to keep out."""
    rows = checkpoint.with_suffix(".npz")
    if not rows.exists():
        ids = np.random.default_rng(0).integers(0, CONFIG["vocab_size"], (100, 12))
        np.savez(rows, input_ids=ids, attention_mask=np.ones_like(ids))
    workspace = Workspace(folder / "build")
    model = export_model(ModelSpec(model=str(checkpoint)), workspace, one_file_bytes=one_file_bytes).artifact
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(rows), samples=32))
    gate = GateSpec(min_cosine=0.999998)
    return {
        "fp32": model,
        "fp16": convert_to_fp16(model, workspace, one_file_bytes=one_file_bytes).artifact,
        "int8": quantize_to_int8(model, spec, workspace, gate=gate, one_file_bytes=one_file_bytes).artifact,
    }


@pytest.fixture(scope="module")
def two_files(checkpoint, tmp_path_factory):
    return make_all(checkpoint, tmp_path_factory.mktemp("two"), SMALL)


@pytest.fixture(scope="module")
def one_file(checkpoint, tmp_path_factory):
    return make_all(checkpoint, tmp_path_factory.mktemp("one"), ONE_FILE_BYTES)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_graphs_are_the_same_but_for_where_their_weights_lie(one_file, two_files, precision):
    one, two = one_file[precision], two_files[precision]
    assert two.files.keys() - one.files.keys() == {"model.onnx.data"}
    assert two.files["model.onnx.data"].size == two.path("model.onnx.data").stat().st_size
    assert two.key == one.key
    records = [model.model_dump(include={"parity", "fidelity", "quantization"}) for model in (one, two)]
    assert records[0] == records[1]
    graphs = [load_onnx(model.path("model.onnx")).graph for model in (one, two)]
    assert list(graphs[0].node) == list(graphs[1].node)
    weights = [{tensor.name: (tensor.data_type, tensor.raw_data) for tensor in graph.initializer} for graph in graphs]
    assert weights[0] == weights[1]
    answers = [run_onnx(model.path("model.onnx"), FEED) for model in (one, two)]
    np.testing.assert_array_equal(answers[0], answers[1])


def test_the_layers_that_are_kept_out_were_searched_for(two_files):
    assert two_files["int8"].quantization.kept_out


def test_it_answers_as_transformers(checkpoint, two_files):
    library = AutoModel.from_pretrained(checkpoint).eval()
    feed = {name: array[:-1] for name, array in FEED.items()}  # the last row is wholly masked
    with torch.no_grad():
        expected = library(**{name: torch.from_numpy(array) for name, array in feed.items()}).last_hidden_state.numpy()
    (answer,) = run_onnx(two_files["fp32"].path("model.onnx"), feed)
    is_token = feed["attention_mask"].astype(bool)
    np.testing.assert_allclose(answer[is_token], expected[is_token], atol=1e-5)


def test_an_engine_is_built_from_weights_beside_a_graph(two_files, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder has wheels for Linux on x86-64 only")
    profile = OptimizationProfile(min=(1, 16), opt=(2, 16), max=(4, 32))
    spec = EngineSpec(precision="fp16", gpu="t4", builder="tensorrt-rtx", profiles=(profile,))
    engine = build_engine(two_files["fp16"], spec, Workspace(tmp_path)).artifact
    assert engine.proof.gemm_flops_share == {"fp16": 1.0}
    assert engine.proof.weights_bytes >= 2 * CONFIG["vocab_size"] * CONFIG["hidden_size"]


@pytest.fixture
def repository(two_files, tmp_path):
    folder = tmp_path / "repository"
    serving = ServingSpec(threads=1, max_batch_size=4, length_buckets=(16, 64))
    entry = assemble_entry(two_files["fp32"], [], serving, folder, name="bert").artifact
    assemble_text_entries(entry, TextSpec(), folder)
    return folder


def test_a_repository_and_a_release_hold_both_files_and_are_served(repository, tmp_path):
    assert sorted(path.name for path in (repository / "bert" / "1").iterdir()) == ["model.onnx", "model.onnx.data"]
    assert not lint_repository(repository).findings
    report = verify_entries(load_repository(repository), str(repository), VerifySpec())
    check_report(report)
    store = open_store(str(tmp_path / "store"))
    release = publish_release(repository, store).release
    fetched = tmp_path / "fetched"
    fetch_release(store, release.id, fetched)
    for name in ("model.onnx", "model.onnx.data"):
        assert (fetched / "bert" / "1" / name).read_bytes() == (repository / "bert" / "1" / name).read_bytes()
        assert f"bert/1/{name}" in release.files


def test_a_lost_file_is_named_by_every_command(repository, two_files, tmp_path):
    data = repository / "bert" / "1" / "model.onnx.data"
    data.unlink()
    findings = {finding.code: finding.message for finding in lint_repository(repository).findings}
    assert findings["model-damaged"].endswith("it keeps weights in 'model.onnx.data', which is not beside it")
    assert "1/model.onnx.data" in findings["manifest-file"]
    with pytest.raises(RepositoryError, match=r"1/model\.onnx\.data"):
        load_repository(repository)
    lost = two_files["fp32"].model_copy(update={"folder": tmp_path})
    with pytest.raises((RepositoryError, WorkspaceError), match=r"has no model\.onnx"):
        assemble_entry(lost, [], ServingSpec(), tmp_path / "other")


def test_damaged_weights_in_the_workspace_count_as_absent(two_files, tmp_path):
    model = two_files["fp32"]
    folder = tmp_path / "export" / model.name / model.key
    shutil.copytree(model.folder, folder)
    (folder.parent / "current").write_text(model.key)
    assert Workspace(tmp_path).current("export", model.name, OnnxModel) is not None
    content = bytearray((folder / "model.onnx.data").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx.data").write_bytes(content)
    workspace = Workspace(tmp_path)
    assert workspace.current("export", model.name, OnnxModel) is None
    assert "model.onnx.data is damaged" in workspace.find_damaged("export", model.name).message
