"""Gates of models that take two texts see the second one, and rerankers are gated on how they rank."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrecisionError, SpecError
from prep_triton.export.onnx import export_model
from prep_triton.export.reference import choose_rows, lay_out_rows, rows_from_sentences
from prep_triton.layout import GRAPH_NAME, REFERENCE_NAME, TOKENIZER_NAME
from prep_triton.precision.int8.stage import quantize_to_int8
from prep_triton.precision.measure.accuracy import check_accuracy, check_eval_data, measure_accuracy
from prep_triton.precision.measure.ranking import ndcg
from prep_triton.reference import load_reference, load_tokenizer, save_reference
from prep_triton.run.compare import CompareSpec, compare_artifacts
from prep_triton.spec import CalibrationSpec, GateSpec, ModelSpec, QuantizationSpec
from prep_triton.workspace import Workspace
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.fakes.bert_checkpoint import VOCABULARY
from tests.fakes.pair_models import write_nli, write_reranker

pytestmark = pytest.mark.integration

TYPES = "bert.embeddings.token_type_embeddings.weight"
GATE = GateSpec(min_cosine=0.5)  # of several labels the gate holds the choice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An NLI model whose tokens of type 1 have one value that no token of type 0 reaches."""
    folder = tmp_path_factory.mktemp("checkpoints") / "nli"
    write_nli(folder)
    weights = load_file(folder / "model.safetensors")
    weights[TYPES][1] = 30.0 * (torch.arange(weights[TYPES].shape[1]) == 3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_single_texts(model: OnnxModel, folder: Path) -> OnnxModel:
    """Copy a model, with a reference of the packaged sentences one by one."""
    shutil.copytree(model.folder, folder)
    session = onnxruntime.InferenceSession(model.path(GRAPH_NAME))
    tokenizer = load_tokenizer(model.path(TOKENIZER_NAME))
    rows = choose_rows(rows_from_sentences(tokenizer, model.max_sequence_length), width=len(model.labels))
    names = [spec.name for spec in model.model_inputs]
    case = lay_out_rows(rows, names, model.task, lambda inputs: {"logits": session.run(None, dict(inputs))[0]})
    save_reference(folder / REFERENCE_NAME, case.inputs, case.answers, rows.texts)
    return model.model_copy(update={"folder": folder})


def quantize(model: OnnxModel, workspace: Workspace, path: Path, **arrays) -> OnnxModel:
    """Quantise every layer, calibrated on seeded ids."""
    np.savez(path, input_ids=np.random.default_rng(0).integers(5, model.vocab_size, (68, 24)), **arrays)
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(path), samples=64), search=False)
    return quantize_to_int8(model, spec, workspace, gate=GATE).artifact


def test_a_gate_sees_the_damage_to_tokens_of_the_second_text(folder, tmp_path):
    workspace = Workspace(tmp_path / "build")
    model = export_model(ModelSpec(model=str(folder), task="text-pair-classification"), workspace).artifact
    rows = load_reference(model.path(REFERENCE_NAME), ["input_ids", "token_type_ids"], ["logits"])
    library = AutoTokenizer.from_pretrained(folder)
    for index, (text, pair) in enumerate(zip(rows.text, rows.pairs, strict=True)):
        expected = library(text, pair, truncation="longest_first", max_length=64)
        for name in ("input_ids", "token_type_ids"):
            assert rows.inputs[name][index, : rows.lengths[index]].tolist() == expected[name]

    with pytest.raises(PrecisionError, match="labels of the reference rows that are others than PyTorch's"):
        quantize(model, workspace, tmp_path / "single.npz")
    types = np.repeat([[0] * 12 + [1] * 12], 68, axis=0)
    assert quantize(model, workspace, tmp_path / "pairs.npz", token_type_ids=types).fidelity.changed_labels == 0

    # The same damage, and a reference of single texts: nothing is seen of it.
    blind = with_single_texts(model, tmp_path / "blind")
    fidelity = quantize(blind, workspace, tmp_path / "single.npz").fidelity
    assert fidelity.changed_labels == 0
    assert fidelity.min_cosine > 0.99


def test_a_reranker_is_scored_by_the_order_in_which_the_library_puts_documents(tmp_path):
    write_reranker(tmp_path / "reranker")
    workspace = Workspace(tmp_path / "build")
    model = export_model(ModelSpec(model=str(tmp_path / "reranker")), workspace).artifact
    draw = np.random.default_rng(1)
    texts = [" ".join(draw.choice(VOCABULARY[5:31], size=draw.integers(1, 40))) for _ in range(40)]
    queries = [
        {"query": texts[at], "documents": texts[8 + at :: 8], "relevance": draw.permutation(4).tolist()}
        for at in range(8)
    ]
    path = tmp_path / "ranked.jsonl"
    path.write_text("\n".join(map(json.dumps, queries)))

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reranker")
    library = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reranker").eval()
    points = []
    for row in queries:
        asked = [row["query"]] * len(row["documents"])
        batch = tokenizer(asked, row["documents"], truncation=True, padding=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            logits = library(**batch).logits[:, 0].tolist()
        points.append(100 * ndcg(logits, row["relevance"]))

    broken = write_negated(model.path(GRAPH_NAME), tmp_path / "broken.onnx")
    record = measure_accuracy(model.path(GRAPH_NAME), broken, model, path)
    assert (record.metric, record.rows) == ("nDCG@10", 8)
    assert record.reference == pytest.approx(np.mean(points), abs=0.01)
    assert abs(record.converted - record.reference) > 1
    with pytest.raises(PrecisionError, match=r"nDCG@10 is .* at most 0\.5 allowed"):
        check_accuracy(record.model_copy(update={"converted": record.reference - 1}), 0.5)

    compared = compare_artifacts(CompareSpec(model.name, str(broken), eval_data=path, runs=0), workspace)
    assert compared.metric == "nDCG@10 over 8 rows"
    assert (compared.first.accuracy, compared.second.accuracy) == (record.reference, record.converted)
    with path.open("a") as stream:
        stream.write('\n{"query": "a", "documents": ["b"], "relevance": [1]}')
    with pytest.raises(SpecError, match=r"ranked\.jsonl, line 9: the relevance 1 for each"):
        check_eval_data(model, path)


def write_negated(graph: Path, path: Path) -> Path:
    """Write a graph whose head answers what the other one answers, with the sign turned."""
    proto = onnx.load(graph)
    for weight in proto.graph.initializer:
        if weight.name.startswith("classifier."):
            weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(proto, path)
    return path
