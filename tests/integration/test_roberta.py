"""What RoBERTa's line has and BERT does not: positions counted by the ids, and vocabularies of 250,000."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from prep_triton.errors import SourceError
from prep_triton.export.checkpoint import load_model
from prep_triton.export.onnx import export_model
from prep_triton.export.source import resolve_source
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.qdq import find_linears
from prep_triton.reference import load_tokenizer
from prep_triton.spec import ModelSpec
from prep_triton.triton.inside_server.encode.encoder import Encoder
from prep_triton.triton.inside_server.encode.settings import EncoderSettings
from prep_triton.workspace import Workspace
from sentence_transformers import SentenceTransformer
from transformers import RobertaForMaskedLM, XLMRobertaModel

from tests.fakes.architectures import TINY, draw_architecture
from tests.fakes.hub_folders import write_multilingual_minilm
from tests.fakes.odd_checkpoints import change_weights

pytestmark = pytest.mark.integration

BEGIN, PAD, END = 0, 1, 2


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    sizes = {"num_hidden_layers": 1, "max_position_embeddings": 4098}
    return draw_architecture(
        tmp_path_factory.mktemp("checkpoint") / "long", "xlm-roberta", "feature-extraction", **sizes
    )


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return draw_architecture(tmp_path_factory.mktemp("masked") / "tiny", "roberta", "fill-mask", num_hidden_layers=1)


@pytest.fixture(scope="module")
def model(folder, workspace):
    return export_model(ModelSpec(model=str(folder)), workspace).artifact


def answer(path, ids, mask):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": np.array(ids), "attention_mask": np.array(mask)})[0]


@pytest.mark.parametrize(
    ("ids", "mask"),
    [
        ([[BEGIN, 9, 8, 7, 6, END]], [[1, 1, 1, 1, 1, 1]]),
        # A literal <pad> in a text has the padding's position, and moves what follows it.
        ([[BEGIN, 9, PAD, 7, PAD, END]], [[1, 1, 1, 1, 1, 1]]),
        # Rows of a reference are padded with 0, which is a token here; the library pads with <pad>, on either side.
        ([[BEGIN, 9, 8, END, 0, 0], [BEGIN, 9, 8, 7, 6, END]], [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]),
        ([[BEGIN, 9, 8, END, PAD, PAD], [PAD, PAD, BEGIN, 9, 8, END]], [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]]),
    ],
    ids=["plain", "literal padding", "padded with 0", "padded on either side"],
)
def test_positions_are_the_librarys_whatever_stands_in_the_ids(model, folder, ids, mask):
    library = XLMRobertaModel.from_pretrained(folder, dtype="float32").eval()
    with torch.inference_mode():
        expected = library(torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
    is_token = np.array(mask, bool)
    np.testing.assert_allclose(answer(model.path("model.onnx"), ids, mask)[is_token], expected[is_token], atol=1e-5)


def test_padding_with_0_or_with_the_padding_token_is_the_same_to_the_tokens_before_it(model):
    row, mask = [BEGIN, 9, 8, 7, END], [[1] * 5 + [0] * 3]
    zeros, padded = (answer(model.path("model.onnx"), [[*row, *[fill] * 3]], mask)[0, :5] for fill in (0, PAD))
    np.testing.assert_array_equal(zeros, padded)


def test_positions_beyond_2048_are_counted_in_fp32_in_an_fp16_graph(model, workspace):
    """FP16 holds no odd number there."""
    half = convert_to_fp16(model, workspace).artifact
    graph = onnx.shape_inference.infer_shapes(onnx.load(half.path("model.onnx"))).graph
    types = {info.name: info.type.tensor_type.elem_type for info in graph.value_info}
    counted = {node.op_type: types[node.output[0]] for node in graph.node if node.name.startswith("positions/")}
    assert counted["CumSum"] == counted["Mul"] == TensorProto.FLOAT
    ids = np.full((1, 2200), 9)  # what differs is the position alone
    whole, rounded = (answer(graph.path("model.onnx"), ids, np.ones_like(ids))[0] for graph in (model, half))
    np.testing.assert_allclose(rounded[2040:], whole[2040:], atol=0.05)
    assert np.abs(whole[2101] - whole[2102]).max() > 0.5


def as_on_the_hub(tensors):
    """What roberta-base has: no decoder beside the embedding, one bias, a pooler, a buffer of positions."""
    kept = {name: tensor for name, tensor in tensors.items() if "decoder" not in name}
    width = tensors["lm_head.dense.bias"].shape[0]
    pooler = {"roberta.pooler.dense.weight": torch.ones(width, width), "roberta.pooler.dense.bias": torch.ones(width)}
    return {**kept, **pooler, "roberta.embeddings.position_ids": torch.arange(66)[None]}


def with_decoder(tensors):
    """What old pickles have: the tied decoder and its bias under each of their names."""
    table = tensors["roberta.embeddings.word_embeddings.weight"]
    return {**tensors, "lm_head.decoder.weight": table, "lm_head.decoder.bias": tensors["lm_head.bias"]}


@pytest.mark.parametrize("change", [as_on_the_hub, with_decoder])
def test_a_decoder_and_its_bias_are_found_under_whatever_names_they_have(masked, tmp_path, change):
    folder = Path(copytree(masked, tmp_path / "tiny"))
    change_weights(folder, change)
    source = resolve_source(ModelSpec(model=str(folder)))
    library = RobertaForMaskedLM.from_pretrained(masked, dtype="float32").eval()
    ids = torch.tensor([[BEGIN, 9, 8, 7, END]])
    with torch.inference_mode():
        answer, expected = (model(ids).logits.numpy() for model in (load_model(source, folder, 0), library))
    np.testing.assert_allclose(answer, expected, atol=1e-4)  # the library attends by sdpa


def test_a_head_that_is_not_there_is_refused_and_a_body_of_a_masked_model_is_taken(masked):
    with pytest.raises(SourceError, match=r"has no text-classification head: classifier\.dense"):
        load_model(resolve_source(ModelSpec(model=str(masked), task="text-classification")), masked, 0)
    body = load_model(resolve_source(ModelSpec(model=str(masked), task="feature-extraction")), masked, 0)
    assert type(body).__name__ == "RobertaModel"


@pytest.mark.parametrize("tokenizer_class", ["XLMRobertaTokenizer", "PreTrainedTokenizerFast"])
def test_a_bert_with_the_vocabulary_of_xlm_r_embeds_as_the_library(tmp_path, workspace, tokenizer_class):
    folder = write_multilingual_minilm(tmp_path / f"minilm-{tokenizer_class.lower()}", tokenizer_class)
    model = export_model(ModelSpec(model=str(folder)), workspace).artifact
    assert (model.architecture, model.task, model.max_sequence_length) == ("bert", "sentence-embedding", 64)
    library = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    encoder = Encoder(load_tokenizer(model.path("tokenizer.json")), EncoderSettings(model.task, (16, 64), 4))
    texts = ["The ferry left Piraeus.", "No.", "A \ufb01ne day; the harbour was quiet before dawn."]
    (arrays,) = encoder.encode([[np.array([[text.encode()] for text in texts], np.object_)]])
    assert isinstance(arrays, dict)
    assert set(arrays["input_ids"][arrays["attention_mask"] == 0].tolist()) == {PAD}
    session = onnxruntime.InferenceSession(model.path("model.onnx"), providers=["CPUExecutionProvider"])
    (embeddings,) = session.run(None, {spec.name: arrays[spec.name] for spec in model.model_inputs})
    np.testing.assert_allclose(embeddings, library.encode(texts), atol=1e-5)


def test_a_vocabulary_of_250002_is_one_table_and_is_never_quantised(tmp_path, workspace):
    folder = tmp_path / "wide"
    folder.mkdir()
    config = {**TINY["xlm-roberta"].config, "model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"]}
    sizes = {"vocab_size": 250_002, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps({**config, **sizes}))
    model = export_model(ModelSpec(model=str(folder), weights="random"), workspace).artifact
    table = 250_002 * 8 * 4
    assert not [linear for linear in find_linears(onnx.load(model.path("model.onnx"))) if linear.size_out > 64]
    assert table < model.files["model.onnx"].size < 1.2 * table  # the decoder is the embedding, and one bias
    half = convert_to_fp16(model, workspace).artifact
    initializers = {tensor.name: tensor for tensor in onnx.load(half.path("model.onnx")).graph.initializer}
    wide = [tensor for tensor in initializers.values() if list(tensor.dims) == [250_002, 8]]
    assert [tensor.data_type for tensor in wide] == [TensorProto.FLOAT16]
    assert half.files["model.onnx"].size < 0.6 * table
