"""`prep compare`: two forms of one model, against what ONNX Runtime and numpy say of them."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from prep_triton.artifact import OnnxModel
from prep_triton.cli.app import app
from prep_triton.errors import SpecError
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_for_openvino
from prep_triton.precision.measure.products import count_products
from prep_triton.run.compare import CompareSpec, compare_artifacts
from prep_triton.spec import CalibrationSpec, QuantizationSpec
from prep_triton.workspace import Workspace
from typer.testing import CliRunner

from tests.fakes.documents import parse_document
from tests.fakes.onnx_bert import VOCAB, make_bert, store_model

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def model(workspace: Workspace) -> OnnxModel:
    model = store_model(workspace, make_bert(layers=2))
    convert_to_fp16(model, workspace)
    rows = np.random.default_rng(0).integers(0, VOCAB, (100, 12))
    np.savez(workspace.root / "rows.npz", input_ids=rows, attention_mask=np.ones_like(rows))
    calibration = CalibrationSpec(path=str(workspace.root / "rows.npz"), samples=32)
    quantize_for_openvino(model, QuantizationSpec(calibration=calibration), workspace)
    return model


def answer_row(path: Path, ids: np.ndarray) -> np.ndarray:
    """Infer one unpadded row with ONNX Runtime alone; the mean over tokens of a hidden state."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {
        "input_ids": ids[None],
        "attention_mask": np.ones_like(ids)[None],
        "token_type_ids": np.zeros_like(ids)[None],
    }
    (answer,) = session.run(None, {entry.name: feeds[entry.name] for entry in session.get_inputs()})
    return answer[0]


def test_a_graph_and_its_fp16_form(workspace: Workspace, model: OnnxModel) -> None:
    half = workspace.current("precision", f"{model.name}-fp16", OnnxModel)
    compared = compare_artifacts(CompareSpec(model.name, half.name, runs=3), workspace)
    first, second = compared.first, compared.second
    assert (first.precision, second.precision) == ("fp32", "fp16")
    assert first.flops_share == {"fp32": 1.0} and second.flops_share == {"fp16": 1.0}
    assert second.size_bytes == half.path("model.onnx").stat().st_size < first.size_bytes
    with np.load(model.path("reference.npz")) as arrays:
        ids, mask = arrays["input/input_ids"], arrays["input/attention_mask"].astype(bool)
    cosines = []
    for row, kept in zip(ids, mask, strict=True):
        left, right = (answer_row(each.path("model.onnx"), row[kept]).astype(np.float64) for each in (model, half))
        left, right = (
            (side.mean(axis=0) if model.task == "feature-extraction" else side).ravel() for side in (left, right)
        )
        cosines.append(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    assert compared.rows == len(cosines)
    assert compared.mean_cosine == pytest.approx(np.mean(cosines), abs=1e-6)
    assert compared.min_cosine == pytest.approx(np.min(cosines), abs=1e-6)
    assert first.latency.runs == second.latency.runs == 3
    assert first.latency.p10_ms <= first.latency.median_ms <= first.latency.p90_ms


def test_the_cpus_int8_and_a_bare_file(workspace: Workspace, model: OnnxModel, tmp_path: Path) -> None:
    (int8,) = [each for each in workspace.list_current("precision", OnnxModel) if each.precision == "int8"]
    bare = Path(shutil.copy(model.path("model.onnx"), tmp_path / "bare.onnx"))
    compared = compare_artifacts(CompareSpec(str(bare), int8.name, runs=0), workspace)
    assert compared.first.what == "file" and compared.first.precision == "fp32"
    assert compared.second.flops_share["int8"] > 0.9
    assert compared.first.min_cosine == pytest.approx(1.0, abs=1e-6)
    assert 0.9 < (compared.second.min_cosine or 0) < 0.999999
    assert compared.first.latency is None
    with pytest.raises(SpecError, match="has reference rows to answer"):
        compare_artifacts(CompareSpec(str(bare), str(bare), runs=0), workspace)


def test_the_command_prints_a_table_or_a_document(workspace: Workspace, model: OnnxModel) -> None:
    flags = [model.name, f"{model.name}-fp16", "--workspace", str(workspace.root), "--runs", "2"]
    answer = CliRunner().invoke(app, ["compare", *flags])
    assert answer.exit_code == 0, answer.output
    assert "to each other: mean cosine" in answer.output and "100.0% FP16" in answer.output
    document = parse_document(CliRunner().invoke(app, ["compare", *flags, "--json"]).stdout, "compare")
    assert document["second"]["latency"]["runs"] == 2
    wrong = CliRunner().invoke(app, ["compare", model.name, "nothing", "--workspace", str(workspace.root)])
    assert wrong.exit_code == 2


def test_an_entry_and_a_release_are_inspected_and_compared(
    workspace: Workspace, model: OnnxModel, tmp_path: Path
) -> None:
    root, repository, store = str(workspace.root), str(tmp_path / "repository"), str(tmp_path / "store")
    for command in (
        ["assemble", model.name, "-o", repository, "--workspace", root],
        ["publish", repository, store],
    ):
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0, answer.output
    (entry,) = [folder.parent for folder in Path(repository).glob("*/manifest.json")]
    inspected = parse_document(CliRunner().invoke(app, ["inspect", str(entry), "--json"]).stdout, "inspect")
    assert (inspected["name"], inspected["runtime"], inspected["precision"]) == (entry.name, "onnxruntime", "fp32")
    assert CliRunner().invoke(app, ["inspect", str(entry / "1" / "model.onnx")]).exit_code == 0
    compared = compare_artifacts(CompareSpec(str(entry), f"{model.name}-fp16", runs=0), workspace)
    assert compared.first.what == "entry" and compared.first.min_cosine == pytest.approx(1.0, abs=1e-6)
    release = parse_document(CliRunner().invoke(app, ["inspect", f"file://{store}", "--json"]).stdout, "inspect")
    assert [each["name"] for each in release["entries"]] == [entry.name]
    table = CliRunner().invoke(app, ["inspect", release["uri"]])
    assert table.exit_code == 0 and entry.name in table.output


def test_products_are_weighed_by_the_type_of_their_weights(tmp_path: Path) -> None:
    def tensor(name: str, kind: int, shape: tuple[int, int]) -> onnx.TensorProto:
        return onnx.helper.make_tensor(name, kind, shape, [1] * (shape[0] * shape[1]))

    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["y"]),
        onnx.helper.make_node("DequantizeLinear", ["b", "scale"], ["b_float"]),
        onnx.helper.make_node("MatMul", ["y", "b_float"], ["z"]),
        onnx.helper.make_node("MatMul", ["z", "z"], ["w"]),
    ]
    weights = [tensor("a", TensorProto.FLOAT, (4, 4)), tensor("b", TensorProto.INT8, (4, 12))]
    scale = onnx.helper.make_tensor("scale", TensorProto.FLOAT, (), [1.0])
    inputs = [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 4))]
    outputs = [onnx.helper.make_tensor_value_info("w", TensorProto.FLOAT, None)]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, [*weights, scale])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    products = count_products(tmp_path / "m.onnx")
    assert products.share == {"fp32": 0.25, "int8": 0.75}
    assert products.layers == {"fp32": 1, "int8": 1}
