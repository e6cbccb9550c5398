"""The labelled rows of a gate, answered by a real Triton; the labels are those that transformers chooses."""

import json
from pathlib import Path

import pytest
from prep_triton.errors import VerifyError
from prep_triton.export.onnx import export_model
from prep_triton.run.conversion import put_in_precision
from prep_triton.run.verification import verify_repository
from prep_triton.spec import ConversionSpec, GateSpec, ModelSpec, ServingSpec, VerifySpec
from prep_triton.workspace import Workspace

from scripts.benchmarks.serving_configs import assemble_entry

pytestmark = pytest.mark.integration

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(60))]
LABELS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """A classifier's folder, and texts with the labels that transformers' own pipeline gives them."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("labelled") / "tiny"
    torch.manual_seed(3)
    config = transformers.BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=len(WORDS),
        max_position_embeddings=48,
        initializer_range=0.4,
        id2label=dict(enumerate(LABELS)),
    )
    transformers.BertForSequenceClassification(config).eval().save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 48}')
    pipeline = transformers.pipeline("text-classification", str(folder))
    texts = [" ".join(f"w{(7 * row + 3 * place) % 60}" for place in range(1 + row % 40)) for row in range(60)]
    return folder, [{"text": text, "label": pipeline(text)[0]["label"]} for text in texts]


def build(folder: Path, rows: list[dict], root: Path, max_drop: float = 2.0) -> Path:
    """Export, convert to FP16 behind a gate on labelled rows, and assemble; return the repository."""
    eval_data = root / "eval.jsonl"
    eval_data.write_text("\n".join(map(json.dumps, rows)))
    workspace = Workspace(root / "build")
    model = export_model(ModelSpec(model=str(folder)), workspace).artifact
    gate = GateSpec(eval_data=str(eval_data), max_accuracy_drop=max_drop)
    spec = ConversionSpec(runtime="onnxruntime", precision="fp16", gate=gate)
    graph = put_in_precision(model, spec, workspace).artifact
    assemble_entry(graph, [], ServingSpec(max_batch_size=8, length_buckets=(8, 16, 48), threads=1), root / "repo")
    return root / "repo"


def test_the_labelled_rows_of_a_gate_are_answered_by_the_server(labelled, tmp_path: Path):
    folder, rows = labelled
    repository = build(folder, rows, tmp_path)
    (entry,) = verify_repository(repository, VerifySpec()).entries
    assert entry.accuracy is not None
    assert (entry.accuracy.metric, entry.accuracy.rows) == ("accuracy", 60)
    assert entry.accuracy.reference == 100.0
    assert entry.accuracy.converted >= 98.0
    # A server that answers other rows than the gate's: half of the labels are wrong now.
    rows = [row if number % 2 else {**row, "label": "red"} for number, row in enumerate(rows)]
    (tmp_path / "eval.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(VerifyError, match=r"on the server: accuracy is .* where FP32 has 100\.00 .* at most 2 allowed"):
        verify_repository(repository, VerifySpec())
    (tmp_path / "eval.jsonl").unlink()
    (entry,) = verify_repository(repository, VerifySpec()).entries
    assert entry.accuracy is None
    assert "was not measured on the server" in entry.notes[-1]
