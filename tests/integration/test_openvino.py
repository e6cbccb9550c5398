"""Entries of the OpenVINO backend on a real Triton: any batch and length, a static batch, BF16, text, refusals."""

import numpy as np
import onnx
import openvino
import pytest
from onnx import helper, numpy_helper
from prep_triton.cli.app import app
from prep_triton.precision.int8.stage import quantize_for_openvino
from prep_triton.precision.measure.executed import read_execution
from prep_triton.spec import CalibrationSpec, EntrySpec, QuantizationSpec, ServingSpec, TextSpec, VerifySpec
from prep_triton.triton.config import parse_config, render_config
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.entries.write import assemble_entry
from prep_triton.triton.server.client import RefusedRequestError, TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.repository import verify_entries
from prep_triton.workspace import Workspace
from typer.testing import CliRunner

from scripts.benchmarks.small_artifacts import make_model
from tests.fakes.documents import parse_document
from tests.fakes.onnx_bert import VOCAB, make_bert, store_model

pytestmark = pytest.mark.integration

IDS = ("input_ids", "attention_mask", "token_type_ids")
SERVED = {
    "any": EntrySpec(runtime="openvino", serving=ServingSpec(threads=1)),
    "warm": EntrySpec(runtime="openvino", serving=ServingSpec(threads=1, warmup=True, length_buckets=(8, 16))),
    "bf16": EntrySpec(runtime="openvino", precision="bf16", serving=ServingSpec(threads=1, instance_count=2)),
}
REFUSED = {
    "kind": ("KIND_CPU", "KIND_MODEL", "supports only Kind CPU and AUTO"),
    "dims": ("dims: [-1, -1, 8]", "dims: [-1, -1, 9]", "'last_hidden_state' has the dims [-1, -1, 9]"),
    "hint": (
        '"INFERENCE_NUM_THREADS"',
        '"PERFORMANCE_HINT"',
        "expected the parameter 'PERFORMANCE_HINT' to be",
    ),
    "file": ('"model.onnx"', '"model.xml"', "unable to find '"),
}


def rows(count, width=8):
    ids = np.random.default_rng(count).integers(5, 10, (count, width))
    return {name: (ids if name == "input_ids" else np.full_like(ids, name == "attention_mask")) for name in IDS}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openvino")
    model = make_model(folder / "model")
    for name, spec in SERVED.items():
        entry = assemble_entry(model, [], spec.model_copy(update={"name": name}), folder / "repo").artifact
        if name == "any":
            assemble_text_entries(entry, TextSpec(), folder / "repo")
    return folder / "repo"


@pytest.fixture(scope="module")
def server(repository):
    """Serves the entries, those that a stand-in must refuse, and one that wants a full batch."""
    for name, (old, new, _) in REFUSED.items():
        copy_entry(repository, "any", name, lambda text, old=old, new=new: text.replace(old, new, 1))
    copy_entry(repository, "any", "full", make_static)
    copy_entry(repository, "any", "padded", lambda text: make_static(text.replace('"INFERENCE_NUM_THREADS"', _PADDING)))
    with run_triton(str(repository)) as running:
        yield running


_PADDING = '"ENABLE_BATCH_PADDING" value { string_value: "YES" } } parameters { key: "INFERENCE_NUM_THREADS"'


def make_static(text):
    """A configuration as others write it: with a max_batch_size, and dims without the batch."""
    return "max_batch_size: 4\n" + text.replace("dims: [-1, ", "dims: [")


def copy_entry(repository, source, name, edit):
    """An entry of prep's without a manifest, with another configuration."""
    text = (repository / source / "config.pbtxt").read_text()
    config = parse_config(edit(text), where=name)
    config.name = name
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(render_config(config))
    (repository / name / "1" / "model.onnx").write_bytes((repository / source / "1" / "model.onnx").read_bytes())


@pytest.fixture(scope="module")
def client(server):
    with TritonClient(server.grpc_url, timeout_s=20) as client:
        yield client


def test_entries_of_the_backend_pass_verify(server, repository):
    entries = [entry for entry in load_repository(repository) if entry.name.startswith(tuple(SERVED))]
    spec = VerifySpec(server_url=f"http://{server.grpc_url}", timeout_s=20)
    report = verify_entries(entries, str(repository), spec=spec)
    states = {entry.name: entry.status for entry in report.entries if entry.kind in ("model", "ensemble")}
    assert states == {"any": "loaded", "bf16": "loaded", "warm": "loaded", "any-text": "loaded"}
    assert {entry.full_batch for entry in report.entries if entry.name == "any"} == {8}


@pytest.mark.parametrize("count", [1, 3])
def test_the_rows_of_a_request_are_those_of_single_requests(client, count):
    request = rows(count)
    together, _ = client.infer("any", request, ["last_hidden_state"])
    for index in range(count):
        row = {name: array[index : index + 1] for name, array in request.items()}
        alone, _ = client.infer("any", row, ["last_hidden_state"])
        np.testing.assert_allclose(together["last_hidden_state"][index], alone["last_hidden_state"][0], atol=1e-5)


def test_a_static_batch_wants_all_of_its_rows_and_padding_is_no_way_out(client):
    with pytest.raises(RefusedRequestError, match=r"expected requests with batch size '4', got '3'\.\.\. this error"):
        client.infer("full", rows(3), ["last_hidden_state"])
    with pytest.raises(RefusedRequestError, match="unexpected total byte size 192 for input 'input_ids', expecting 0"):
        client.infer("padded", rows(3), ["last_hidden_state"])
    with pytest.raises(RefusedRequestError, match="batch-size must be <= 4"):
        client.infer("full", rows(5), ["last_hidden_state"])
    for name in ("full", "padded"):
        assert len(client.infer(name, rows(4), ["last_hidden_state"])[0]["last_hidden_state"]) == 4


@pytest.mark.parametrize("name", REFUSED)
def test_the_stand_in_refuses_what_the_backend_refuses(server, name):
    assert REFUSED[name][2] in server.failures[name]


def test_a_text_request_has_a_bound_of_rows(client):
    texts = np.array([[b"sea"]] * 65, np.object_)
    with pytest.raises(RefusedRequestError, match="65 texts, and the model takes 64 at once"):
        client.infer("any-text", {"TEXT": texts}, ["EMBEDDING"])
    assert client.infer("any-text", {"TEXT": texts[:64]}, ["EMBEDDING"])[0]["EMBEDDING"].shape == (64, 8)


def test_int8_for_openvino_is_judged_by_its_own_kernels(tmp_path):
    workspace, rng = Workspace(tmp_path / "build"), np.random.default_rng(0)
    mask = (np.arange(12) < rng.integers(3, 13, 100)[:, None]).astype(np.int64)
    np.savez(tmp_path / "rows.npz", input_ids=rng.integers(0, VOCAB, (100, 12)), attention_mask=mask)
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(tmp_path / "rows.npz"), samples=32))
    quantized = quantize_for_openvino(store_model(workspace, make_bert()), spec, workspace).artifact
    assert (quantized.name, quantized.quantization.runtime) == ("tiny-int8-openvino", "openvino")
    assert quantized.fidelity.runtime.startswith("openvino ")
    assert quantized.fidelity.mean_cosine > 0.999
    assert quantized.overflow is None
    execution = read_execution(quantized.path("model.onnx"), longest=16, precision="f32")
    # 8 products of 32 x 32 for each token in a layer's linear layers, and 2 of 16 x 32 in its attention.
    linear, attention = 8 * 32 * 32, 2 * 16 * 32
    assert (execution.weighed_at, execution.inference_precision) == ((1, 16), "f32")
    assert execution.linear_flops_share == {"int8": 1.0}
    assert execution.attention_flops_share == {"fp32": 1.0}
    assert execution.gemm_flops_share == pytest.approx(
        {"int8": linear / (linear + attention), "fp32": attention / (linear + attention)}
    )


def test_asymmetric_zero_points_which_tensorrt_refuses_are_executed_in_int8(tmp_path):
    path = tmp_path / "model.onnx"
    proto = insert_zero_points(make_bert(), 5)
    onnx.save(proto, path)
    assert read_execution(path, longest=16, precision="f32").linear_flops_share == {"int8": 1.0}


def insert_zero_points(proto, zero):
    """Explicit Q/DQ around each product with a weight, the activations with a zero point."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    constants, nodes = {"zero": np.int8(zero), "scale": np.float32(0.05)}, []
    for node in proto.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            name, weight = node.input[1], weights[node.input[1]]
            scales = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
            constants |= {f"{name}/int8": np.rint(weight / scales).astype(np.int8), f"{name}/scales": scales}
            small, back, weight_back = (f"{name}/{role}" for role in ("small", "back", "weight"))
            nodes += [
                helper.make_node("QuantizeLinear", [node.input[0], "scale", "zero"], [small]),
                helper.make_node("DequantizeLinear", [small, "scale", "zero"], [back]),
                helper.make_node("DequantizeLinear", [f"{name}/int8", f"{name}/scales"], [weight_back], axis=1),
            ]
            node.input[:] = [back, weight_back]
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items())
    return proto


def test_inspect_says_what_this_cpu_executes_of_an_entry(tmp_path, monkeypatch):
    model = store_model(Workspace(tmp_path / "build"), make_bert())
    entry = assemble_entry(model, [], EntrySpec(name="bert", runtime="openvino"), tmp_path / "repo").artifact
    document = inspect_entry(entry.folder)
    execution = document["execution"]
    assert document["problem"] is None
    assert execution["runtime"] == f"openvino {openvino.__version__.partition('-')[0]}"
    # An FP32 graph is computed in one type throughout: BF16, where the CPU has it.
    expected = {"bf16": "bf16", "f32": "fp32"}[execution["inference_precision"]]
    assert execution["gemm_flops_share"] == {expected: 1.0}
    assert f"100.0% {expected.upper()}, at 1x64" in CliRunner().invoke(app, ["inspect", str(entry.folder)]).output
    monkeypatch.setattr("prep_triton.extras.is_installed", lambda name: name != "openvino")
    without = inspect_entry(entry.folder)
    assert without["execution"] is None
    assert "needs openvino, which is not installed (pip install 'prep-triton[openvino]')" in without["problem"]


def inspect_entry(folder):
    return parse_document(CliRunner().invoke(app, ["inspect", str(folder), "--json"]).stdout, "inspect")
