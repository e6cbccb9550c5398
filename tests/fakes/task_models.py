"""A tiny model of every task: one table lookup, so that its answers are plain, with a tokenizer of BERT's form."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from prep_triton.artifact import OnnxModel, TensorSpec
from prep_triton.manifest import record_files
from prep_triton.reference import save_reference
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from scripts.benchmarks.records import INPUT_NAMES, make_graph

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, *(f"w{index}" for index in range(40))]
TEXT = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11", "w12 w13", "w14 w15 w16 w17 w18", "w20 w21 w22 w23"]
LABELS = {
    "token-classification": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    "text-classification": ("bad", "fair", "good"),
}
WIDTHS = {
    "feature-extraction": 8,
    "fill-mask": len(WORDS),
    **{task: len(names) for task, names in LABELS.items()},
}


def make_task_model(folder: Path, task: str) -> OnnxModel:
    """Write the graph, the tokenizer and the reference of a task."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = _save_graph(folder / "model.onnx", task)
    tokenizer = make_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    _save_reference(folder, tokenizer, outputs)
    shape: tuple[int | str, ...] = ("batch",) if task == "text-classification" else ("batch", "sequence")
    width = () if task == "question-answering" else (WIDTHS[task],)
    return make_graph(
        f"tiny-{task}",
        key=f"key-{task}",
        folder=folder,
        files=record_files(folder),
        task=task,
        model_outputs=tuple(TensorSpec(name=name, dtype="FP32", shape=(*shape, *width)) for name in outputs),
        max_sequence_length=32,
        vocab_size=len(WORDS),
        labels=LABELS.get(task, ()),
    )


def make_tokenizer() -> Tokenizer:
    """Words, framed as BERT's: [CLS] a [SEP] b [SEP]."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))],
    )
    return tokenizer


def _save_graph(path: Path, task: str) -> list[str]:
    """Write the lookup of each output in a table of its own, masked, and return the outputs' names."""
    names = {"question-answering": ["start_logits", "end_logits"], "feature-extraction": ["last_hidden_state"]}
    outputs = names.get(task, ["logits"])
    nodes = [helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT)]
    tables = [numpy_helper.from_array(np.array([-1]), "last"), numpy_helper.from_array(np.array([1]), "first")]
    infos = []
    width = [] if task == "question-answering" else [WIDTHS[task]]
    nodes.append(helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]) if width else _same("mask", "wide"))
    # A graph that reads every input: the type moves the id by nothing.
    nodes.append(helper.make_node("Mul", ["token_type_ids", "zero"], ["nothing"]))
    nodes.append(helper.make_node("Add", ["input_ids", "nothing"], ["row"]))
    tables.append(numpy_helper.from_array(np.array(0), "zero"))
    for seed, name in enumerate(outputs):
        drawn = np.random.default_rng(seed).normal(0, 4, (len(WORDS), *width)).astype(np.float32)
        tables.append(numpy_helper.from_array(drawn, f"table-{name}"))
        nodes.append(helper.make_node("Gather", [f"table-{name}", "row"], [f"found-{name}"]))
        nodes.append(helper.make_node("Mul", [f"found-{name}", "wide"], [f"masked-{name}"]))
        if task == "text-classification":
            nodes.append(helper.make_node("ReduceSum", [f"masked-{name}", "first"], [name], keepdims=0))
            shape = ["batch", *width]
        else:
            nodes.append(_same(f"masked-{name}", name))
            shape = ["batch", "sequence", *width]
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in INPUT_NAMES]
    graph = helper.make_graph(nodes, "tiny", inputs, infos, tables)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return outputs


def _same(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [target])


def _save_reference(folder: Path, tokenizer: Tokenizer, outputs: list[str]) -> None:
    encoded = [tokenizer.encode(text).ids for text in TEXT]
    ids = np.zeros((len(TEXT), max(map(len, encoded))), dtype=np.int64)
    for row, found in enumerate(encoded):
        ids[row, : len(found)] = found
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    answers = session.run(outputs, inputs)
    save_reference(folder / "reference.npz", inputs, dict(zip(outputs, answers, strict=True)), TEXT)
