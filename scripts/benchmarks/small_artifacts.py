"""Artifacts of the rooms before `prep_triton.triton`, small but real: a graph for onnxruntime, with its answers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from prep_triton.artifact import Engine, OnnxModel
from prep_triton.manifest import record_files
from prep_triton.reference import save_reference
from prep_triton.spec import OptimizationProfile
from tokenizers import Tokenizer, models, pre_tokenizers

from scripts.benchmarks.records import INPUT_NAMES, make_graph, make_plan

WORDS = ["[PAD]", "[UNK]", *(f"w{index}" for index in range(62))]
TEXT = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11", "w12 w13", "w14 w15 w16 w17 w18"]


def make_model(folder: Path, *, name: str = "tiny", key: str = "k1", with_text: bool = True) -> OnnxModel:
    """Write an embedding that depends on every input, its reference and a word tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    save_graph(folder / "model.onnx")
    text = TEXT if with_text else [""] * len(TEXT)
    make_reference(folder, text)
    if with_text:
        make_tokenizer().save(str(folder / "tokenizer.json"))
    return make_graph(
        name,
        key=key,
        folder=folder,
        files=record_files(folder),
        max_sequence_length=32,
        vocab_size=len(WORDS),
        parameters=8 * len(WORDS),
    )


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=64)  # as exporters leave it; a verifier has to switch it off
    return tokenizer


def save_graph(path: Path) -> None:
    def inputs(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])

    table = np.random.default_rng(0).normal(size=(len(WORDS), 8)).astype(np.float32)
    nodes = [
        helper.make_node("Add", ["input_ids", "token_type_ids"], ["row"]),
        helper.make_node("Gather", ["table", "row"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["embedded", "wide_mask"], ["last_hidden_state"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [inputs(name) for name in INPUT_NAMES],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", 8])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([-1]), "last")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def make_reference(folder: Path, text: list[str]) -> None:
    lengths = [len(row.split()) for row in TEXT]
    ids = np.zeros((len(TEXT), max(lengths)), dtype=np.int64)
    for row, words in enumerate(TEXT):
        ids[row, : lengths[row]] = [WORDS.index(word) for word in words.split()]
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, inputs)
    save_reference(folder / "reference.npz", inputs, {"last_hidden_state": answers}, text)


def make_engine(
    folder: Path,
    *,
    gpu: str = "t4",
    compute_capability: str = "7.5",
    builder: str = "tensorrt",
    profile: str = "1x2,4x8,8x16",
) -> Engine:
    """Write an engine that only its manifest describes: nothing here can load one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.engine").write_bytes(f"plan for {gpu}".encode())
    return make_plan(
        gpu,
        name=f"tiny-{gpu}",
        folder=folder,
        files=record_files(folder),
        builder=builder,
        compute_capability=compute_capability,
        profiles=(OptimizationProfile.model_validate(profile),),
    )
