"""Embeddings that a post-processor makes on a real Triton are sentence-transformers' own, for folders of many forms."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec, ServingSpec, TextSpec, VerifySpec
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.repository import verify_entries
from prep_triton.workspace import Workspace
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.bert_checkpoint import CONFIG, VOCABULARY

pytestmark = pytest.mark.integration

WIDTH = 32
TEXTS = ["the a of and to in is.", "Is it a 2?", "", "abc Def, ghi jkl! to-do: a; " * 6]
NAMES = ["cut", "joined", "saved"]


def write_bert(folder: Path) -> None:
    """Write a BERT as save_pretrained() does, and a tokenizer that keeps capital letters."""
    torch.manual_seed(5)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=CONFIG["vocab_size"], max_position_embeddings=64, initializer_range=0.4, **sizes)
    BertModel(config).save_pretrained(folder)
    words = [*VOCABULARY, *(f"[unused{n}]" for n in range(CONFIG["vocab_size"] - len(VOCABULARY)))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 48}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def declare(folder: Path, modules: list[str], **switches: bool) -> None:
    """Write modules.json and the Pooling's configuration as versions before 6 did."""
    paths = ["", *(f"{index}_{kind}" for index, kind in enumerate(modules, 1))]
    kinds = ["Transformer", *modules]
    content = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(content))
    for path in paths[1:]:
        (folder / path).mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": WIDTH, **switches}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    write_bert(root / "cut")
    declare(root / "cut", ["Pooling"], pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    settings = {"max_seq_length": 20, "do_lower_case": True}
    (root / "cut" / "sentence_bert_config.json").write_text(json.dumps(settings))
    write_bert(root / "joined")
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    declare(root / "joined", ["Pooling", "Normalize"], **{f"pooling_mode_{mode}": True for mode in modes})
    library = SentenceTransformer(
        modules=[Transformer(str(root / "joined")), Pooling(WIDTH, ("mean_sqrt_len_tokens", "max"))],
        prompts={"query": "to the: "},
        default_prompt_name="query",
        device="cpu",
    )
    library.save(str(root / "saved"))
    return root


@pytest.fixture(scope="module")
def repository(folders, tmp_path_factory):
    workspace, folder = Workspace(tmp_path_factory.mktemp("workspace")), tmp_path_factory.mktemp("repository")
    for name in NAMES:
        spec = ModelSpec(model=str(folders / name), task="feature-extraction")
        model = export_model(spec, workspace).artifact
        entry = assemble_entry(model, [], ServingSpec(threads=1, max_batch_size=4), folder, name=name).artifact
        assemble_text_entries(entry, TextSpec(), folder)
    return folder


@pytest.fixture(scope="module")
def client(repository):
    with run_triton(str(repository)) as server:
        server.check_loaded()
        with TritonClient(server.grpc_url, timeout_s=60) as connection:
            yield connection


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_sentence_transformers_own(client, folders, name):
    expected = SentenceTransformer(str(folders / name), device="cpu").encode(TEXTS)
    column = np.array([[text.encode()] for text in TEXTS], np.object_)
    answer = client.infer(f"{name}-text", {"TEXT": column}, ["EMBEDDING"])[0]["EMBEDDING"]
    assert answer.shape == expected.shape
    assert answer == pytest.approx(expected, abs=2e-4)


def test_prompts_of_a_post_processors_embedding_are_sentence_transformers_own(client, folders):
    library = SentenceTransformer(str(folders / "saved"), device="cpu")
    for name in ("query", "document"):
        names = np.array([[name.encode()]] * len(TEXTS), np.object_)
        column = np.array([[text.encode()] for text in TEXTS], np.object_)
        request = {"TEXT": column, "PROMPT_NAME": names}
        answer = client.infer("saved-text", request, ["EMBEDDING"])[0]["EMBEDDING"]
        assert answer == pytest.approx(library.encode(TEXTS, prompt_name=name), abs=2e-4)


def test_the_longest_bucket_is_where_the_library_cuts(repository, folders):
    longest = {entry.name: entry.length_buckets[-1] for entry in load_repository(repository) if entry.kind == "model"}
    assert longest == {name: SentenceTransformer(str(folders / name), device="cpu").max_seq_length for name in NAMES}
    assert longest["cut"] == 20


def test_verify_finds_all_of_them_right(repository):
    report = verify_entries(load_repository(repository), str(repository), VerifySpec())
    assert {entry.name: entry.detail for entry in report.entries if entry.status != "loaded"} == {}


def test_other_lengths_and_another_normalization_are_said(repository, tmp_path, caplog):
    entry = next(entry for entry in load_repository(repository) if entry.name == "joined")
    entry = entry.model_copy(update={"length_buckets": (16, 64)})
    with caplog.at_level(logging.WARNING):
        assemble_text_entries(entry, TextSpec(normalize=False), tmp_path)
    assert "texts are cut at 64 tokens, its longest length bucket; the checkpoint declares 48" in caplog.text
    assert "embeddings are not normalized, as asked for; the checkpoint declares the opposite" in caplog.text
