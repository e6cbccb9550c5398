import pytest
from prep_triton.artifact import EmbeddingRecord
from prep_triton.errors import SourceError
from prep_triton.export.heads import (
    class_name,
    input_specs,
    output_specs,
    resolve_task,
    warn_of_head,
    warn_of_model_type,
)
from prep_triton.tasks import TASKS


class Config:
    vocab_size = 100
    hidden_size = 32
    num_labels = 3
    id2label = {2: "c", 0: "a", 1: "b"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForMaskedLM", "fill-mask"),
        ("BertForPreTraining", "fill-mask"),
        ("DistilBertForMaskedLM", "fill-mask"),
        ("BertForQuestionAnswering", "question-answering"),
        ("DistilBertForSequenceClassification", "text-classification"),
        ("BertForTokenClassification", "token-classification"),
        ("BertModel", "feature-extraction"),
        ("DistilBertModel", "feature-extraction"),
        ("MPNetForMaskedLM", "fill-mask"),
        ("ElectraForMaskedLM", "fill-mask"),
        ("ElectraModel", "feature-extraction"),
    ],
)
def test_auto_is_the_head_of_the_checkpoint(architecture, task):
    assert resolve_task("auto", {"architectures": [architecture]}, where="it") == task


@pytest.mark.parametrize("named", [None, [], ["BertForNextSentencePrediction"], ["AlbertModel"], "BertModel", [7]])
def test_auto_without_a_known_head_asks_for_a_task(named):
    with pytest.raises(SourceError, match="--task auto cannot tell") as caught:
        resolve_task("auto", {"architectures": named}, where="it")
    assert "--task fill-mask|question-answering" in caught.value.hint


def test_a_discriminator_is_not_taken_for_what_its_class_is_called_after():
    config = {"architectures": ["ElectraForPreTraining"]}
    with pytest.raises(SourceError, match="saved as ElectraForPreTraining, a discriminator") as caught:
        resolve_task("auto", config, where="it")
    assert "--task feature-extraction" in caught.value.hint
    assert resolve_task("feature-extraction", config, where="it") == "feature-extraction"


def test_trained_weights_exported_without_their_head_are_told(caplog: pytest.LogCaptureFixture):
    config = {"architectures": ["BertForSequenceClassification"]}
    warn_of_head("text-classification", config, where="it")
    warn_of_head("fill-mask", {}, where="it")
    warn_of_head("sentence-embedding", {"architectures": ["BertModel"]}, where="it")
    assert not caplog.records
    warn_of_head("feature-extraction", config, where="it")
    assert "it was saved for text-classification (BertForSequenceClassification) and is exported for" in caplog.text


def test_a_class_of_another_architecture_than_the_model_type_is_told(caplog: pytest.LogCaptureFixture):
    warn_of_model_type({"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}, where="it")
    warn_of_model_type({"model_type": "bert", "architectures": ["OurOwnEncoder"]}, where="it")
    assert not caplog.records
    warn_of_model_type({"model_type": "roberta", "architectures": ["BertModel"]}, where="it")
    assert "has the model_type roberta and was saved as BertModel: it is exported as RoBERTa" in caplog.text
    assert "write bert there" in caplog.text


def test_requested_task_is_kept():
    assert resolve_task("fill-mask", {}, where="it") == "fill-mask"


def test_transformers_has_every_class():
    import transformers

    for architecture in ("bert", "distilbert"):
        for task in TASKS:
            assert hasattr(transformers, class_name(architecture, task))


def test_interface_is_int64_in_and_fp32_out():
    assert [spec.name for spec in input_specs("bert")] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [spec.name for spec in input_specs("distilbert")] == ["input_ids", "attention_mask"]
    assert {(spec.dtype, spec.shape) for spec in input_specs("bert")} == {("INT64", ("batch", "sequence"))}
    shapes = {task: [(spec.name, spec.shape) for spec in output_specs(task, Config)] for task in TASKS}
    assert shapes == {
        "fill-mask": [("logits", ("batch", "sequence", 100))],
        "question-answering": [("start_logits", ("batch", "sequence")), ("end_logits", ("batch", "sequence"))],
        "text-classification": [("logits", ("batch", 3))],
        "text-pair-classification": [("logits", ("batch", 3))],
        "token-classification": [("logits", ("batch", "sequence", 3))],
        "feature-extraction": [("last_hidden_state", ("batch", "sequence", 32))],
        "sentence-embedding": [("embedding", ("batch", 32))],
    }


@pytest.mark.parametrize(
    ("fields", "width"),
    [({"pooling": ("cls", "max")}, 64), ({"dense": (48, 8)}, 8), ({"dimension": 12}, 12), ({"dimension": 99}, 32)],
)
def test_an_embedding_is_as_wide_as_its_modules_make_it(fields, width):
    (spec,) = output_specs("sentence-embedding", Config, EmbeddingRecord(**fields))
    assert spec.shape == ("batch", width)


def test_a_folder_of_sentence_transformers_is_an_embedder_whatever_its_class(tmp_path):
    (tmp_path / "modules.json").write_text("[]")
    config = {"architectures": ["BertForMaskedLM"]}
    assert resolve_task("auto", config, where="it", folder=tmp_path) == "sentence-embedding"
    assert resolve_task("feature-extraction", config, where="it", folder=tmp_path) == "feature-extraction"
    for kind in ("CrossEncoder", "SparseEncoder"):
        (tmp_path / "config_sentence_transformers.json").write_text(f'{{"model_type": "{kind}"}}')
        assert resolve_task("auto", config, where="it", folder=tmp_path) == "fill-mask"


def test_a_model_with_one_token_type_takes_none():
    assert [spec.name for spec in input_specs("bert", token_types=1)] == ["input_ids", "attention_mask"]
