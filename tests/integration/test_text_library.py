"""Text entries on a real Triton answer as the library that the checkpoint was made for: transformers' own pipelines.

Each checkpoint declares something else than the default, so that a rule of prep's own would show.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from prep_triton.cli.app import app
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec, ServingSpec, TextSpec, VerifySpec
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.lint import lint_repository
from prep_triton.triton.server.client import RefusedRequestError, TritonClient
from prep_triton.triton.server.infer import Beside, find_text_model, infer_text
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.repository import verify_entries
from prep_triton.workspace import Workspace
from sentence_transformers import CrossEncoder
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    pipeline,
)
from typer.testing import CliRunner

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.bert_checkpoint import CONFIG, VOCABULARY
from tests.fakes.pair_models import NLI_LABELS, SIZES, write_nli, write_reranker
from tests.fakes.prep_command import Prep

pytestmark = pytest.mark.integration

SCORED = ("good", "bad: very", "so so")
TEXTS = ["the a of and to in is.", "Is it a 2?", "abc def, ghi jkl!", "to-do: a"]
MODELS: dict[str, tuple[Any, dict[str, Any], TextSpec]] = {
    "multi-label": (
        BertForSequenceClassification,
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        TextSpec(),
    ),
    "regression": (BertForSequenceClassification, {"num_labels": 1, "problem_type": "regression"}, TextSpec()),
    "holes": (BertForSequenceClassification, {"id2label": {0: "same", 1: "same", 2: "other"}}, TextSpec()),
    "scores": (
        BertForSequenceClassification,
        {"id2label": dict(enumerate(SCORED))},
        TextSpec(answers="scores"),
    ),
    "tags": (
        BertForTokenClassification,
        {"id2label": dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))},
        TextSpec(),
    ),
    "one-type": (
        BertForQuestionAnswering,
        {"type_vocab_size": 1},
        TextSpec(handle_impossible_answer=True, max_answer_tokens=5),
    ),
    "masks": (BertForMaskedLM, {}, TextSpec(top_k=3)),
}
# Two texts together: the task of the first is what `auto` finds, NLI has to be asked for.
PAIRS = {"reranker": "auto", "nli": "text-pair-classification"}
QUERY = "is it a 2?"
DOCUMENTS = ["the a of and to in is.", "abc def, ghi jkl!", "to-do: a", "the a of " * 40, ""]
LONG_QUERY = "is it of the a and " * 12


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint of each model, as save_pretrained() writes it with its tokenizer; `masks` calls its mask <mask>."""
    root = tmp_path_factory.mktemp("checkpoints")
    words = [*VOCABULARY, *(f"[unused{n}]" for n in range(CONFIG["vocab_size"] - len(VOCABULARY)))]
    for name, (kind, keys, _) in MODELS.items():
        torch.manual_seed(5)
        kind(BertConfig(**SIZES, **keys)).save_pretrained(root / name)
        own = [word.replace("[MASK]", "<mask>") for word in words] if name == "masks" else words
        (root / name / "vocab.txt").write_text("\n".join(own) + "\n")
        if name == "masks":
            (root / name / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "BertTokenizer", "mask_token": "<mask>"})
            )
    write_reranker(root / "reranker")
    write_nli(root / "nli", truncation="only_second")
    return root


@pytest.fixture(scope="module")
def repository(folders, tmp_path_factory):
    workspace, folder = Workspace(tmp_path_factory.mktemp("workspace")), tmp_path_factory.mktemp("repository")
    for name, (_, _, text) in MODELS.items():
        model = export_model(ModelSpec(model=str(folders / name)), workspace).artifact
        serving = ServingSpec(threads=1, max_batch_size=4, length_buckets=(16, 64))
        entry = assemble_entry(model, [], serving, folder, name=name).artifact
        assemble_text_entries(entry, text, folder)
    for name, task in PAIRS.items():
        model = export_model(ModelSpec(model=str(folders / name), task=task), workspace).artifact
        assert model.task == "text-pair-classification"
        serving = ServingSpec(threads=1, max_batch_size=8, length_buckets=(16, 32, 64))
        entry = assemble_entry(model, [], serving, folder, name=name).artifact
        assemble_text_entries(entry, TextSpec(), folder)
    scored = assemble_entry(model, [], serving, folder, name="nli-scores").artifact
    assemble_text_entries(scored, TextSpec(answers="scores"), folder)
    return folder


@pytest.fixture(scope="module")
def client(repository):
    with run_triton(str(repository)) as server:
        server.check_loaded()
        with TritonClient(server.grpc_url, timeout_s=60) as connection:
            yield connection


def infer(client: TritonClient, name: str, outputs: list[str], **texts: list[str]) -> dict[str, Any]:
    columns = {key: np.array([[text.encode()] for text in column], np.object_) for key, column in texts.items()}
    return client.infer(f"{name}-text", columns, outputs)[0]


@pytest.mark.parametrize("name", ["multi-label", "regression", "holes"])
def test_scores_are_the_classification_pipelines(client, folders, name):
    library = pipeline("text-classification", model=str(folders / name), top_k=None)
    answer = infer(client, name, ["LABEL", "SCORE"], TEXT=TEXTS)
    for row, expected in enumerate(library(TEXTS)):
        assert [label.decode() for label in answer["LABEL"][row]] == [item["label"] for item in expected]
        assert answer["SCORE"][row].tolist() == pytest.approx([item["score"] for item in expected], abs=1e-5)


def test_scores_in_the_labels_order_have_names_by_the_label_file(client, folders):
    """What Triton's classification extension, and Dynamo's /v1/classify, read: value, index and line of the file."""
    library = pipeline("text-classification", model=str(folders / "scores"), top_k=None)
    by_label = {item["label"]: item["score"] for item in library(TEXTS[:1])[0]}
    answer = infer(client, "scores", ["SCORES"], TEXT=TEXTS[:1])
    assert answer["SCORES"][0].tolist() == pytest.approx([by_label[name] for name in SCORED], abs=1e-5)
    text = {"TEXT": np.array([[TEXTS[0].encode()]], np.object_)}
    ranked, _ = client.rank_classes("scores-text", text, "SCORES", 2)
    expected = sorted(by_label.items(), key=lambda item: -item[1])[:2]
    assert [label for _, label, _ in ranked] == [label for label, _ in expected]
    assert [score for _, _, score in ranked] == pytest.approx([score for _, score in expected], abs=1e-5)
    labels = infer_text(client, find_text_model(client, "scores-text"), TEXTS[0]).answer["labels"]
    assert [item["label"] for item in labels] == sorted(by_label, key=lambda label: -by_label[label])


def test_entities_are_the_token_classification_pipelines(client, folders):
    library = pipeline("token-classification", model=str(folders / "tags"), aggregation_strategy="first")
    answer = infer(client, "tags", ["ENTITIES"], TEXT=TEXTS)
    entities = 0
    for row, expected in zip(answer["ENTITIES"].ravel(), library(TEXTS), strict=True):
        served = json.loads(row)
        entities += len(served)
        assert [(item["label"], item["start"], item["end"]) for item in served] == [
            (item["entity_group"], item["start"], item["end"]) for item in expected
        ]
        assert [item["score"] for item in served] == pytest.approx([item["score"] for item in expected], abs=1e-4)
    assert entities > 3


def test_tokens_are_the_fill_mask_pipelines(client, folders):
    library = pipeline("fill-mask", model=str(folders / "masks"), top_k=3)
    texts = ["the <mask> of a", "is it <mask>?"]
    answer = infer(client, "masks", ["TOKENS"], TEXT=texts)
    for row, expected in zip(answer["TOKENS"].ravel(), library(texts), strict=True):
        (served,) = json.loads(row)
        assert [item["token"] for item in served] == library.tokenizer.convert_ids_to_tokens(
            [item["token"] for item in expected]
        )
        assert [item["text"] for item in served] == [item["token_str"] for item in expected]
        assert [item["score"] for item in served] == pytest.approx([item["score"] for item in expected], abs=1e-5)


def test_a_span_has_the_largest_sum_of_the_models_own_logits_or_is_none(client, folders):
    """transformers 5 has no such pipeline: the rule is that of SQuAD 2.0's evaluation, on the model's own logits."""
    tokenizer = AutoTokenizer.from_pretrained(folders / "one-type")
    model = BertForQuestionAnswering.from_pretrained(folders / "one-type").eval()
    pairs = [("is it a 2?", text) for text in TEXTS[1:]] + [("the a", "abc def, ghi jkl!")]
    answer = infer(
        client, "one-type", ["ANSWER"], QUESTION=[pair[0] for pair in pairs], CONTEXT=[pair[1] for pair in pairs]
    )
    for (question, context), served in zip(pairs, answer["ANSWER"].ravel(), strict=True):
        batch = tokenizer(question, context, return_offsets_mapping=True, return_tensors="pt")
        places = [index for index, side in enumerate(batch.sequence_ids(0)) if side == 1]
        with torch.inference_mode():
            output = model(batch["input_ids"], attention_mask=batch["attention_mask"])
        start, end = output.start_logits[0], output.end_logits[0]
        spans = [(float(start[a] + end[b]), a, b) for a in places for b in places if a <= b < a + 5]
        best, first, last = max(spans)
        offsets = batch["offset_mapping"][0]
        is_none = float(start[0] + end[0]) > best
        assert served.decode() == ("" if is_none else context[offsets[first][0] : offsets[last][1]])


def score(client: TritonClient, name: str, first: list[str], second: list[str]) -> dict[str, Any]:
    return infer(client, name, ["LABEL", "SCORE"], TEXT=first, TEXT_PAIR=second)


def test_one_query_with_many_documents_is_scored_as_the_cross_encoder_does(client, folders):
    library = CrossEncoder(str(folders / "reranker"), device="cpu")
    for query in (QUERY, LONG_QUERY):
        expected = library.predict([(query, document) for document in DOCUMENTS])
        together = score(client, "reranker", [query], DOCUMENTS)
        apart = score(client, "reranker", [query] * len(DOCUMENTS), DOCUMENTS)
        assert together["SCORE"].shape == (len(DOCUMENTS), 1)
        np.testing.assert_allclose(together["SCORE"].ravel(), expected, atol=2e-5)
        np.testing.assert_allclose(apart["SCORE"], together["SCORE"], atol=2e-6)


def test_classes_of_a_pair_are_the_classification_pipelines_cut_as_the_tokenizer_declares(client, folders):
    library = pipeline("text-classification", model=str(folders / "nli"), top_k=None)
    documents = DOCUMENTS[:-1]  # of a pair with an empty second text the pipeline makes a single one
    answer = score(client, "nli", [QUERY], documents)
    for row, document in enumerate(documents):
        expected = library({"text": QUERY, "text_pair": document}, truncation="only_second", max_length=64)
        assert [label.decode() for label in answer["LABEL"][row]] == [item["label"] for item in expected]
        assert answer["SCORE"][row].tolist() == pytest.approx([item["score"] for item in expected], abs=1e-5)


def test_scores_of_pairs_are_a_row_for_each_with_names_by_the_label_file(client):
    documents = DOCUMENTS[:-1]
    ranked = score(client, "nli", [QUERY], documents)
    scores = infer(client, "nli-scores", ["SCORES"], TEXT=[QUERY], TEXT_PAIR=documents)["SCORES"]
    by_label = [dict(zip(names, row, strict=True)) for names, row in zip(ranked["LABEL"], ranked["SCORE"], strict=True)]
    expected = [[row[name.encode()] for name in NLI_LABELS.values()] for row in by_label]
    np.testing.assert_allclose(scores, expected, atol=2e-6)
    model = find_text_model(client, "nli-scores-text")
    pairs = infer_text(client, model, QUERY, Beside(pairs=tuple(documents))).answer["pairs"]
    for row, pair in enumerate(pairs):
        assert [item["label"].encode() for item in pair["labels"]] == ranked["LABEL"][row].tolist()
        assert [item["score"] for item in pair["labels"]] == pytest.approx(ranked["SCORE"][row].tolist(), abs=2e-6)


def test_pairs_without_an_answer_are_refused_with_what_to_send(client):
    for first, second, message in (
        ([QUERY], ["a"] * 1000, "the request has 1000 pairs, and the model takes 8 at once: send at most 8 in a"),
        ([QUERY] * 2, ["a"] * 3, "the request has 2 of TEXT and 3 of TEXT_PAIR: send as many of each, or one of TEXT"),
    ):
        with pytest.raises(RefusedRequestError, match=message):
            score(client, "reranker", first, second)
    with pytest.raises(RefusedRequestError, match="this tokenizer cuts TEXT_PAIR alone: shorten TEXT"):
        score(client, "nli", [LONG_QUERY], ["a"])
    assert score(client, "reranker", [QUERY], ["a"])["SCORE"].shape == (1, 1)


@pytest.fixture
def prep_client(client):
    """Run `prep client` against the server; returns the exit code, stdout and stderr."""

    def run(*arguments, stdin=""):
        done = CliRunner().invoke(app, ["client", *arguments, "--server", client.address], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


def test_prep_client_sends_a_query_with_many_documents(prep_client, client):
    code, out, err = prep_client(QUERY, "--pair", "-", "--model", "reranker-text", "--json", stdin="\n".join(DOCUMENTS))
    assert code == 0, err
    (answer,) = json.loads(out)["answers"]
    assert [pair["text_pair"] for pair in answer["answer"]["pairs"]] == DOCUMENTS[:-1]  # stdin's empty line is none
    assert answer["cut_at_tokens"] == 64
    served = [pair["labels"][0]["score"] for pair in answer["answer"]["pairs"]]
    scores = score(client, "reranker", [QUERY], DOCUMENTS[:-1])["SCORE"].ravel()
    assert served == pytest.approx(scores.tolist(), abs=1e-5)
    code, out, _ = prep_client(QUERY, "--pair", "to-do: a", "--model", "nli-text")
    assert code == 0
    assert "entailment 0." in out


def test_prep_client_refuses_what_does_not_fit(prep_client):
    for arguments, message in (
        ((QUERY, "--model", "reranker-text"), "scores a text together with another, and no pair was given"),
        ((QUERY, "--pair", "a", "--model", "multi-label-text"), "takes a text alone, and a pair was given"),
        (("-", "--pair", "-", "--model", "reranker-text"), "stdin is read once"),
        ((QUERY, *["--pair", "a"] * 9, "--model", "reranker-text"), "send at most 8 in a request, 2 requests for all"),
    ):
        code, _, err = prep_client(*arguments)
        assert code != 0
        assert message in " ".join(err.split())


def test_the_repository_has_no_lint_finding(repository):
    assert lint_repository(repository).findings == ()


def test_verify_finds_all_of_them_right(repository):
    report = verify_entries(load_repository(repository), str(repository), VerifySpec())
    assert {entry.name: entry.detail for entry in report.entries if entry.status != "loaded"} == {}
    compared = {entry.name: entry.library_texts for entry in report.entries if entry.kind == "ensemble"}
    assert all(compared[f"{name}-text"] > 5 for name in PAIRS)


RUN = """
models:
  - model: ./reranker
    variants:
      - runtime: onnxruntime
        precision: fp16
        gate: {eval_data: ranked.jsonl, max_accuracy_drop: 2}
        serving: {max_batch_size: 4, threads: 1}
        text: true
publish: ./store
"""


def test_a_rerankers_folder_goes_through_prep_run_to_a_verified_release(tmp_path):
    write_reranker(tmp_path / "reranker")
    (tmp_path / "prep.yaml").write_text(RUN)
    ranked = {"query": QUERY, "documents": ["a ship", "the rain", "is it"], "relevance": [0, 1, 2]}
    (tmp_path / "ranked.jsonl").write_text(json.dumps(ranked))
    document = Prep(tmp_path).succeed("run", "prep.yaml")
    states = {row["stage"]: row["state"] for row in document["rows"]}  # a stage that failed ends the run
    assert states["verify"] == states["publish"] == "made"
    assert list((tmp_path / "store").glob("releases/*/reranker-onnx-fp16-text/config.pbtxt"))
    verified = next(row for row in document["rows"] if row["stage"] == "verify")
    (entry,) = (entry for entry in verified["figures"]["entries"] if entry["kind"] == "model")
    served = entry["accuracy"]
    assert (served["metric"], served["rows"], served["converted"]) == ("nDCG@10", 1, served["reference"])
