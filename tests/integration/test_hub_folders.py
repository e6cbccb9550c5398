"""Folders of public models as the hub has them, each through one file of ten lines to a verified release."""

import numpy as np
import pytest
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import pipeline

from tests.fakes.hub_folders import write_classifier, write_embedder, write_reranker
from tests.fakes.prep_command import Prep

pytestmark = pytest.mark.integration

# Ten lines: the model, what runs it, what is asked of it, where it goes.
FILE = """models:
  - model: ./NAME
    variants:
      - runtime: onnxruntime
        precision: fp16
        serving:
          max_batch_size: 4
          length_buckets: [16, 64]
        text: true
publish: ./releases
"""
TEXTS = ["Ada Lovelace wrote the first program in London.", "The ferry left Piraeus at noon.", "No."]
QUERY = "Who wrote the first program?"
FOLDERS = {"sentiment": write_classifier, "embedder": write_embedder, "reranker": write_reranker}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_the_hub_becomes_a_verified_release_that_answers_as_its_library(name, tmp_path):
    FOLDERS[name](tmp_path / name)
    (tmp_path / "file.yaml").write_text(FILE.replace("NAME", name))
    assert FILE.count("\n") == 10
    document = Prep(tmp_path).succeed("run", "file.yaml")
    stages = {row["stage"]: row for row in document["rows"]}
    assert stages["verify"]["state"] == stages["promote"]["state"] == "made"
    entries = {entry["name"]: entry for entry in stages["verify"]["figures"]["entries"]}
    assert entries[f"{name}-onnx-fp16-text"]["library_texts"]
    assert entries[f"{name}-onnx-fp16"]["min_cosine"] >= entries[f"{name}-onnx-fp16"]["tolerance"]
    with run_triton(document["release"].removeprefix("file://")) as server:
        server.check_loaded()
        with TritonClient(server.grpc_url, timeout_s=60) as client:
            columns = {"TEXT": np.array([[text.encode()] for text in TEXTS], np.object_)}
            if name == "reranker":
                columns = {"TEXT": np.array([[QUERY.encode()]] * len(TEXTS), np.object_), "TEXT_PAIR": columns["TEXT"]}
            answer = client.infer(f"{name}-onnx-fp16-text", columns, ANSWERS[name])[0]
    COMPARISONS[name](answer, tmp_path / name)


def compare_scores(answer, folder) -> None:
    library = pipeline("text-classification", model=str(folder), top_k=None, dtype="float32")
    for row, expected in enumerate(library(TEXTS)):
        assert [label.decode() for label in answer["LABEL"][row]] == [item["label"] for item in expected]
        np.testing.assert_allclose(answer["SCORE"][row], [item["score"] for item in expected], atol=5e-3)


def compare_embeddings(answer, folder) -> None:
    library = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    np.testing.assert_allclose(answer["EMBEDDING"], library.encode(TEXTS), atol=5e-3)


def compare_relevance(answer, folder) -> None:
    library = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    expected = library.predict([(QUERY, text) for text in TEXTS])
    np.testing.assert_allclose(answer["SCORE"][:, 0], expected, atol=5e-3)
    assert np.ptp(expected) > 0.02


ANSWERS = {"sentiment": ["LABEL", "SCORE"], "embedder": ["EMBEDDING"], "reranker": ["SCORE"]}
COMPARISONS = {"sentiment": compare_scores, "embedder": compare_embeddings, "reranker": compare_relevance}
