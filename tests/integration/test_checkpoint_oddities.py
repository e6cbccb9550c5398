"""What real checkpoints have and fresh ones do not: each answers as transformers does with the same folder, or is
refused with what helps.

The judge is the Auto class and the AutoTokenizer of the folder as it lies there, never the model it was made from.
"""

import json
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from prep_triton.artifact import OnnxModel
from prep_triton.errors import SourceError
from prep_triton.export.checkpoint import load_model
from prep_triton.export.onnx import export_model
from prep_triton.export.source import resolve_source
from prep_triton.export.tokenizer import save_tokenizer
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_to_int8
from prep_triton.spec import CalibrationSpec, ModelSpec, QuantizationSpec, ServingSpec, TextSpec, VerifySpec
from prep_triton.triton.config import parse_config
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.report import check_report
from prep_triton.triton.verify.repository import verify_entries
from prep_triton.workspace import Workspace
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.odd_checkpoints import (
    Tensors,
    answer,
    change_config,
    change_weights,
    draw_checkpoint,
    encode,
    load_library,
    shard,
)

pytestmark = pytest.mark.integration

TEXTS = ("the a of.", "abc d, efg 123!", "is the [MASK] " * 400)
LONG = TEXTS[2]
NO_LIMIT = int(1e30)  # what transformers writes where a tokenizer has no limit


def export(folder: Path, **keys) -> OnnxModel:
    return export_model(ModelSpec(model=str(folder), **keys), Workspace(folder.parent / "build")).artifact


def refused(folder: Path, **keys) -> SourceError:
    with pytest.raises(SourceError) as caught:
        export(folder, **keys)
    assert caught.value.hint
    return caught.value


def feed_of(artifact: OnnxModel, texts=TEXTS) -> dict[str, np.ndarray]:
    """Encode texts with what the artifact brings: its tokenizer, its longest sequence, its inputs."""
    tokenizer = Tokenizer.from_file(str(artifact.path("tokenizer.json")))
    tokenizer.enable_truncation(artifact.max_sequence_length)
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(list(texts))
    columns = {
        "input_ids": [row.ids for row in rows],
        "attention_mask": [row.attention_mask for row in rows],
        "token_type_ids": [row.type_ids for row in rows],
    }
    return {tensor.name: np.array(columns[tensor.name]) for tensor in artifact.model_inputs}


def run(artifact: OnnxModel, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(artifact.path("model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def check_answers(artifact: OnnxModel, folder: Path, class_name: str) -> None:
    """Hold an export's ids and answers against the library's, for texts of which one is too long."""
    library = load_library(folder, class_name)
    batch = encode(folder, TEXTS, library.config.max_position_embeddings)
    feed = feed_of(artifact)
    is_token = feed["attention_mask"].astype(bool)
    np.testing.assert_array_equal(is_token, batch["attention_mask"].numpy())
    np.testing.assert_array_equal(feed["input_ids"][is_token], batch["input_ids"].numpy()[is_token])
    expected, served = answer(library, batch), run(artifact, feed)
    if served.ndim == 3:
        expected, served = expected[is_token], served[is_token]
    np.testing.assert_allclose(served, expected, atol=2e-4)


def rename(*pairs: tuple[str, str]) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        for old, new in pairs:
            tensors = {re.sub(old, new, name): tensor for name, tensor in tensors.items()}
        return tensors

    return change


def tie_under_decoder(tensors: Tensors) -> Tensors:
    """Tied weights under the other of their two names alone."""
    tensors["cls.predictions.decoder.weight"] = tensors.pop("bert.embeddings.word_embeddings.weight")
    tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")
    return tensors


def untie(tensors: Tensors) -> Tensors:
    """A decoder of its own, where config.json says that it is tied: what is stored wins, in transformers too."""
    embedding = tensors["bert.embeddings.word_embeddings.weight"]
    return {**tensors, "cls.predictions.decoder.weight": embedding.flip(0) * 0.7}


def add_buffers(tensors: Tensors) -> Tensors:
    """What transformers stored before 4.31, of another length than the model has."""
    body = next(iter(tensors)).partition(".")[0]
    buffers = {"position_ids": torch.arange(512)[None], "token_type_ids": torch.zeros(1, 512, dtype=torch.int64)}
    return {**tensors, **{f"{body}.embeddings.{name}": buffer for name, buffer in buffers.items()}}


GAMMA = rename(("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
STORED: list[tuple[str, str, Callable[[Tensors], Tensors]]] = [
    ("fp16", "BertForMaskedLM", lambda tensors: {name: tensor.half() for name, tensor in tensors.items()}),
    ("bf16", "DistilBertForMaskedLM", lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()}),
    ("gamma and beta", "BertForMaskedLM", GAMMA),
    ("a head's body without its prefix", "BertForSequenceClassification", rename((r"^bert\.", ""))),
    ("the same", "DistilBertForSequenceClassification", rename((r"^distilbert\.", ""))),
    ("a body with a prefix", "BertModel", rename((r"^", "bert."))),
    ("a body with its prefix", "DistilBertModel", rename((r"^", "distilbert."))),
    ("tied under the decoder's name", "BertForMaskedLM", tie_under_decoder),
    ("a decoder of its own", "BertForMaskedLM", untie),
    ("buffers", "BertForMaskedLM", add_buffers),
    ("buffers of DistilBERT", "DistilBertForMaskedLM", add_buffers),
]


@pytest.mark.parametrize(("class_name", "change"), [case[1:] for case in STORED], ids=[case[0] for case in STORED])
def test_weights_however_they_are_stored_are_what_transformers_loads(tmp_path, class_name, change):
    """The torch model that an export traces; the graphs of all of them are alike."""
    folder = draw_checkpoint(tmp_path / "stored", class_name)
    change_weights(folder, change)
    loaded = load_model(resolve_source(ModelSpec(model=str(folder))), folder, seed=0)
    library = load_library(folder, class_name)
    batch = encode(folder, TEXTS, 64)
    np.testing.assert_allclose(answer(loaded, batch), answer(library, batch), atol=1e-4)


def age(folder: Path) -> None:
    """All at once: shards, BF16, old names, old buffers, no limit to a text, and tokens added within the embedding."""
    change_weights(folder, lambda tensors: GAMMA(add_buffers(tensors)))
    change_weights(
        folder, lambda tensors: {name: v.bfloat16() if v.is_floating_point() else v for name, v in tensors.items()}
    )
    shard(folder)
    words = (folder / "vocab.txt").read_text().splitlines()
    (folder / "vocab.txt").write_text("\n".join(words[:-2]) + "\n")
    change_config(folder, "added_tokens.json", abc=len(words) - 2, efg=len(words) - 1)
    change_config(folder, "tokenizer_config.json", tokenizer_class="BertTokenizer", model_max_length=NO_LIMIT)
    change_config(folder, torch_dtype="bfloat16")


@pytest.mark.parametrize(("class_name", "positions"), [("BertForMaskedLM", 40), ("DistilBertForMaskedLM", 1024)])
def test_a_checkpoint_that_is_odd_in_every_way_exports(tmp_path, class_name, positions):
    folder = draw_checkpoint(tmp_path / "odd", class_name, max_position_embeddings=positions)
    age(folder)
    if class_name.startswith("DistilBert"):
        change_config(folder, type_vocab_size=0)  # which DistilBERT has none of
    artifact = export(folder)
    assert (artifact.max_sequence_length, artifact.declared_length) == (positions, positions)
    check_answers(artifact, folder, class_name)


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """Text to calibrate on: other words in every line."""
    letters = np.random.default_rng(0).choice([*"abcdefghijklmnopqrstuvwxyz0123456789"], (160, 12))
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(f"the {' '.join(row)}" for row in letters))
    return path


@pytest.mark.parametrize(
    ("class_name", "activation"),
    [
        ("BertForSequenceClassification", {"hidden_act": "gelu_new"}),
        ("BertForSequenceClassification", {"hidden_act": "silu"}),
        ("DistilBertForSequenceClassification", {"activation": "relu"}),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else value,
)
def test_another_activation_answers_in_every_precision(tmp_path, texts, class_name, activation):
    folder = draw_checkpoint(tmp_path / "active", class_name, **activation)

    def stretch(tensors: Tensors) -> Tensors:
        """Values of +-60 into the activation: a cube of those is no FP16 number, and gelu_new has a cube."""
        bias = next(name for name in tensors if name.endswith(("intermediate.dense.bias", "ffn.lin1.bias")))
        tensors[bias][:4] += torch.tensor([60.0, -60.0, 60.0, -60.0])
        return tensors

    change_weights(folder, stretch)
    artifact = export(folder)
    check_answers(artifact, folder, class_name)
    library = load_library(folder, class_name)
    expected = answer(library, encode(folder, TEXTS, 64))
    workspace = Workspace(tmp_path / "build")

    half = convert_to_fp16(artifact, workspace).artifact
    with np.errstate(over="ignore", invalid="ignore"):  # numpy's own sigmoid
        (served,) = ReferenceEvaluator(str(half.path("model.onnx"))).run(None, feed_of(half))
    np.testing.assert_allclose(served, expected, atol=0.05)

    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(texts), samples=32), search=False)
    quantized = quantize_to_int8(artifact, spec, workspace).artifact
    assert quantized.quantization.linear_flops_share == 1
    assert quantized.fidelity.mean_cosine > 0.99


def test_few_positions_and_one_token_type_are_served_within_them(tmp_path):
    keys = {"max_position_embeddings": 40, "type_vocab_size": 1}
    folder = draw_checkpoint(tmp_path / "narrow", "BertForSequenceClassification", **keys)
    repository, serving = tmp_path / "repository", ServingSpec(threads=1, max_batch_size=4, warmup=True)
    entry = assemble_entry(export(folder), [], serving, repository, name="narrow").artifact
    assemble_text_entries(entry, TextSpec(), repository)
    config = parse_config((repository / "narrow" / "config.pbtxt").read_text(), where="narrow")
    assert sorted(tensor.name for tensor in config.input) == ["attention_mask", "input_ids"]
    assert {sample.name.split("-")[1] for sample in config.model_warmup} == {"32", "40"}
    library = load_library(folder, "BertForSequenceClassification")
    expected = torch.from_numpy(answer(library, encode(folder, [LONG], 40))).softmax(-1)[0].tolist()
    with run_triton(str(repository)) as server:
        server.check_loaded()
        spec = VerifySpec(server_url=server.grpc_url, timeout_s=60)
        report = verify_entries(load_repository(repository), str(repository), spec)
        check_report(report)
        with TritonClient(server.grpc_url, timeout_s=60) as client:
            texts = np.array([[LONG.encode()]], np.object_)
            served, _ = client.infer("narrow-text", {"TEXT": texts}, ["LABEL", "SCORE"])
    labels = [library.config.label2id[label.decode()] for label in served["LABEL"][0]]
    assert [expected[index] for index in labels] == pytest.approx(served["SCORE"][0].tolist(), abs=1e-4)


def test_a_bert_without_token_types_is_refused_since_transformers_answers_nothing_with_it(tmp_path):
    folder = draw_checkpoint(tmp_path / "typeless", "BertForMaskedLM", type_vocab_size=0)
    with pytest.raises(RuntimeError):
        answer(load_library(folder, "BertForMaskedLM"), encode(folder, TEXTS, 64))
    assert "type_vocab_size 0, expected a whole number of 1 or more" in refused(folder).message


def test_a_head_without_labels_is_refused_with_random_weights_too(tmp_path):
    folder = draw_checkpoint(tmp_path / "mute", "BertForSequenceClassification")
    change_config(folder, id2label={}, label2id={}, num_labels=0)
    for weights in ("hub", "random"):
        assert "declares no labels, and a text-classification head" in refused(folder, weights=weights).message


@pytest.mark.parametrize("class_name", ["BertForMaskedLM", "DistilBertForMaskedLM"])
def test_a_decoder_that_is_neither_stored_nor_tied_is_not_drawn_and_the_hint_ties_it(tmp_path, class_name):
    folder = draw_checkpoint(tmp_path / "loose", class_name)
    change_config(folder, tie_word_embeddings=False)
    error = refused(folder)
    assert "says that its decoder is not the embedding (tie_word_embeddings is false)" in error.message
    assert '"tie_word_embeddings": true' in error.hint
    change_config(folder, tie_word_embeddings=True)
    load_model(resolve_source(ModelSpec(model=str(folder))), folder, seed=0)


def test_added_tokens_beyond_the_embedding_are_named_with_the_file_to_take_them_from(tmp_path):
    folder = draw_checkpoint(tmp_path / "added", "BertForSequenceClassification")
    change_config(folder, "added_tokens.json", newword=100, x1=101)
    with pytest.raises(IndexError):
        answer(load_library(folder, "BertForSequenceClassification"), encode(folder, ["a x1"], 64))
    error = refused(folder)
    assert "has 102 ids, and its model has 100: it has no row for 'newword', 'x1'" in error.message
    assert error.hint.startswith("remove them from added_tokens.json: ")
    (folder / "added_tokens.json").unlink()
    save_tokenizer(folder, tmp_path, 100, where="it")


CODE = {"AutoModelForSequenceClassification": "modeling_own.Own", "AutoTokenizer": ["tokenization_own.Own", None]}


@pytest.mark.parametrize(
    ("file", "keys", "message"),
    [
        ("config.json", {"auto_map": CODE}, "own for its model (auto_map: AutoModelForSequenceClassification is"),
        ("tokenizer_config.json", {"auto_map": CODE}, "own for its tokenizer (auto_map in tokenizer_config.json"),
        ("config.json", {"auto_map": {"AutoTokenizer": CODE["AutoTokenizer"]}}, "own for its tokenizer (auto_map in"),
        ("config.json", {"model_type": "nomic_bert", "auto_map": CODE}, "'nomic_bert' model, whose code it brings"),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic"},
            "is a BertJapaneseTokenizer, which no tokenizer.json can stand for",
        ),
        ("config.json", {"model_type": "deberta-v2"}, "'deberta-v2' model; supported are bert, distilbert, roberta, "),
    ],
)
def test_what_is_not_transformers_own_bert_is_refused_and_no_code_runs(tmp_path, file, keys, message):
    folder = draw_checkpoint(tmp_path / "foreign", "BertForSequenceClassification")
    for name in ("modeling_own.py", "tokenization_own.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    change_config(folder, file, **keys)
    assert message in refused(folder).message
    assert not (tmp_path / "ran").exists()


def test_a_module_of_somebody_else_is_refused_before_weights_are_read(tmp_path):
    folder = draw_checkpoint(tmp_path / "embedder", "BertModel")
    kinds = ("sentence_transformers.models.Transformer", "sentence_transformers.models.WordWeights")
    modules = [{"idx": index, "path": str(index or ""), "type": kind} for index, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "declares a WordWeights module, which prep does not serve" in refused(folder).message


def follow(hint: str) -> None:
    """Run the command that ends a hint, as it is written."""
    command = re.search(r"python (-[mc] .+)$", hint)
    assert command, hint
    subprocess.run([sys.executable, *shlex.split(command[1])], check=True, capture_output=True)


def test_a_vocabulary_in_slow_form_alone_is_converted_by_the_command_of_the_hint(tmp_path):
    folder = draw_checkpoint(tmp_path / "my slow one", "BertForSequenceClassification")
    (folder / "vocab.txt").unlink()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz", "\u0120", "\u0120a"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n\u0120 a\n")
    change_config(folder, "tokenizer_config.json", tokenizer_class="RobertaTokenizer")
    error = refused(folder)
    assert "has its vocabulary in vocab.json only; prep reads tokenizer.json and vocab.txt" in error.message
    follow(error.hint)
    tokenizer = save_tokenizer(folder, tmp_path, 100, where="it")
    library = AutoTokenizer.from_pretrained(folder)
    assert [tokenizer.encode(text).ids for text in TEXTS] == [library(text)["input_ids"] for text in TEXTS]


def test_a_pickle_with_more_than_tensors_is_converted_by_the_command_of_the_hint(tmp_path):
    folder = draw_checkpoint(tmp_path / "my pickle", "BertForSequenceClassification")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": weights, "arguments": Namespace(rate=0.1)}, folder / "pytorch_model.bin")
    error = refused(folder)
    assert "cannot be read without running code from it" in error.message
    assert "Unsupported global: GLOBAL argparse.Namespace" in error.message
    follow(error.hint)
    loaded = load_model(resolve_source(ModelSpec(model=str(folder))), folder, seed=0)
    batch = encode(folder, TEXTS, 64)
    library = load_library(folder, "BertForSequenceClassification")
    np.testing.assert_allclose(answer(loaded, batch), answer(library, batch), atol=1e-4)
