"""A cross-encoder of sentence-transformers is known, and scores, by what its files declare."""

import json

import pytest
from prep_triton.errors import SourceError
from prep_triton.export.cross_encoders import check_cross_encoder, find_pair_activation, is_cross_encoder
from prep_triton.export.heads import resolve_task

IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"
CLASSIFIER = {"architectures": ["BertForSequenceClassification"]}


def test_cross_encoder_is_known_by_what_its_library_writes():
    assert is_cross_encoder({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}})
    assert is_cross_encoder({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"})
    assert not is_cross_encoder({"num_labels": 1})


def test_cross_encoder_of_version_6_is_known_by_its_own_file(tmp_path):
    (tmp_path / "modules.json").write_text("[]")
    settings = tmp_path / "config_sentence_transformers.json"
    settings.write_text('{"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}')
    assert is_cross_encoder({"num_labels": 1}, tmp_path)
    settings.write_text('{"model_type": "SentenceTransformer"}')
    assert not is_cross_encoder({"num_labels": 1}, tmp_path)


@pytest.mark.parametrize(
    ("config", "count", "activation"),
    [
        ({"sbert_ce_default_activation_function": IDENTITY}, 1, "none"),
        ({"sbert_ce_default_activation_function": None}, 1, "sigmoid"),
        ({"sbert_ce_default_activation_function": None}, 3, "none"),
        ({"sentence_transformers": {"activation_fn": SIGMOID, "version": "4.1.0"}}, 2, "sigmoid"),
        (
            {"sentence_transformers": {"activation_fn": IDENTITY}, "sbert_ce_default_activation_function": SIGMOID},
            1,
            "none",
        ),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Softmax"}}, 3, "softmax"),
        ({"sentence_transformers": {"activation_fn": "somebody.elses.Sigmoid"}}, 3, "none"),
        ({"sentence_transformers": {"version": "4.1.0"}}, 1, "sigmoid"),
    ],
)
def test_scores_are_made_as_declared_or_by_the_number_of_labels(config, count, activation):
    assert find_pair_activation(config, None, count, where="it") == activation


def write_cross_encoder(folder, modules=("Transformer",), **settings):
    types = [{"type": f"sentence_transformers.base.modules.{name}", "path": ""} for name in modules]
    (folder / "modules.json").write_text(json.dumps(types))
    content = {"model_type": "CrossEncoder", "activation_fn": IDENTITY, **settings}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(content))


def test_the_file_of_version_6_wins_over_the_configuration(tmp_path):
    write_cross_encoder(tmp_path)
    config = {"sentence_transformers": {"activation_fn": SIGMOID}}
    assert find_pair_activation(config, tmp_path, 1, where="it") == "none"


def test_an_activation_that_is_not_served_is_refused():
    config = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}
    with pytest.raises(SourceError, match=r"makes scores with torch.*Tanh, and prep serves Identity, Sigmoid, Softmax"):
        find_pair_activation(config, None, 1, where="it")


def test_a_cross_encoder_of_other_modules_or_with_a_prompt_is_refused(tmp_path):
    check_cross_encoder(None, where="it")
    write_cross_encoder(tmp_path)
    check_cross_encoder(tmp_path, where="it")
    write_cross_encoder(tmp_path, ("Transformer", "LogitScore"))
    with pytest.raises(SourceError, match="declares Transformer, LogitScore, and prep exports"):
        check_cross_encoder(tmp_path, where="it")
    write_cross_encoder(tmp_path, prompts={"rank": "rank: "}, default_prompt_name="rank")
    with pytest.raises(SourceError, match="puts the prompt 'rank' before its texts"):
        check_cross_encoder(tmp_path, where="it")


def test_auto_takes_pairs_for_a_cross_encoder_with_a_classifiers_head(tmp_path):
    config = {**CLASSIFIER, "sbert_ce_default_activation_function": IDENTITY}
    assert resolve_task("auto", config, where="it") == "text-pair-classification"
    assert resolve_task("auto", CLASSIFIER, where="it") == "text-classification"
    assert resolve_task("text-classification", config, where="it") == "text-classification"
    write_cross_encoder(tmp_path)
    assert resolve_task("auto", CLASSIFIER, where="it", folder=tmp_path) == "text-pair-classification"
