"""Text entries of every architecture on a real Triton answer as the library's own pipelines."""

import json
from typing import Any

import numpy as np
import pytest
from prep_triton.spec import ServingSpec, TextSpec, VerifySpec
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.repository import verify_entries
from transformers import pipeline

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.architectures import TINY

pytestmark = pytest.mark.integration

TEXTS = [
    "Ada Lovelace wrote the first program in London.",
    "The ferry left Piraeus at noon; it reached Crete, 320 km away, in nine hours.",
    "No.",
    " Two  spaces, a\nline and a \u201cquote\u201d; \u6771\u4eac",
]
SERVED = [(architecture, task) for architecture, row in TINY.items() for task in row.served]


@pytest.fixture(scope="module")
def folders(tiny_exports):
    return {served: tiny_exports.folder(*served) for served in SERVED}


@pytest.fixture(scope="module")
def repository(tiny_exports, tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    for architecture, task in SERVED:
        model = tiny_exports.export(architecture, task)
        serving = ServingSpec(threads=1, max_batch_size=4, length_buckets=(16, model.max_sequence_length))
        entry = assemble_entry(model, [], serving, repository, name=f"{architecture}-{task}").artifact
        assemble_text_entries(entry, TextSpec(), repository)
    return repository


@pytest.fixture(scope="module")
def client(repository):
    with run_triton(str(repository)) as server:
        server.check_loaded()
        with TritonClient(server.grpc_url, timeout_s=60) as connection:
            yield connection


def infer(client: TritonClient, name: str, output: str, texts: list[str]) -> Any:
    column = np.array([[text.encode()] for text in texts], np.object_)
    return client.infer(f"{name}-text", {"TEXT": column}, [output])[0][output].ravel()


def folders_of(task: str) -> list[str]:
    return [architecture for architecture, served in SERVED if served == task]


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")  # its rule, which is what is compared
@pytest.mark.parametrize("architecture", folders_of("token-classification"))
def test_entities_are_the_pipelines(client, folders, architecture):
    task = "token-classification"
    library = pipeline(task, model=str(folders[architecture, task]), aggregation_strategy="first")
    for row, expected in zip(infer(client, f"{architecture}-{task}", "ENTITIES", TEXTS), library(TEXTS), strict=True):
        served = json.loads(row)
        assert [(item["label"], item["start"], item["end"]) for item in served] == [
            (item["entity_group"], item["start"], item["end"]) for item in expected
        ]
        assert [item["score"] for item in served] == pytest.approx([item["score"] for item in expected], abs=1e-4)


@pytest.mark.parametrize("architecture", folders_of("fill-mask"))
def test_tokens_are_the_pipelines(client, folders, architecture):
    library = pipeline("fill-mask", model=str(folders[architecture, "fill-mask"]), top_k=1)
    texts = [f"The harbour was {library.tokenizer.mask_token} before dawn.", f"{library.tokenizer.mask_token}."]
    served = [json.loads(row) for row in infer(client, f"{architecture}-fill-mask", "TOKENS", texts)]
    for ((choice, *_),), (expected, *_) in zip(served, library(texts), strict=True):
        assert choice["token"] == library.tokenizer.convert_ids_to_tokens(expected["token"])
        assert choice["text"] == expected["token_str"]
        assert choice["score"] == pytest.approx(expected["score"], abs=1e-5)


def test_verify_compares_them_all_with_the_library(repository):
    report = verify_entries(load_repository(repository), str(repository), VerifySpec())
    assert {entry.name: entry.detail for entry in report.entries if entry.status != "loaded"} == {}
    assert all(entry.library_texts for entry in report.entries if entry.name.endswith("-text"))
