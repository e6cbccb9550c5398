"""Accuracy before and after conversion: tiny models with every head, exported, converted, broken, and scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrecisionError
from prep_triton.export.onnx import export_model
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.measure.accuracy import check_accuracy, measure_accuracy
from prep_triton.spec import ModelSpec
from prep_triton.tasks import TASKS, Task
from prep_triton.workspace import Workspace

pytestmark = pytest.mark.integration

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "##s", *(f"w{index}" for index in range(60))]
LABELS = ("red", "green", "blue")
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 48,
    "initializer_range": 0.4,  # answers far enough apart that FP16 changes none
}


class Exported:
    """A tiny model of one task: the torch module, its export, and its conversion to FP16."""

    def __init__(self, task: Task, folder: Path) -> None:
        import torch
        import transformers

        torch.manual_seed(3)
        labels = {"id2label": dict(enumerate(LABELS))} if TASKS[task].has_labels else {}
        config = transformers.BertConfig(**SIZES, **labels)
        self.module = getattr(transformers, f"Bert{TASKS[task].class_suffixes[0]}")(config).eval()
        self.module.save_pretrained(folder / "tiny")
        (folder / "tiny" / "vocab.txt").write_text("\n".join(WORDS))
        workspace = Workspace(folder / "build")
        self.model: OnnxModel = export_model(ModelSpec(model=str(folder / "tiny"), task=task), workspace).artifact
        self.fp32 = self.model.path("model.onnx")
        self.fp16 = convert_to_fp16(self.model, workspace).artifact.path("model.onnx")

    def answer(self, ids: list[int], types: list[int] | None = None) -> Any:
        """Answer one row with PyTorch."""
        import torch

        with torch.inference_mode():
            return self.module(torch.tensor([ids]), token_type_ids=torch.tensor([types or [0] * len(ids)]))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    exports: dict[str, Exported] = {}

    def get(task: Task) -> Exported:
        if task not in exports:
            exports[task] = Exported(task, tmp_path_factory.mktemp(task))
        return exports[task]

    return get


@pytest.fixture
def write_rows(tmp_path):
    def write(rows: list[dict]) -> Path:
        path = tmp_path / "eval.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        return path

    return write


def word_ids(count: int, *, seed: int) -> list[list[int]]:
    """Rows of whole words, 1 to 30 long."""
    generator = np.random.default_rng(seed)
    return [generator.integers(7, len(WORDS), generator.integers(1, 31)).tolist() for _ in range(count)]


def join(ids: list[int]) -> str:
    return " ".join(WORDS[token] for token in ids)


def rows_that_pytorch_gets_right(graphs: Exported, count: int = 25) -> list[dict]:
    """Rows of the model's task, labelled with what PyTorch answers to each row alone."""
    rows: list[dict] = []
    for ids in word_ids(count, seed=1):
        whole = [2, *ids, 3]
        if graphs.model.task == "text-classification":
            rows.append({"text": join(ids), "label": LABELS[graphs.answer(whole).logits.argmax()]})
        elif graphs.model.task == "token-classification":
            labels = graphs.answer(whole).logits[0, 1:-1].argmax(-1).tolist()
            rows.append({"tokens": [WORDS[token] for token in ids], "labels": [LABELS[label] for label in labels]})
        elif graphs.model.task == "fill-mask":
            whole[1] = 4
            rows.append({"text": join(whole[1:-1]), "label": WORDS[graphs.answer(whole).logits[0, 1].argmax()]})
        else:
            rows.append({"question": "w1 w2", "context": join(ids), "answers": [best_span(graphs, ids)]})
    return rows


def best_span(graphs: Exported, ids: list[int]) -> str:
    """Find the best span of a context by trying all."""
    answer = graphs.answer([2, 8, 9, 3, *ids, 3], [0] * 4 + [1] * (len(ids) + 1))
    start, end = answer.start_logits[0, 4:-1], answer.end_logits[0, 4:-1]
    spans = [(start[i] + end[j], i, j) for i in range(len(ids)) for j in range(i, min(len(ids), i + 30))]
    _, first, last = max(spans)
    return join(ids[first : last + 1])


def make_broken(source: Path, target: Path, *, value: float | None = None) -> Path:
    """Write a graph whose layer 0 feed-forward weights are shuffled, or all of one value."""
    graph = onnx.load(source)
    for tensor in graph.graph.initializer:
        if len(tensor.dims) == 2 and "intermediate.dense" in tensor.name:
            weight = numpy_helper.to_array(tensor).copy()
            broken = np.random.default_rng(0).permuted(weight) if value is None else np.full_like(weight, value)
            tensor.CopyFrom(numpy_helper.from_array(broken, tensor.name))
    onnx.save(graph, target)
    return target


METRICS = {
    "text-classification": "accuracy",
    "token-classification": "token accuracy",
    "fill-mask": "top-1 accuracy",
    "question-answering": "F1",
}


@pytest.mark.parametrize("task", METRICS)
def test_fp16_keeps_what_pytorch_answers_and_a_broken_graph_fails_its_gate(exported, write_rows, tmp_path, task):
    graphs = exported(task)
    path = write_rows(rows_that_pytorch_gets_right(graphs))
    kept = measure_accuracy(graphs.fp32, graphs.fp16, graphs.model, path)
    assert (kept.metric, kept.rows, kept.reference) == (METRICS[task], 25, 100)
    assert kept.converted >= 95
    check_accuracy(kept, 5.0)

    broken = measure_accuracy(graphs.fp32, make_broken(graphs.fp32, tmp_path / "broken.onnx"), graphs.model, path)
    assert broken.reference == 100
    assert broken.converted < 90
    with pytest.raises(PrecisionError, match=rf"{METRICS[task]} is {broken.converted:.2f} where FP32 has 100\.00"):
        check_accuracy(broken, 5.0)


def test_exact_match_is_recorded_beside_f1(exported, write_rows):
    graphs = exported("question-answering")
    record = measure_accuracy(graphs.fp32, graphs.fp32, graphs.model, write_rows(rows_that_pytorch_gets_right(graphs)))
    assert record.others == {"exact match": (100.0, 100.0)}


def test_answer_beyond_the_models_length_is_found_in_a_later_window(exported, write_rows):
    graphs = exported("question-answering")
    from prep_triton.precision.measure.answer_spans import split_windows
    from tokenizers import Tokenizer

    context = join([token for row in word_ids(12, seed=5) for token in row])
    windows = split_windows(Tokenizer.from_file(str(graphs.model.path("tokenizer.json"))), "w1 w2", context, 48)
    assert len(windows) > 3
    best = (-np.inf, "")
    for window in windows:
        answer = graphs.answer(list(window.ids), list(window.type_ids))
        ends = answer.end_logits[0].numpy()
        for i, start in enumerate(answer.start_logits[0].numpy()):
            for j in range(i, min(i + 30, len(ends))):
                first, last = window.offsets[i], window.offsets[j]
                if first and last and start + ends[j] > best[0]:
                    best = (start + ends[j], context[first[0] : last[1]])
    path = write_rows([{"question": "w1 w2", "context": context, "answers": {"text": [best[1]], "answer_start": [0]}}])
    assert measure_accuracy(graphs.fp32, graphs.fp16, graphs.model, path).reference == 100


def test_share_of_right_labels_is_counted(exported, write_rows):
    graphs = exported("text-classification")
    rows = rows_that_pytorch_gets_right(graphs, 20)
    for row in rows[:5]:
        row["label"] = (LABELS.index(row["label"]) + 1) % 3
    assert measure_accuracy(graphs.fp32, graphs.fp32, graphs.model, write_rows(rows)).reference == 75


def test_pairs_and_texts_longer_than_the_model_are_answered(exported, write_rows):
    graphs = exported("text-classification")
    ids = word_ids(2, seed=9)
    types = [0] * (len(ids[0]) + 2) + [1] * (len(ids[1]) + 1)
    assert len(types) <= 48
    pair = {"text": join(ids[0]), "text_pair": join(ids[1])}
    label = int(graphs.answer([2, *ids[0], 3, *ids[1], 3], types).logits.argmax())
    cut = int(graphs.answer([2, *[9] * 46, 3]).logits.argmax())
    path = write_rows([{**pair, "label": label}, {"text": "w2 " * 200, "label": cut}])
    assert measure_accuracy(graphs.fp32, graphs.fp16, graphs.model, path).reference == 100


def test_progress_runs_from_nothing_to_all(exported, write_rows):
    graphs = exported("text-classification")
    message: list[tuple[str, float | None]] = []
    path = write_rows(rows_that_pytorch_gets_right(graphs))
    measure_accuracy(graphs.fp32, graphs.fp16, graphs.model, path, progress=lambda *step: message.append(step))
    assert list(dict.fromkeys(phase for phase, _ in message)) == [
        "tokenizing the evaluation rows", "scoring fp32", "scoring the conversion",
    ]  # fmt: skip
    fractions = [fraction for _, fraction in message if fraction is not None]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1], len(message)) == (0, 1, 5)  # 25 rows are two batches of each graph


def test_graph_that_answers_nan_is_refused_not_scored(exported, write_rows, tmp_path):
    graphs = exported("text-classification")
    path = write_rows(rows_that_pytorch_gets_right(graphs, 3))
    broken = make_broken(graphs.fp32, tmp_path / "nan.onnx", value=np.nan)
    with pytest.raises(PrecisionError, match=r"nan\.onnx answers NaN or infinity in logits") as caught:
        measure_accuracy(graphs.fp32, broken, graphs.model, path)
    assert "overflows" in caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"not a graph"])
def test_file_that_is_no_graph_is_refused(exported, write_rows, tmp_path, content):
    graphs = exported("text-classification")
    if content is not None:
        (tmp_path / "c.onnx").write_bytes(content)
    with pytest.raises(PrecisionError, match=r"onnxruntime \S+ refuses \S+c\.onnx") as caught:
        measure_accuracy(graphs.fp32, tmp_path / "c.onnx", graphs.model, write_rows([{"text": "w1", "label": 0}]))
    assert "prep export" in caught.value.hint


def test_graph_of_another_task_is_refused(exported, write_rows):
    graphs, other = exported("text-classification"), exported("question-answering")
    with pytest.raises(PrecisionError, match=r"cannot answer 1 rows of 3 tokens: .*logits"):
        measure_accuracy(graphs.fp32, other.fp32, graphs.model, write_rows([{"text": "w1", "label": 0}]))
