"""Embeddings that the graph makes are sentence-transformers' own: every pooling, Dense, Normalize, a cut vector."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from prep_triton.errors import ParityError, SourceError
from prep_triton.export.library_embeddings import find_embedder
from prep_triton.export.onnx import export_model
from prep_triton.precision.fp16.stage import convert_to_fp16
from prep_triton.precision.int8.stage import quantize_for_openvino, quantize_to_int8
from prep_triton.precision.measure.accuracy import measure_accuracy
from prep_triton.precision.measure.ranking import ndcg, spearman
from prep_triton.run.conversion import put_in_precision
from prep_triton.run.export import export_from_anywhere as export
from prep_triton.run.verification import verify_repository
from prep_triton.spec import (
    CalibrationSpec,
    ConversionSpec,
    GateSpec,
    ModelSpec,
    QuantizationSpec,
    ServingSpec,
    TextSpec,
    VerifySpec,
)
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import RefusedRequestError, TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.workspace import Workspace
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import AutoTokenizer, BertModel

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.architectures import draw_architecture
from tests.fakes.bert_checkpoint import VOCABULARY
from tests.fakes.prep_command import Prep
from tests.integration.test_embedding_library import WIDTH, write_bert
from tests.integration.test_precision_accuracy import make_broken

pytestmark = pytest.mark.integration

TEXTS = ["the a of and to in is.", "Is it a 2?", "", "abc Def, ghi jkl! to-do: a; " * 6]
PROMPTS = {
    "asked": {"document": "", "query": "to the: "},
    "cut": {"document": "", "query": "to the: "},
    "joined": {"document": "", "passage": "Is it in ", "query": "to the: "},
}
MODES = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Folders that the library saved: every pooling joined, two Dense modules, a cut vector, a prompt that is left out.

    Of the last the pooling leaves a default prompt out, of the first those that are named.
    """
    root = tmp_path_factory.mktemp("checkpoints")
    write_bert(root / "body")
    torch.manual_seed(7)
    projected = [Dense(2 * WIDTH, 24), Normalize(), Dense(24, 16, bias=False, activation_function=torch.nn.Identity())]
    chains = {
        "joined": [Pooling(WIDTH, MODES, include_prompt=False), Normalize()],
        "projected": [Pooling(WIDTH, ("cls", "mean")), *projected],
        "cut": [Pooling(WIDTH, "mean"), Normalize()],
        "asked": [Pooling(WIDTH, ("cls", "mean"), include_prompt=False)],
    }
    libraries = {}
    for name, modules in chains.items():
        is_cut = name == "cut"
        libraries[name] = SentenceTransformer(
            modules=[Transformer(str(root / "body")), *modules],
            device="cpu",
            truncate_dim=12 if is_cut else None,
            prompts=PROMPTS.get(name),
            default_prompt_name="query" if name in ("cut", "asked") else None,
        )
        libraries[name].save(str(root / name))
    return root, libraries


@pytest.fixture(scope="module")
def exported(libraries, tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    root, names = libraries[0], libraries[1]
    return workspace, {name: export_model(ModelSpec(model=str(root / name)), workspace).artifact for name in names}


def embed(model, library, texts, path=None):
    """Answer texts with a graph, in one padded batch, by the library's own ids."""
    prompt = model.embedding.prompt
    batch = library.tokenizer([prompt + text for text in texts], padding=True, truncation=True, return_tensors="np")
    session = onnxruntime.InferenceSession(path or model.path("model.onnx"), providers=["CPUExecutionProvider"])
    feeds = {spec.name: batch[spec.name].astype(np.int64) for spec in model.model_inputs}
    return session.run(["embedding"], feeds)[0], feeds, session


@pytest.mark.parametrize(("name", "width"), [("joined", 6 * WIDTH), ("projected", 16), ("cut", 12)])
def test_a_folder_of_the_library_is_a_sentence_embedding_and_answers_as_it(libraries, exported, name, width):
    model, library = exported[1][name], libraries[1][name]
    assert model.task == "sentence-embedding"
    assert [spec.shape for spec in model.model_outputs] == [("batch", width)]
    assert model.parity is not None and model.parity.max_abs_error < 1e-5
    answers, feeds, session = embed(model, library, TEXTS)
    np.testing.assert_allclose(answers, library.encode(TEXTS), atol=2e-6)
    for side in ((0, 9), (5, 0)):
        # Padding moves no embedding; before the text it moves positions too, so that the body's answer is another.
        padded = {key: np.pad(array, ((0, 0), side)) for key, array in feeds.items()}
        moved = session.run(["embedding"], padded)[0]
        features = {key: torch.from_numpy(array) for key, array in padded.items()}
        expected = library(features)["sentence_embedding"].detach().numpy()[:, :width]
        np.testing.assert_allclose(moved, expected, atol=2e-6)
        if side[0] == 0:
            np.testing.assert_allclose(moved, answers, atol=2e-6)


def test_an_mpnet_of_the_library_answers_as_it_where_rows_are_padded(tmp_path):
    """As all-mpnet-base-v2: the mean, normalized. Positions follow the padding token, a bias their distances."""
    body = draw_architecture(tmp_path / "body", "mpnet", "feature-extraction")
    transformer = Transformer(str(body), max_seq_length=24)
    library = SentenceTransformer(modules=[transformer, Pooling(WIDTH, "mean"), Normalize()], device="cpu")
    library.save(str(tmp_path / "saved"))
    model = export_model(ModelSpec(model=str(tmp_path / "saved")), Workspace(tmp_path / "build")).artifact
    assert (model.architecture, model.task) == ("mpnet", "sentence-embedding")
    assert [spec.name for spec in model.model_inputs] == ["input_ids", "attention_mask"]
    answers, feeds, _ = embed(model, library, TEXTS)
    assert (feeds["input_ids"] == library.tokenizer.pad_token_id).any()
    np.testing.assert_allclose(answers, library.encode(TEXTS), atol=2e-6)


@pytest.mark.parametrize("name", ["joined", "projected", "cut", "asked"])
def test_torch_answers_as_the_library_where_it_is_not_installed(libraries, name, monkeypatch):
    root, installed = libraries
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    body, own = (kind.from_pretrained(root / "body") for kind in (BertModel, AutoTokenizer))
    without = find_embedder(body.eval(), own, root / name, 48, positions=48)
    assert without.name.startswith("torch ")
    assert without.prompt_names == tuple(PROMPTS.get(name, ()))
    for prompt in ("", *without.prompt_names):
        with torch.inference_mode():
            vectors = [without.embed(text, prompt)[2] for text in TEXTS]
        expected = [installed[name].encode(text, prompt_name=prompt or None) for text in TEXTS]
        np.testing.assert_allclose(vectors, expected, atol=2e-6)


def test_sums_over_tokens_and_squares_are_fp32_in_an_fp16_graph_and_products_are_not(exported, libraries):
    workspace, models = exported
    for name, products in (("joined", 0), ("projected", 2)):
        converted = convert_to_fp16(models[name], workspace).artifact
        assert converted.overflow is None
        answers = embed(models[name], libraries[1][name], TEXTS, converted.path("model.onnx"))[0]
        np.testing.assert_allclose(answers, libraries[1][name].encode(TEXTS), atol=5e-3)
        graph = onnx.shape_inference.infer_shapes(onnx.load(converted.path("model.onnx"))).graph
        types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.output)}
        sums = [node for node in graph.node if node.name.startswith(("sentence.pooling/", "sentence.normalize_"))]
        assert {"ReduceSum", "Div"} <= {node.op_type for node in sums}
        assert TensorProto.FLOAT16 not in {types[node.output[0]] for node in sums}
        dense = [node for node in graph.node if node.name.startswith("sentence.dense_") and node.op_type == "Gemm"]
        assert [types[node.output[0]] for node in dense] == [TensorProto.FLOAT16] * products


def test_int8_is_the_encoders_alone_and_its_gate_is_of_the_embedding(exported, tmp_path):
    workspace, models = exported
    model = models["projected"]
    (tmp_path / "texts.txt").write_text("\n".join(random_texts(100, 0)))
    spec = QuantizationSpec(calibration=CalibrationSpec(path=str(tmp_path / "texts.txt"), samples=32))
    for convert in (quantize_to_int8, quantize_for_openvino):
        artifact = convert(model, spec, workspace).artifact
        assert artifact.fidelity is not None
        assert artifact.fidelity.mean_cosine > 0.99
        graph = onnx.load(artifact.path("model.onnx")).graph
        dense = [node.op_type for node in graph.node if node.name.startswith("sentence.dense_")]
        assert [kind for kind in dense if kind in ("Gemm", "MatMul", "DequantizeLinear")] == ["Gemm", "Gemm"]


def random_texts(count, seed):
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(VOCABULARY[5:31], size=draw.integers(1, 30))) for _ in range(count)]


def write_queries(path):
    texts = random_texts(60, 3)
    rows = [
        {"query": query, "documents": texts[at::10], "relevance": [0, 3, 1, 0, 0, 2]}
        for at, query in enumerate(random_texts(10, 4))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("name", ["joined", "cut", "asked"])
def test_a_gate_on_ranking_scores_what_the_library_embeds(exported, libraries, tmp_path, name):
    model, library = exported[1][name], libraries[1][name]
    graph = model.path("model.onnx")
    scores = [*range(30)]
    left, right = random_texts(30, 1), random_texts(30, 2)
    pairs = [{"text": a, "text_pair": b, "score": score} for a, b, score in zip(left, right, scores, strict=True)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    record = measure_accuracy(graph, make_broken(graph, tmp_path / "broken.onnx"), model, tmp_path / "pairs.jsonl")
    cosines = paired_cosines(library.encode(left), library.encode(right)).diagonal()
    assert record.metric == "Spearman correlation"
    assert record.reference == pytest.approx(100 * spearman(cosines.tolist(), scores), abs=0.1)
    assert abs(record.converted - record.reference) > 1

    path = write_queries(tmp_path / "queries.jsonl")
    record = measure_accuracy(graph, graph, model, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    points = []
    for row in rows:
        query, documents = library.encode_query([row["query"]]), library.encode_document(row["documents"])
        points.append(100 * ndcg(paired_cosines(query, documents)[0].tolist(), row["relevance"]))
    assert (record.metric, record.rows, record.converted) == ("nDCG@10", 10, record.reference)
    assert record.reference == pytest.approx(np.mean(points), abs=0.01)


def paired_cosines(left, right):
    return (left / np.linalg.norm(left, axis=1, keepdims=True)) @ (
        right / np.linalg.norm(right, axis=1, keepdims=True)
    ).T


@pytest.fixture(scope="module")
def repository(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    gate = GateSpec(eval_data=str(write_queries(folder.parent / "queries.jsonl")), max_accuracy_drop=5.0)
    half = put_in_precision(
        exported[1]["joined"], ConversionSpec(runtime="onnxruntime", precision="fp16", gate=gate), exported[0]
    ).artifact
    assemble_entry(half, [], ServingSpec(threads=1, max_batch_size=4), folder, name="half")
    for name in ("projected", "cut", "joined", "asked"):
        serving = ServingSpec(threads=1, max_batch_size=4, padding="longest" if name == "cut" else "buckets")
        entry = assemble_entry(exported[1][name], [], serving, folder, name=name).artifact
        parts = assemble_text_entries(entry, TextSpec(), folder)
        assert [part.artifact.kind for part in parts] == ["tokenizer", "ensemble"]
    return folder


def column(*texts):
    return np.array([[text.encode()] for text in texts], np.object_)


@pytest.fixture(scope="module")
def server(repository):
    with run_triton(str(repository)) as running:
        running.check_loaded()
        yield running


@pytest.fixture(scope="module")
def client(server):
    with TritonClient(server.grpc_url, timeout_s=60) as connection:
        yield connection


def test_the_ensembles_output_is_the_graphs_and_the_librarys(client, libraries):
    for name in ("projected", "cut", "joined", "asked"):
        answer = client.infer(f"{name}-text", {"TEXT": column(*TEXTS)}, ["EMBEDDING"])[0]["EMBEDDING"]
        np.testing.assert_allclose(answer, libraries[1][name].encode(TEXTS), atol=2e-6)


@pytest.mark.parametrize("name", ["cut", "joined"])
def test_a_request_names_a_prompt_for_each_of_its_texts(client, libraries, name):
    """Of a batch each text has its own; requests with and without names are answered side by side."""
    library = libraries[1][name]
    names = ["query", *PROMPTS[name], ""][: len(TEXTS)]
    expected = [library.encode(text, prompt_name=prompt or None) for text, prompt in zip(TEXTS, names, strict=True)]
    batch = {"TEXT": column(*TEXTS), "PROMPT_NAME": column(*names)}
    answer = client.infer(f"{name}-text", batch, ["EMBEDDING"])[0]["EMBEDDING"]
    np.testing.assert_allclose(answer, expected, atol=2e-6)
    single = [
        {"TEXT": column(text), **({"PROMPT_NAME": column(prompt)} if prompt else {})}
        for text, prompt in zip(TEXTS, names, strict=True)
    ]
    answers = client.infer_at_once(f"{name}-text", single * 3, ["EMBEDDING"])
    vectors = np.concatenate([answer["EMBEDDING"] for answer in answers])
    np.testing.assert_allclose(vectors, [*expected] * 3, atol=2e-6)
    assert np.abs(expected[0] - library.encode(TEXTS[0], prompt_name="document")).max() > 0.01


def test_a_prompt_that_is_not_there_or_not_for_each_text_is_refused(client):
    with pytest.raises(RefusedRequestError, match="row 1 of PROMPT_NAME is 'topic', and the model's prompts are doc"):
        names = column("query", "topic")
        client.infer("joined-text", {"TEXT": column("a", "the"), "PROMPT_NAME": names}, ["EMBEDDING"])
    # The server's own rule: every input of a batch has as many rows.
    with pytest.raises(RefusedRequestError, match="batch size does not match other inputs"):
        client.infer("joined-text", {"TEXT": column("a", "the"), "PROMPT_NAME": column("query")}, ["EMBEDDING"])
    with pytest.raises(RefusedRequestError, match="PROMPT_NAME"):
        client.infer("projected-text", {"TEXT": column("a"), "PROMPT_NAME": column("query")}, ["EMBEDDING"])


def test_the_commands_reach_a_server_of_embeddings(server, libraries, repository, tmp_path):
    """`prep client` with and without a prompt, what it refuses, and `prep bench`, which sends no name."""
    prep, at = Prep(tmp_path), ("--server", server.grpc_url)
    for prompt in (None, "passage"):
        flags = ("--prompt-name", prompt) if prompt else ()
        (answer,) = prep.succeed("client", TEXTS[0], *at, "--model", "joined-text", *flags)["answers"]
        assert (answer["prompt_name"], [step["model"] for step in answer["steps"]]) == (
            prompt,
            ["joined-tokenizer", "joined"],
        )
        expected = libraries[1]["joined"].encode(TEXTS[0], prompt_name=prompt)
        np.testing.assert_allclose(answer["answer"]["embedding"], expected, atol=2e-6)
    error = prep.fail("client", "a", *at, "--model", "joined-text", "--prompt-name", "topic", code=1)
    assert error["message"].endswith("'topic', and the model's prompts are document, passage, query")
    assert error["hint"] == "write the name of one of them after --prompt-name"
    error = prep.fail("client", "a", *at, "--model", "projected-text", "--prompt-name", "query", code=2)
    assert error["message"] == "projected-text has no input PROMPT_NAME: its checkpoint declares no prompts"
    snippet = prep.succeed("client", "a", *at, "--model", "cut-text", "--prompt-name", "query", "--snippet", "python")
    done = subprocess.run([sys.executable, "-c", snippet["code"]], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("EMBEDDING [")
    load = ("--concurrency", "4", "--repeats", "2", "--duration-s", "0.3", "--warmup-s", "0.1")
    run = prep.succeed("bench", repository, *at, "--entry", "joined-text", "--entry", "joined", *load)
    assert [point["errors"] for point in run["points"]] == [0, 0]
    assert all(point["requests"] for point in run["points"])
    text, ids = run["conditions"]["entries"]
    assert (text["input_kind"], ids["input_kind"]) == ("text", "ids")


def test_verify_finds_them_right_and_compares_with_the_library(repository):
    report = verify_repository(repository, VerifySpec())
    assert {entry.name: entry.detail for entry in report.entries if entry.status != "loaded"} == {}
    ranked = next(entry.accuracy for entry in report.entries if entry.name == "half")
    assert ranked is not None and ranked.metric == "nDCG@10" and 40 < ranked.converted < 100
    texts = {entry.name: entry.library_texts for entry in report.entries if entry.name.endswith("-text")}
    assert texts["cut-text"] == texts["asked-text"] == texts["projected-text"] + 2
    assert texts["joined-text"] == texts["projected-text"] + 3


def test_a_dense_module_that_does_not_fit_is_refused_by_its_name(libraries, tmp_path):
    folder = tmp_path / "model"
    libraries[1]["projected"].save(str(folder))
    config = folder / "2_Dense" / "config.json"
    content = config.read_text()
    for old, new, message in (
        ('"in_features": 64', '"in_features": 65', "2_Dense of .* takes vectors of 65 values, and what .* gives 64"),
        ('"bias": true', '"bias": false', "weights of 2_Dense of .* linear.bias 24, linear.weight 24x64; its config"),
    ):
        assert old in content
        config.write_text(content.replace(old, new))
        with pytest.raises(SourceError, match=message):
            export_model(ModelSpec(model=str(folder)), Workspace(tmp_path / "build"))


def write_foreign(model, path, *, with_tokens=False):
    """Write an export as optimum does for sentence-transformers: `sentence_embedding`, perhaps token vectors too."""
    proto = onnx.load(model.path("model.onnx"))
    for node in proto.graph.node:
        node.output[:] = ["sentence_embedding" if name == "embedding" else name for name in node.output]
        node.input[:] = ["sentence_embedding" if name == "embedding" else name for name in node.input]
    proto.graph.output[0].name = "sentence_embedding"
    if with_tokens:
        hidden = next(node for node in reversed(proto.graph.node) if node.op_type == "LayerNormalization").output[0]
        tokens = onnx.helper.make_tensor_value_info(hidden, TensorProto.FLOAT, ["batch", "sequence", WIDTH])
        proto.graph.output.insert(0, tokens)
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("with_tokens", [False, True])
def test_a_graph_of_another_tool_that_answers_sentence_embedding_is_one(libraries, exported, tmp_path, with_tokens):
    root, model = libraries[0], exported[1]["projected"]
    graph = write_foreign(model, tmp_path / "theirs.onnx", with_tokens=with_tokens)
    spec = ModelSpec(model=str(graph), checkpoint=str(root / "projected"))
    imported = export(spec, Workspace(tmp_path / "build")).artifact
    assert (imported.task, imported.reference) == ("sentence-embedding", "pytorch")
    assert imported.parity.max_abs_error < 1e-5
    assert imported.embedding == model.embedding
    np.testing.assert_allclose(
        embed(imported, libraries[1]["projected"], TEXTS)[0], libraries[1]["projected"].encode(TEXTS), atol=2e-6
    )


def test_of_a_foreign_graph_other_modules_and_prompts_that_are_left_out_are_refused(libraries, exported, tmp_path):
    root, model = libraries[0], exported[1]["projected"]
    graph = write_foreign(model, tmp_path / "theirs.onnx")
    workspace = Workspace(tmp_path / "build")
    # Another model's modules: a vector of another width.
    with pytest.raises(ParityError, match=r"'embedding' of the graph is .* 16\], expected .* 12\]"):
        export(ModelSpec(model=str(graph), checkpoint=str(root / "cut")), workspace)
    with pytest.raises(
        SourceError, match=r"leaves prompts out \(include_prompt is false\), and a graph of another"
    ) as told:
        export(ModelSpec(model=str(graph), checkpoint=str(root / "joined")), workspace)
    assert told.value.hint == f"export the checkpoint itself: prep export {root / 'joined'}"
