"""The tokenizer, post-processor and ensemble of a model entry, against the model entry."""

import pytest
from prep_triton.artifact import EmbeddingRecord
from prep_triton.spec import ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.lint import lint_repository

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_engine, make_model
from tests.fakes.lint_helpers import codes, edit_config, only, save_manifest_again


@pytest.fixture
def text_entries(tmp_path, repository):
    serving = ServingSpec(length_buckets=(8, 16))
    entry = assemble_entry(make_model(tmp_path / "model"), (), serving, repository, name="bert").artifact
    assemble_text_entries(entry, TextSpec(), repository)
    return entry


def test_text_parts_of_an_earlier_model_entry_are_stale(text_entries, repository, tmp_path):
    assert codes(lint_repository(repository), "error") == set()
    assemble_entry(make_model(tmp_path / "model"), (), ServingSpec(length_buckets=(8,)), repository, name="bert")
    findings = [finding for finding in lint_repository(repository).errors if finding.code == "text-stale"]
    parts = ("postprocessor", "text", "tokenizer")
    assert [finding.path for finding in findings] == [f"bert-{part}/manifest.json" for part in parts]
    assert {finding.hint for finding in findings} == {"assemble bert again with --text"}


def test_a_post_processor_that_the_models_new_task_does_not_have_is_to_be_removed(text_entries, repository, tmp_path):
    model = make_model(tmp_path / "model").model_copy(update={"task": "sentence-embedding"})
    assemble_entry(model, (), ServingSpec(length_buckets=(8,)), repository, name="bert")
    hints = {finding.path: finding.hint for finding in lint_repository(repository).errors}
    removal = f"remove it, since sentence-embedding has no post-processor: rm -r {repository / 'bert-postprocessor'}"
    assert hints["bert-postprocessor/manifest.json"] == removal
    assert hints["bert-tokenizer/manifest.json"] == "assemble bert again with --text"


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ("8,32", None),  # the model takes up to 32
        ("a,b", "length_buckets is 'a,b', which the tokenizer cannot use"),
        ("", "length_buckets is '', which"),
        ("16,8", "length_buckets is '16,8', which"),
        ("0,8", "length_buckets is '0,8', which"),
        ("8,33", "length bucket 33 exceeds the model's longest sequence, 32"),
    ],
)
def test_a_tokenizers_buckets_are_lengths_that_the_model_takes(text_entries, repository, buckets, message):
    edit_config(repository / "bert-tokenizer", '"8,16"', f'"{buckets}"')
    errors = [finding for finding in lint_repository(repository).errors if finding.code != "config-edited"]
    messages = [finding.message for finding in errors]
    assert len(messages) == (1 if message else 0)
    assert all(each.startswith(message) for each in messages)


def test_a_tokenizer_without_buckets_is_an_error(text_entries, repository):
    edit_config(repository / "bert-tokenizer", '"length_buckets"', '"length_limits"')
    assert only(lint_repository(repository), "parameter-value").message.startswith("length_buckets is '', which")


def test_a_tokenizers_padding_is_one_that_it_knows(repository, tmp_path):
    serving = ServingSpec(length_buckets=(8, 16), padding="longest")
    entry = assemble_entry(make_model(tmp_path / "model"), (), serving, repository, name="bert").artifact
    assemble_text_entries(entry, TextSpec(), repository)
    assert codes(lint_repository(repository), "error") == set()
    edit_config(repository / "bert-tokenizer", '"longest"', '"bucket"')
    finding = only(lint_repository(repository), "parameter-value")
    assert finding.message == "padding is 'bucket', which the tokenizer cannot use: it is neither buckets nor longest"


@pytest.mark.parametrize("limit", ["", "0", "-1", "1e6", "many"])
def test_a_tokenizers_limit_is_a_number_of_characters(text_entries, repository, limit):
    edit_config(repository / "bert-tokenizer", '"1000000"', f'"{limit}"')
    message = only(lint_repository(repository), "parameter-value").message
    assert message.startswith(f"max_characters is '{limit}', which the tokenizer cannot use")


@pytest.fixture
def prompted(repository, tmp_path):
    embedding = EmbeddingRecord(prompts={"query": "q: "})
    model = make_model(tmp_path / "model").model_copy(update={"embedding": embedding})
    entry = assemble_entry(model, (), ServingSpec(length_buckets=(8, 16)), repository, name="bert").artifact
    assemble_text_entries(entry, TextSpec(), repository)
    assert codes(lint_repository(repository), "error") == set()
    return repository


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            r'"{\"query\": \"q: \"}"',
            '"q: "',
            "prompts is 'q: ', which the tokenizer cannot use: it is not a JSON object",
        ),
        (r'"{\"query\": \"q: \"}"', r'"{\"query\": 1}"', "prompts is '{\"query\": 1}', which the tokenizer cannot use"),
        ('key: "prompts"', 'key: "prompt"', "it takes PROMPT_NAME and has no parameter prompts"),
    ],
)
def test_a_tokenizers_prompts_are_texts_by_their_names(prompted, old, new, message):
    edit_config(prompted / "bert-tokenizer", old, new)
    assert only(lint_repository(prompted), "parameter-value").message.startswith(message)


def test_a_name_that_is_optional_in_the_ensemble_alone_is_named(prompted):
    edit_config(prompted / "bert-tokenizer", "optional: true", "optional: false")
    assert only(lint_repository(prompted), "ensemble-optional").severity == "warning"


def test_a_tokenizers_buckets_are_within_the_plans(text_entries, repository, tmp_path):
    engine = make_engine(tmp_path / "engine", profile="1x2,4x8,8x16")
    save_manifest_again(text_entries, repository / "bert", engines=(engine,))
    edit_config(repository / "bert-tokenizer", '"8,16"', '"8,17"')
    message = only(lint_repository(repository), "parameter-value").message
    assert message == "length bucket 17 exceeds the model's longest sequence, 16"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"only_second"',
            '"both"',
            "truncation is 'both', which the tokenizer cannot use: it is neither longest_first",
        ),
        ('"4"', '"five"', "max_rows is 'five', which the tokenizer cannot use: it is not a whole number"),
        ('"4"', '"5"', "max_rows is 5, and bert takes 4 at once"),
    ],
)
def test_a_pairs_tokenizer_cuts_as_it_knows_and_sends_what_the_model_takes(repository, tmp_path, old, new, message):
    drawn = make_model(tmp_path / "model")
    labels = tuple(f"label {index}" for index in range(int(drawn.model_outputs[0].shape[-1])))
    fields = {"task": "text-pair-classification", "labels": labels, "truncation": "only_second"}
    serving = ServingSpec(length_buckets=(8, 16), max_batch_size=4)
    entry = assemble_entry(drawn.model_copy(update=fields), (), serving, repository, name="bert").artifact
    assemble_text_entries(entry, TextSpec(), repository)
    assert codes(lint_repository(repository), "error") == set()
    edit_config(repository / "bert-tokenizer", f"string_value: {old}", f"string_value: {new}")
    assert only(lint_repository(repository), "parameter-value").message.startswith(message)


@pytest.fixture
def scored_entries(tmp_path, repository):
    drawn = make_model(tmp_path / "model")
    names = tuple(f"label {index}" for index in range(int(drawn.model_outputs[0].shape[-1])))
    model = drawn.model_copy(update={"task": "text-classification", "labels": names})
    entry = assemble_entry(model, (), ServingSpec(length_buckets=(8, 16)), repository, name="bert").artifact
    assemble_text_entries(entry, TextSpec(answers="scores"), repository)
    return names


def test_a_pairs_label_file_is_held_and_is_not_for_a_front_of_single_texts(tmp_path, repository):
    drawn = make_model(tmp_path / "model")
    names = tuple(f"label {index}" for index in range(int(drawn.model_outputs[0].shape[-1])))
    model = drawn.model_copy(update={"task": "text-pair-classification", "labels": names})
    entry = assemble_entry(model, (), ServingSpec(length_buckets=(8, 16)), repository, name="bert").artifact
    assemble_text_entries(entry, TextSpec(answers="scores"), repository)
    assert {"text-labels", "front-classify"}.isdisjoint(codes(lint_repository(repository)))
    (repository / "bert-text" / "labels.txt").write_text("\n".join(reversed(names)))
    assert only(lint_repository(repository), "text-labels").path == "bert-text/labels.txt"


def test_a_label_file_has_the_models_labels_in_their_order(scored_entries, repository):
    assert "text-labels" not in codes(lint_repository(repository))
    labels = repository / "bert-text" / "labels.txt"
    assert labels.read_text().splitlines() == list(scored_entries)
    labels.write_text("\n".join(reversed(scored_entries)))
    assert only(lint_repository(repository), "text-labels").message.startswith("labels.txt does not have the labels of")


def test_a_front_that_reads_labels_takes_one_string_and_one_fp32(scored_entries, repository):
    assert "front-classify" not in codes(lint_repository(repository))
    edit_config(repository / "bert-text", "TYPE_STRING\n  dims: [1]", "TYPE_STRING\n  dims: [2]")
    message = only(lint_repository(repository), "front-classify").message
    assert (
        message
        == "Dynamo's /v1/classify takes one string input of dims [1] or [-1] and one FP32 output, and this has 1 and 1"
    )
