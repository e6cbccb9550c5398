"""A graph that predicts tokens with its embedding holds it once, and what is made of it is as it was."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from prep_triton.artifact import OnnxModel
from prep_triton.engine.build import build_engine
from prep_triton.engine.machine import detect_machine
from prep_triton.export.onnx import export_model
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_for_openvino
from prep_triton.spec import CalibrationSpec, EngineSpec, ModelSpec, QuantizationSpec
from prep_triton.workspace import Workspace

pytestmark = pytest.mark.integration

VOCABULARY, HIDDEN = 512, 32


def export(folder: Path, *, tied: bool) -> tuple[Workspace, OnnxModel, object]:
    """A tiny masked language model, whose decoder is the embedding or a matrix of its own."""
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.BertConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=VOCABULARY,
        max_position_embeddings=32,
        tie_word_embeddings=tied,
        initializer_range=0.3,
    )
    module = transformers.BertForMaskedLM(config).eval()
    module.save_pretrained(folder / "tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(VOCABULARY - 5))]
    (folder / "tiny" / "vocab.txt").write_text("\n".join(words))
    workspace = Workspace(folder / "build")
    return workspace, export_model(ModelSpec(model=str(folder / "tiny"), name="tiny"), workspace).artifact, module


def matrices(path: Path) -> list[str]:
    """Return the names of the initializers that are as large as the embedding."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in onnx.load(path).graph.initializer}
    return sorted(name for name, size in sizes.items() if size == VOCABULARY * HIDDEN)


def answer(path: Path, ids: np.ndarray) -> np.ndarray:
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (logits,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    return np.asarray(logits)


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_embedding_is_written_once(tmp_path: Path, tied: bool):
    import torch

    _, model, module = export(tmp_path, tied=tied)
    assert len(matrices(model.path("model.onnx"))) == (1 if tied else 2)
    ids = np.random.default_rng(0).integers(5, VOCABULARY, (2, 9))
    with torch.inference_mode():
        expected = module(torch.tensor(ids)).logits.numpy()  # type: ignore[operator]
    assert np.abs(answer(model.path("model.onnx"), ids) - expected).max() < 1e-4


def test_what_is_made_of_a_tied_graph_is_whole(tmp_path: Path):
    workspace, model, _ = export(tmp_path, tied=True)
    ids = np.random.default_rng(0).integers(5, VOCABULARY, (2, 9))
    expected = answer(model.path("model.onnx"), ids)
    half = convert_to_fp16(model, workspace).artifact
    assert len(matrices(half.path("model.onnx"))) == 1
    assert np.abs(answer(half.path("model.onnx"), ids) - expected).max() < 0.05 * np.abs(expected).max()
    rows = np.random.default_rng(1).integers(5, VOCABULARY, (100, 9))
    np.savez(tmp_path / "rows.npz", input_ids=rows, attention_mask=np.ones_like(rows))
    calibration = CalibrationSpec(path=str(tmp_path / "rows.npz"), samples=32)
    quantized = quantize_for_openvino(model, QuantizationSpec(calibration=calibration), workspace).artifact
    assert quantized.quantization is not None
    assert quantized.quantization.linear_flops_share == 1.0  # the decoder too
    cosine = np.vdot(answer(quantized.path("model.onnx"), ids), expected) / np.vdot(expected, expected)
    assert cosine > 0.97
    spec = EngineSpec(precision="fp16", gpu="t4", builder="tensorrt-rtx", profiles=("1x4,2x8,2x16",))
    engine = build_engine(half, spec, workspace, detect_machine(workspace)).artifact
    assert engine.proof.gemm_flops_share["fp16"] == 1.0
