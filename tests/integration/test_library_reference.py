"""A declaration that prep misreads is found by the library's own answers, which `prep verify` compares with.

What is served and what verify expects of it follow from one record: each checkpoint here has one whose record says
something else than its files. The answers on record are held against the libraries themselves.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from prep_triton.artifact import EmbeddingRecord, OnnxModel
from prep_triton.export.library_embeddings import find_embedder
from prep_triton.export.onnx import export_model
from prep_triton.layout import LIBRARY_NAME, MANIFEST_NAME, TOKENIZER_NAME
from prep_triton.library_answers import load_library_answers
from prep_triton.manifest import record_files
from prep_triton.spec import ModelSpec, ServingSpec, TextSpec, VerifySpec
from prep_triton.tasks import TaskChoice
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.verify.repository import verify_entries
from prep_triton.workspace import Workspace
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    pipeline,
)

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.bert_checkpoint import CONFIG, VOCABULARY

pytestmark = pytest.mark.integration

WIDTH = 32
SIZES = {
    "vocab_size": CONFIG["vocab_size"],
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
NAMES = ("embedder", "classifier", "tagger")
TASKS: dict[str, TaskChoice] = {"embedder": "feature-extraction"}
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def write_checkpoint(folder: Path, kind: Any, **keys: Any) -> None:
    torch.manual_seed(5)
    kind(BertConfig(**SIZES, **keys)).save_pretrained(folder)
    words = [*VOCABULARY, *(f"[unused{n}]" for n in range(CONFIG["vocab_size"] - len(VOCABULARY)))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 48}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_embedder(folder: Path) -> None:
    """Write a sentence-transformers folder that declares nothing that is a default."""
    write_checkpoint(folder, BertModel)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": WIDTH, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20, "do_lower_case": True}))
    prompts = {"prompts": {"query": "to the: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    write_embedder(root / "embedder")
    keys = {"num_labels": 3, "problem_type": "multi_label_classification"}
    write_checkpoint(root / "classifier", BertForSequenceClassification, **keys)
    write_checkpoint(root / "tagger", BertForTokenClassification, id2label=dict(enumerate(TAGS)))
    return root


@pytest.fixture(scope="module")
def models(folders, tmp_path_factory):
    """The export of each checkpoint."""
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    # Of an embedder the post-processor's task: the graph of the other has no pooling that a record could misread.
    specs = {name: ModelSpec(model=str(folders / name), task=TASKS.get(name, "auto")) for name in NAMES}
    return {name: export_model(spec, workspace).artifact for name, spec in specs.items()}


EMBEDDING = EmbeddingRecord(
    pooling=("cls", "max"), is_normalized=False, prompt="to the: ", prompts={"query": "to the: "}
)
# How prep may misread a checkpoint: which, what is on record then, and what verify says.
MISREAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "pooling": (
        "embedder",
        {"embedding": EMBEDDING.model_copy(update={"pooling": ("cls", "mean")})},
        "is answered otherwise by sentence-transformers",
    ),
    "prompt": (
        "embedder",
        {"embedding": EMBEDDING.model_copy(update={"prompt": "", "prompts": {"query": ""}})},
        "than sentence-transformers",
    ),
    "length": ("embedder", {"declared_length": 40}, "than sentence-transformers"),
    "activation": ("classifier", {"activation": "softmax"}, "is answered otherwise by transformers"),
    "labels": ("tagger", {"labels": ("O", *TAGS[3:], *TAGS[1:3])}, "is answered otherwise by transformers"),
    "case": ("embedder", {}, "than sentence-transformers"),
}


def keep_capital_letters(model: OnnxModel, folder: Path) -> OnnxModel:
    """Return a copy of an export whose tokenizer.json does not lower its text."""
    shutil.copytree(model.folder, folder)
    content = json.loads((folder / TOKENIZER_NAME).read_text())
    assert content["normalizer"]["normalizers"].pop(0) == {"type": "Lowercase"}
    (folder / TOKENIZER_NAME).write_text(json.dumps(content))
    (folder / MANIFEST_NAME).unlink()
    return model.model_copy(update={"folder": folder, "files": record_files(folder)})


def test_what_prep_misreads_fails_by_the_librarys_answers(models, tmp_path):
    repository = tmp_path / "repository"
    for name, (checkpoint, record, _) in MISREAD.items():
        model = models[checkpoint].model_copy(update=record)
        if name == "case":
            model = keep_capital_letters(model, tmp_path / name)
        serving = ServingSpec(threads=1, max_batch_size=2, length_buckets=(8, model.usual_length))
        entry = assemble_entry(model, [], serving, repository, name=name).artifact
        assemble_text_entries(entry, TextSpec(), repository)
    report = verify_entries(load_repository(repository), str(repository), VerifySpec())
    reports = {entry.name: entry for entry in report.entries}
    for name, (*_, message) in MISREAD.items():
        checked = reports[f"{name}-text"]
        assert checked.status == "failed"
        assert checked.library_texts > 5
        # The library's texts are sent last: nothing that prep expects of itself was wrong before.
        assert message in checked.detail.partition("the first: ")[2]


def test_answers_of_a_classifier_are_the_pipelines(folders, models):
    answers = load_library_answers(models["classifier"].path(LIBRARY_NAME))
    library = pipeline("text-classification", model=str(folders / "classifier"), top_k=None)
    for row in answers.rows:
        (expected,) = library([row.text], truncation=True, max_length=48)
        by_label = {item["label"]: item["score"] for item in expected}
        assert dict(zip(answers.labels, row.scores, strict=True)) == pytest.approx(by_label, abs=1e-5)
    assert any(row.is_cut and len(row.ids) == 48 for row in answers.rows)


def test_entities_are_the_pipelines(folders, models):
    library = pipeline("token-classification", model=str(folders / "tagger"), aggregation_strategy="first")
    rows = load_library_answers(models["tagger"].path(LIBRARY_NAME)).rows
    compared = [row for row in rows if row.entities]
    for row in compared:
        assert [(entity.label, entity.start, entity.end) for entity in row.entities or ()] == [
            (item["entity_group"], item["start"], item["end"]) for item in library(row.text)
        ]
    assert len(compared) > 3


def test_embeddings_are_sentence_transformers_own_with_and_without_it(folders, models, monkeypatch):
    folder = folders / "embedder"
    library = SentenceTransformer(str(folder), device="cpu")
    answers = load_library_answers(models["embedder"].path(LIBRARY_NAME))
    assert answers.library.startswith("sentence-transformers ")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    body, own = BertModel.from_pretrained(folder, add_pooling_layer=False).eval(), AutoTokenizer.from_pretrained(folder)
    without = find_embedder(body, own, folder, 48, positions=64)
    assert without.name.startswith("torch ")
    for row in answers.rows:
        expected = library.encode(row.text).tolist()
        assert row.embedding == pytest.approx(expected, abs=1e-5)
        with torch.inference_mode():
            ids, is_cut, vector = without.embed(row.text)
        assert tuple(ids) == row.ids
        assert vector == pytest.approx(expected, abs=1e-5)
        assert row.is_cut or not is_cut
    assert max(len(row.ids) for row in answers.rows) == 20
