import json

import pytest
from prep_triton.artifact import EmbeddingRecord
from prep_triton.errors import SourceError
from prep_triton.export.sentence_modules import DenseModule, SentenceModules, find_embedding, read_modules
from prep_triton.export.sentence_transformers import list_declaring_files

from tests.unit.export.test_sentence_transformers import declare

DENSE = {"in_features": 32, "out_features": 8}


def declare_dense(folder, **changes):
    declare(folder, "Transformer", "Pooling", "Dense", "Normalize", prompts={"truncate_dim": 4})
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps({**DENSE, **changes}))
    return folder


def test_modules_are_read_in_their_order_with_the_librarys_defaults(tmp_path):
    modules = read_modules(declare_dense(tmp_path), where="it")
    dense = DenseModule(tmp_path / "2_Dense", 32, 8, has_bias=True, activation="Tanh")
    assert modules == SentenceModules(("mean",), (dense, None), dimension=4)
    assert modules.record() == EmbeddingRecord(is_normalized=False, dense=(8,), dimension=4)


def test_without_modules_it_is_the_normalized_mean(tmp_path):
    assert read_modules(None, where="it").record() == EmbeddingRecord()
    assert read_modules(tmp_path, where="it").record().is_normalized


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "mine.Swish"}, "declares the activation_function 'mine.Swish'; supported are those"),
        ({"activation_function": "torch.nn.modules.activation.MultiheadAttention"}, "MultiheadAttention'; supported"),
        ({"out_features": None}, r"in_features and out_features \[32, None\], expected two whole numbers"),
        ({"use_residual": True}, "declares use_residual, which prep does not serve"),
        ({"module_input_name": "token_embeddings"}, "declares 'token_embeddings' as what it reads or writes"),
    ],
)
def test_a_dense_module_that_is_not_served_is_named(tmp_path, changes, message):
    with pytest.raises(
        SourceError, match=f"the Dense module 2_Dense of it declares .*{message.split('declares ')[-1]}"
    ):
        read_modules(declare_dense(tmp_path, **changes), where="it")


@pytest.mark.parametrize(
    ("kinds", "changes", "declared"),
    [
        (("Pooling", "Normalize", "Normalize"), {}, "several Normalize modules"),
        (("Pooling",), {"prompts": {"truncate_dim": 16}}, r"vectors cut to their first 16 values \(truncate_dim\)"),
        (("Pooling",), {"pooling": {"pooling_mode": "lasttoken"}}, "the pooling lasttoken"),
        (
            ("Pooling",),
            {"pooling": {"include_prompt": False}, "prompts": {"prompts": {"query": "q: "}}},
            r"prompts that its pooling leaves out \(include_prompt is false\)",
        ),
        (("Pooling",), {"pooling": {"pooling_mode_weightedmean_tokens": True}}, "the pooling weightedmean"),
    ],
)
def test_what_a_post_processor_does_not_compute_leads_to_the_graph_that_does(tmp_path, kinds, changes, declared):
    folder = declare(tmp_path, "Transformer", *kinds, **changes)
    with pytest.raises(SourceError, match=f"it declares {declared}, and the post-processor") as caught:
        find_embedding(folder, where="it")
    assert "--task sentence-embedding" in caught.value.hint
    assert read_modules(folder, where="it")


def test_a_dense_module_for_a_post_processor_leads_to_the_graph_too(tmp_path):
    with pytest.raises(SourceError, match="it declares a Dense module") as caught:
        find_embedding(declare_dense(tmp_path), where="it")
    assert "--task sentence-embedding" in caught.value.hint


def test_the_weights_of_a_module_decide_the_export(tmp_path):
    folder = declare_dense(tmp_path)
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"weights")
    assert {folder / "2_Dense" / name for name in ("config.json", "model.safetensors")} <= {
        *list_declaring_files(folder)
    }
