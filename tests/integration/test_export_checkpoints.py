"""However a checkpoint was stored, the graph answers as transformers does with the weights it was stored from."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from prep_triton.errors import SourceError
from prep_triton.export.onnx import export_model
from prep_triton.layout import REFERENCE_NAME
from prep_triton.reference import load_reference
from prep_triton.spec import ModelSpec
from prep_triton.workspace import Workspace
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

pytestmark = pytest.mark.integration

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
# How transformers runs or stores a model: none of it is the graph's business.
RUNTIME_KEYS = {
    "return_dict": False,
    "output_attentions": True,
    "output_hidden_states": True,
    "torchscript": True,
    "use_cache": True,
    "gradient_checkpointing": True,
    "chunk_size_feed_forward": 3,
    "torch_dtype": "float16",
    "_attn_implementation": "flash_attention_2",
    "is_encoder_decoder": False,
    "transformers_version": "2.1.1",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[Path, BertForSequenceClassification]:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.4,
    )
    model = BertForSequenceClassification(config).eval()
    folder = tmp_path_factory.mktemp("checkpoint") / "classifier"
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return folder, model


def stored_otherwise(source: Path, folder: Path, change: Callable[[Path, dict[str, torch.Tensor]], None]) -> Path:
    """Copy a checkpoint without its weights, which `change` stores in its own way."""
    folder.mkdir()
    for name in ("config.json", "vocab.txt"):
        (folder / name).write_bytes((source / name).read_bytes())
    change(folder, load_file(source / "model.safetensors"))
    return folder


def change_config(folder: Path, **keys) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **keys}))


def as_old_shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """As of 2019: two pickles, TensorFlow's names of a LayerNorm, and DataParallel's prefix."""
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in tensors.items()}
    old = {f"module.{name.replace('LayerNorm.bias', 'LayerNorm.beta')}": tensor for name, tensor in old.items()}
    names = sorted(old)
    shards = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for shard, members in shards.items():
        torch.save({name: old[name] for name in members}, folder / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))


def as_run_in_half(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """As a fine-tuning run left it: its own run-time choices in config.json."""
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    change_config(folder, **RUNTIME_KEYS)


@pytest.mark.parametrize("change", [as_old_shards, as_run_in_half])
def test_answers_are_those_of_the_stored_model(checkpoint, tmp_path, change):
    source, model = checkpoint
    folder = stored_otherwise(source, tmp_path / "stored", change)
    artifact = export_model(ModelSpec(model=str(folder)), Workspace(tmp_path / "build")).artifact
    assert artifact.task == "text-classification"
    reference = load_reference(
        artifact.path(REFERENCE_NAME), [tensor.name for tensor in artifact.model_inputs], ["logits"]
    )
    with torch.inference_mode():
        expected = model(**{name: torch.from_numpy(array) for name, array in reference.inputs.items()}).logits
    np.testing.assert_allclose(reference.outputs["logits"], expected.numpy(), atol=2e-5)


@pytest.mark.parametrize(
    ("extra", "keys", "message"),
    [
        (
            {},
            {"num_hidden_layers": 1},
            "with num_hidden_layers 1, has no place for 16 of its weights: bert.encoder.layer.1",
        ),
        ({"bert.encoder.layer.0.adapter.down.weight": torch.ones(2, 2)}, {}, "no place for 1 of its weights"),
        ({"crf.transitions": torch.ones(2, 2)}, {}, "no place for 1 of its weights: crf.transitions"),
        ({"classifier.0.weight": torch.ones(2, 2)}, {}, "no place for 1 of its weights: classifier.0.weight"),
        ({}, {"architectures": ["BertForQuestionAnswering"], "num_labels": 3, "id2label": None}, "declares 3 labels"),
        ({}, {"hidden_act": "gelo"}, "has hidden_act 'gelo', which transformers does not know"),
    ],
)
def test_weights_without_a_place_are_refused(checkpoint, tmp_path, extra, keys, message):
    def change(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        save_file({**tensors, **extra}, folder / "model.safetensors", metadata={"format": "pt"})
        change_config(folder, **keys)

    folder = stored_otherwise(checkpoint[0], tmp_path / "stored", change)
    with pytest.raises(SourceError) as caught:
        export_model(ModelSpec(model=str(folder)), Workspace(tmp_path / "build"))
    assert message in caught.value.message


def test_harmless_left_overs_are_not_refused(checkpoint, tmp_path):
    """Another head, the pooler, and the buffers that transformers stored before version 4.31."""

    def change(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        buffers = {"bert.embeddings.position_ids": torch.arange(64)[None], "cls.seq_relationship.bias": torch.ones(2)}
        buffers["loss_fct.weight"] = torch.ones(2)
        save_file({**tensors, **buffers}, folder / "model.safetensors", metadata={"format": "pt"})

    folder = stored_otherwise(checkpoint[0], tmp_path / "stored", change)
    spec = ModelSpec(model=str(folder), task="feature-extraction")
    assert export_model(spec, Workspace(tmp_path / "build")).artifact.task == "feature-extraction"
