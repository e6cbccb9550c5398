"""Every head of every architecture: from a checkpoint's folder to a graph that answers as PyTorch does."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from prep_triton.errors import SourceError
from prep_triton.export import graph
from prep_triton.export.checkpoint import load_model
from prep_triton.export.layers import LayersDifferError, repeat_layers
from prep_triton.export.source import resolve_source
from prep_triton.reference import load_tokenizer
from prep_triton.spec import ModelSpec
from transformers import AutoTokenizer, ElectraConfig, ElectraForPreTraining

from tests.fakes.architectures import TINY, draw_architecture, list_heads

pytestmark = pytest.mark.integration

# transformers' own mask of -3.4e38 lies beyond it.
_LARGEST_FP16 = 65504.0


@pytest.mark.parametrize(("architecture", "task"), list_heads())
def test_every_head_answers_as_pytorch_from_a_graph_without_what_fp16_cannot_hold(tiny_exports, architecture, task):
    model = tiny_exports.export(architecture, task)
    assert (model.architecture, model.task) == (architecture, task)
    assert model.parity is not None
    assert model.parity.max_abs_error < 1e-4
    assert model.parity.mean_cosine > 0.999999
    content = onnx.load(model.path("model.onnx"))
    onnx.checker.check_model(content, full_check=True)
    numbers = [numpy_helper.to_array(tensor) for tensor in content.graph.initializer]
    assert max(np.abs(array).max() for array in numbers if array.dtype == np.float32) < _LARGEST_FP16
    operators = Counter(node.op_type for node in content.graph.node)
    assert not operators.keys() & {"If", "Loop", "IsNaN", "Identity", "Dropout", "GatherElements"}


# The layers of the others are BERT's, whose repetition tests/integration/test_export_onnx.py has.
@pytest.mark.parametrize("architecture", ["mpnet", "modernbert"])
def test_two_layers_are_traced_and_repeated_or_all_where_they_differ(tmp_path, monkeypatch, architecture):
    row = TINY[architecture]
    folder = draw_architecture(tmp_path / "tiny", architecture, row.tasks[0], num_hidden_layers=row.repeated_at)
    source = resolve_source(ModelSpec(model=str(folder)))
    model = load_model(source, source.folder, 0)
    calls = []

    def differ(*_, **__) -> None:
        raise LayersDifferError("not these")

    def repeat(*arguments, **options) -> None:
        repeat_layers(*arguments, **options)
        calls.append(arguments)

    monkeypatch.setattr(graph, "repeat_layers", repeat)
    exported = graph.export_graph(model, architecture, source.task)
    assert bool(calls) == row.repeats_layers
    monkeypatch.setattr(graph, "repeat_layers", differ)
    traced = graph.export_graph(model, architecture, source.task)
    assert exported.skeleton.SerializeToString(deterministic=True) == traced.skeleton.SerializeToString(
        deterministic=True
    )
    assert dict(exported.weights) == dict(traced.weights)


@pytest.mark.parametrize("architecture", TINY)
def test_the_tokenizer_is_the_librarys(tiny_exports, architecture):
    task = TINY[architecture].tasks[0]
    written = load_tokenizer(tiny_exports.export(architecture, task).path("tokenizer.json"))
    library = AutoTokenizer.from_pretrained(tiny_exports.folder(architecture, task))
    texts = (
        "Ada Lovelace wrote it, in <mask>.",
        "It is [MASK] here .",
        "\uff21 \ufb01ne day\u3000here",
        "It costs 3.50 EUR",
    )
    for text in texts:
        assert written.encode(text).ids == library(text)["input_ids"]
        assert len(written.encode(text).ids) > 4


def test_of_a_discriminator_the_body_is_exported_and_never_taken_for_a_generator(tmp_path):
    folder = draw_architecture(tmp_path / "electra", "electra", "feature-extraction")
    saved = ElectraForPreTraining(ElectraConfig.from_pretrained(folder))
    saved.save_pretrained(folder)
    with pytest.raises(SourceError, match="ElectraForPreTraining, a discriminator"):
        resolve_source(ModelSpec(model=str(folder)))
    body = resolve_source(ModelSpec(model=str(folder), task="feature-extraction"))
    loaded = load_model(body, folder, 0).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.electra.state_dict().items())
    generator = resolve_source(ModelSpec(model=str(folder), task="fill-mask"))
    with pytest.raises(SourceError, match="generator_lm_head"):
        load_model(generator, folder, 0)
