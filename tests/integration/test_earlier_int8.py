"""INT8 entries for ONNX Runtime, which prep once made (``dynamic W8A8``): served and published as any other."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from prep_triton.artifact import QuantizationRecord
from prep_triton.cli.app import app
from prep_triton.manifest import record_files
from prep_triton.spec import EntrySpec, GateSpec
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.write import assemble_entry
from typer.testing import CliRunner

from scripts.benchmarks.small_artifacts import make_model, make_reference
from tests.fakes.documents import parse_document

pytestmark = pytest.mark.integration

NAME = "minilm-onnx-int8"


def quantize(path: Path) -> None:
    """Put a linear layer as that recipe wrote it behind the graph: quantised as it comes, one scale an output."""
    model = onnx.load(path)
    weight = np.random.default_rng(1).integers(-127, 128, (8, 8)).astype(np.int8)
    constants = {"weight": weight, "scales": np.full(8, 0.01, np.float32), "zero": np.zeros(8, np.int8)}
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    model.graph.node[-1].output[0] = "hidden"
    model.graph.node.extend(
        [
            helper.make_node("DynamicQuantizeLinear", ["hidden"], ["int8", "scale", "offset"]),
            helper.make_node(
                "MatMulIntegerToFloat",
                ["int8", "weight", "scale", "scales", "offset", "zero"],
                ["last_hidden_state"],
                domain="com.microsoft",
            ),
        ]
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)


def prep(*arguments: object, code: int = 0) -> Any:
    """Run a command in this process; return its document."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return parse_document(done.stdout, str(arguments[0]))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with such an entry; its request is one that is refused today."""
    folder = tmp_path_factory.mktemp("earlier")
    fp32 = make_model(folder / "model", name="minilm")
    quantize(folder / "model" / "model.onnx")
    make_reference(folder / "model", [""] * 5)
    model = fp32.model_copy(
        update={
            "name": "minilm-int8-cpu",
            "precision": "int8",
            "files": record_files(folder / "model"),
            "gate": GateSpec(min_cosine=0.99, min_row_cosine=0.97),
            "quantization": QuantizationRecord(scheme="dynamic W8A8", runtime="onnxruntime", linear_flops_share=1.0),
        }
    )
    spec = EntrySpec(runtime="onnxruntime").model_copy(update={"precision": "int8"})
    assemble_entry(model, [], spec, folder / "repository")
    return folder / "repository"


def test_it_is_read_linted_inspected_and_verified(repository: Path):
    (entry,) = load_repository(repository)
    assert (entry.name, entry.precision, entry.tolerance) == (NAME, "int8", 0.97)
    assert entry.onnx and entry.onnx.quantization and entry.onnx.quantization.scheme == "dynamic W8A8"
    linted = prep("lint", repository, "--target", "25.08")
    assert (linted["errors"], linted["findings"]) == (0, [])
    assert prep("inspect", repository / NAME)["precision"] == "int8"
    (verified,) = prep("verify", repository)["entries"]
    assert (verified["name"], verified["status"]) == (NAME, "loaded")


def test_a_release_of_it_is_fetched_deployed_and_rolled_back_to(repository: Path, gcs_bucket: str, tmp_path: Path):
    uri = f"gs://{gcs_bucket}/models"
    earlier = prep("publish", repository, uri)["release"]["id"]
    today = tmp_path / "today"
    shutil.copytree(repository, today)
    assemble_entry(make_model(tmp_path / "model", name="minilm"), [], EntrySpec(runtime="onnxruntime"), today)
    assert prep("publish", today, uri)["current"] != earlier
    assert prep("rollback", uri)["release"] == earlier
    prep("fetch", uri, tmp_path / "fetched")
    assert (tmp_path / "fetched" / NAME / "1" / "model.onnx").is_file()
    prep("deploy", uri, "-o", tmp_path / "gke")
    assert any(earlier in path.read_text() for path in (tmp_path / "gke").glob("*.yaml"))
