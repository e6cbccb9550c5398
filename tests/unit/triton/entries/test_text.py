"""A model entry gets a tokenizer, a post-processor and an ensemble."""

import subprocess
import sys
from pathlib import PurePosixPath

import numpy as np
import pytest
from prep_triton.artifact import EmbeddingRecord
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.spec import EntrySpec, ServingSpec, TextSpec
from prep_triton.triton.config import parse_config
from prep_triton.triton.entries import write
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries, check_text_request
from prep_triton.triton.entries.text_config import TextConfigs
from prep_triton.triton.inside_server.encode.prompts import Prompts
from prep_triton.triton.lint import lint_repository
from prep_triton.triton.vendored.packages import copy_tokenizers, describe_tokenizers

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model

SERVING = ServingSpec(max_batch_size=4, length_buckets=(8, 32))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tmp_path_factory.mktemp("repo")


@pytest.fixture(scope="module")
def entry(repository, tmp_path_factory):
    return assemble_entry(make_model(tmp_path_factory.mktemp("model")), [], SERVING, repository).artifact


@pytest.fixture(scope="module")
def companions(entry, repository):
    return assemble_text_entries(entry, TextSpec(), repository)


def config_of(entry):
    return parse_config(entry.path("config.pbtxt").read_text())


def as_task(entry, task, labels=()):
    """The same entry as if it had another head."""
    return entry.model_copy(
        update={"task": task, "onnx": entry.onnx.model_copy(update={"task": task, "labels": tuple(labels)})}
    )


def model_config(entry, **outputs):
    """The entry's configuration with other outputs: their dims by name."""
    config = config_of(entry)
    del config.output[:]
    for name, dims in outputs.items():
        config.output.add(name=name, data_type="TYPE_FP32", dims=dims)
    return config


def dims(tensors):
    return {tensor.name: list(tensor.dims) for tensor in tensors}


def test_three_entries_are_written_in_the_order_of_the_steps(companions, repository):
    entries = [produced.artifact for produced in companions]
    assert [(entry.name, entry.kind, entry.runtime) for entry in entries] == [
        ("tiny-onnx-fp32-tokenizer", "tokenizer", "python"),
        ("tiny-onnx-fp32-postprocessor", "postprocessor", "python"),
        ("tiny-onnx-fp32-text", "ensemble", "ensemble"),
    ]
    assert {entry.serves for entry in entries} == {"tiny-onnx-fp32"}
    assert {entry.length_buckets for entry in entries} == {(8, 32)}
    assert entries[2].composes == ("tiny-onnx-fp32-tokenizer", "tiny-onnx-fp32", "tiny-onnx-fp32-postprocessor")
    assert len(load_repository(repository)) == 4


def test_every_entry_has_a_version_folder_that_an_object_store_keeps(companions):
    for produced in companions:
        assert any(name.startswith("1/") and not name.startswith("1/.") for name in produced.artifact.files)


def test_the_tokenizer_carries_the_package_it_was_recorded_with(companions):
    entry = companions[0].artifact
    assert entry.vendored == describe_tokenizers()
    assert entry.vendored.package == "tokenizers"
    assert entry.vendored.python == "3.10"
    assert entry.vendored.platform.startswith("linux/")
    assert "1/tokenizers/tokenizers.abi3.so" in entry.files
    assert f"1/tokenizers-{entry.vendored.version}.dist-info/WHEEL" in entry.files
    assert companions[1].artifact.vendored is None


def test_the_server_side_runs_without_this_package_and_its_installation(companions, entry):
    """Everything but the server's own module, in a Python that sees the version folder and numpy alone."""
    version_dir = companions[0].artifact.path("1")
    alone = f"import sys; sys.path.insert(0, {str(version_dir)!r}); import tokenizers; print(tokenizers.__file__)"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", alone], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(version_dir / "tokenizers" / "__init__.py")
    imports = (
        f"import sys; sys.dont_write_bytecode = True; sys.path[:0] = [{str(version_dir)!r}, "
        f"{str(companions[1].artifact.path('1'))!r}, {str(np.__path__[0]).removesuffix('numpy')!r}]; "
        "import encode.encoder, answer.tasks; "
        "print([m for m in sys.modules if m.startswith(('prep_triton', 'hugging'))])"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", imports], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_configurations_agree_with_the_model(companions, entry):
    tokenizer, postprocessor, ensemble = (config_of(produced.artifact) for produced in companions)
    assert {config.max_batch_size for config in (tokenizer, postprocessor, ensemble)} == {4}
    assert dims(tokenizer.input) == dims(ensemble.input) == {"TEXT": [1]}
    assert dims(tokenizer.output) == {**dims(config_of(entry).input), "WINDOW": [5]}
    assert dims(postprocessor.input) == {"last_hidden_state": [-1, 8], "WINDOW": [5]}
    assert dims(postprocessor.output) == dims(ensemble.output) == {"EMBEDDING": [8]}
    assert tokenizer.parameters["length_buckets"].string_value == "8,32"
    assert tokenizer.HasField("dynamic_batching")
    assert postprocessor.HasField("dynamic_batching")
    assert [step.model_name for step in ensemble.ensemble_scheduling.step] == list(companions[2].artifact.composes)


def test_unchanged_entries_are_left_alone(companions, entry, repository):
    again = assemble_text_entries(entry, TextSpec(), repository)
    assert [produced.reused for produced in again] == [True] * 3
    assert [produced.artifact.key for produced in again] == [produced.artifact.key for produced in companions]


def test_other_choices_are_other_entries(companions, entry, tmp_path):
    again = assemble_text_entries(entry, TextSpec(normalize=False, instance_count=2), tmp_path)
    assert {produced.artifact.key for produced in again}.isdisjoint(produced.artifact.key for produced in companions)
    tokenizer, postprocessor, _ = (config_of(produced.artifact) for produced in again)
    assert tokenizer.instance_group[0].count == 2
    assert postprocessor.parameters["normalize"].string_value == "false"


HEADS = {
    "text-classification": ({"logits": [2]}, {"LABEL": [2], "SCORE": [2]}, {"WINDOW"}),
    "token-classification": ({"logits": [-1, 2]}, {"ENTITIES": [1]}, {"WINDOW", "OFFSETS", "WORDS", "SOURCE"}),
    "fill-mask": ({"logits": [-1, 64]}, {"TOKENS": [1]}, {"WINDOW", "input_ids"}),
    "question-answering": (
        {"start_logits": [-1], "end_logits": [-1]},
        {"ANSWER": [1], "SCORE": [1], "START": [1], "END": [1]},
        {"WINDOW", "OFFSETS", "SOURCE"},
    ),
}


@pytest.mark.parametrize("task", HEADS)
def test_each_task_has_its_tensors(task, entry):
    outputs, answers, details = HEADS[task]
    labels = ["no", "yes"] if task.endswith("-classification") else []
    configs = TextConfigs(as_task(entry, task, labels), model_config(entry, **outputs), TextSpec())
    assert dims(configs.ensemble().output) == dims(configs.postprocessor().output) == answers
    assert set(dims(configs.postprocessor().input)) == {*outputs, *details}
    asked = {"QUESTION", "CONTEXT"} if task == "question-answering" else {"TEXT"}
    assert set(dims(configs.ensemble().input)) == set(dims(configs.tokenizer().input)) == asked
    # Logits as wide as a vocabulary are not gathered from several requests.
    assert configs.postprocessor().HasField("dynamic_batching") == (task != "fill-mask")


def test_scores_have_a_label_file_beside_them(entry):
    scored = as_task(entry, "text-classification", ["no", "yes"])
    configs = TextConfigs(scored, model_config(entry, logits=[2]), TextSpec(answers="scores"))
    assert dims(configs.ensemble().output) == dims(configs.postprocessor().output) == {"SCORES": [2]}
    assert configs.ensemble().output[0].label_filename == "labels.txt"
    assert configs.postprocessor().parameters["answers"].string_value == "scores"


def test_a_pairs_scores_are_a_row_for_each_of_them(entry):
    scored = as_task(entry, "text-pair-classification", ["no", "yes", "maybe"])
    configs = TextConfigs(scored, model_config(entry, logits=[3]), TextSpec(answers="scores"))
    assert dims(configs.ensemble().output) == dims(configs.postprocessor().output) == {"SCORES": [-1, 3]}
    assert configs.ensemble().output[0].label_filename == "labels.txt"


def test_a_label_of_two_lines_has_no_place_in_a_label_file(tmp_path):
    labels = {"task": "text-classification", "labels": ("no", "y\nes")}
    model = make_model(tmp_path / "model").model_copy(update=labels)
    with pytest.raises(SpecError, match="is not one line") as caught:
        check_text_request(model, TextSpec(answers="scores"))
    assert "--answers" in caught.value.hint
    check_text_request(model, TextSpec())


def test_a_batch_of_one_is_not_batched(entry):
    model = config_of(entry)
    model.max_batch_size = 1
    assert not TextConfigs(entry, model, TextSpec()).tokenizer().HasField("dynamic_batching")


def test_labels_must_be_those_of_the_logits(entry):
    wrong = as_task(entry, "text-classification", ["one"])
    with pytest.raises(RepositoryError, match="answers 2 logits, and its manifest has 1 labels") as caught:
        TextConfigs(wrong, model_config(entry, logits=[2]), TextSpec())
    assert "prep export" in caught.value.hint


def test_a_model_without_batches_is_refused(entry):
    model = config_of(entry)
    model.max_batch_size = 0
    with pytest.raises(RepositoryError, match="takes one row at a time, and text needs a batch axis") as caught:
        TextConfigs(entry, model, TextSpec())
    assert "prep assemble" in caught.value.hint


def test_an_entry_without_a_tokenizer_is_refused(tmp_path):
    model = make_model(tmp_path / "m", with_text=False)
    entry = assemble_entry(model, [], SERVING, tmp_path / "repo").artifact
    with pytest.raises(RepositoryError, match=r"has no tokenizer\.json, and text needs one") as caught:
        assemble_text_entries(entry, TextSpec(), tmp_path / "repo")
    assert caught.value.hint.startswith("export the model from a folder that has tokenizer.json")
    assert [loaded.name for loaded in load_repository(tmp_path / "repo")] == [entry.name]


def test_an_entry_of_an_older_prep_is_refused(entry, tmp_path):
    for changes in ({"length_buckets": ()}, {"onnx": None}):
        with pytest.raises(RepositoryError, match="was written by an older prep") as caught:
            assemble_text_entries(entry.model_copy(update=changes), TextSpec(), tmp_path)
        assert "prep assemble" in caught.value.hint


def test_a_damaged_tokenizer_is_refused_and_leaves_nothing(tmp_path):
    entry = assemble_entry(make_model(tmp_path / "m"), [], SERVING, tmp_path / "repo").artifact
    entry.path("tokenizer.json").write_text("{}")
    with pytest.raises(RepositoryError, match=r"tokenizer\.json is damaged") as caught:
        assemble_text_entries(entry, TextSpec(), tmp_path / "repo")
    assert caught.value.hint == "assemble tiny-onnx-fp32 again"
    assert not list((tmp_path / "repo").glob("*tokenizer"))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"top_k": 3}, "text.top_k 3 was asked for, but feature-extraction has none"),
        ({"max_answer_tokens": 3}, "it belongs to question-answering"),
        ({"stride": 32, "long_input": "stride"}, "leaves windows of 32 tokens, which must overlap by less"),
    ],
)
def test_choices_that_mean_nothing_are_refused(choices, message, entry, tmp_path):
    with pytest.raises(SpecError, match=message) as caught:
        assemble_text_entries(entry, TextSpec(**choices), tmp_path)
    assert "stride" in caught.value.hint or "remove" in caught.value.hint


def test_a_tokenizer_that_drops_the_beginning_is_served_only_where_nothing_is_dropped(entry, tmp_path):
    model = entry.onnx.model_copy(update={"cuts_beginning": True})
    asked = entry.model_copy(update={"onnx": model})
    with pytest.raises(SpecError, match="drops the beginning of a long text") as caught:
        assemble_text_entries(asked, TextSpec(), tmp_path)
    assert "--long-input" in caught.value.hint
    assert len(assemble_text_entries(asked, TextSpec(long_input="reject"), tmp_path)) == 3


def test_an_embedding_of_the_graph_needs_no_post_processor_and_takes_no_windows(entry):
    configs = TextConfigs(as_task(entry, "sentence-embedding"), model_config(entry, embedding=[384]), TextSpec())
    ensemble, tokenizer = configs.ensemble(), configs.tokenizer()
    steps = [step.model_name for step in ensemble.ensemble_scheduling.step]
    assert steps == ["tiny-onnx-fp32-tokenizer", "tiny-onnx-fp32"]
    assert dims(ensemble.output) == {"EMBEDDING": [384]}
    assert ensemble.ensemble_scheduling.step[-1].output_map == {"embedding": "EMBEDDING"}
    assert [tensor.name for tensor in tokenizer.output] == [tensor.name for tensor in config_of(entry).input]
    with pytest.raises(SpecError, match="nothing behind the graph of tiny-onnx-fp32 joins the windows") as caught:
        assemble_text_entries(as_task(entry, "sentence-embedding"), TextSpec(long_input="stride"), entry.folder)
    assert "--long-input" in caught.value.hint


def test_a_tokenizer_without_the_mask_cannot_fill_masks(entry, tmp_path):
    asked = as_task(entry, "fill-mask")
    asked = asked.model_copy(update={"onnx": asked.onnx.model_copy(update={"mask_token": "<blank>"})})
    with pytest.raises(RepositoryError, match="has no <blank>, and a text for fill-mask needs one"):
        assemble_text_entries(asked, TextSpec(), tmp_path)


def test_a_cross_encoder_that_was_exported_for_single_texts_is_refused_with_the_task_that_takes_pairs(entry, tmp_path):
    asked = as_task(entry, "text-classification")
    asked = asked.model_copy(update={"onnx": asked.onnx.model_copy(update={"takes_pairs": True})})
    with pytest.raises(SpecError, match="was exported for text-classification, whose text entry takes one") as caught:
        assemble_text_entries(asked, TextSpec(), tmp_path)
    assert "--task text-pair-classification" in caught.value.hint


def test_windows_leave_room_for_the_longest_question(entry, tmp_path):
    asked = as_task(entry, "question-answering")
    with pytest.raises(SpecError, match="leaves windows of 16 tokens") as caught:
        assemble_text_entries(asked, TextSpec(long_input="stride", stride=16), tmp_path)
    assert "keep stride within 1..15" in caught.value.hint


def test_a_name_that_becomes_too_long_is_refused(entry, tmp_path):
    with pytest.raises(SpecError, match="at most 63 letters") as caught:
        assemble_text_entries(entry.model_copy(update={"name": "n" * 60}), TextSpec(), tmp_path)
    assert caught.value.hint == "choose a shorter name for the model entry"


class Distribution:
    """An installation of `tokenizers` that is not the usual wheel."""

    version = "1.2"

    def __init__(self, wheel, files=()):
        self.wheel, self.files = wheel, files

    def read_text(self, name):
        return self.wheel


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        ("Tag: cp310-abi3-macosx_11_0_arm64\n", "cp310-abi3-macosx_11_0_arm64"),
        ("Tag: cp314-cp314t-manylinux_2_17_x86_64\n", "cp314-cp314t"),
        (None, "this machine alone"),
    ],
)
def test_a_package_that_triton_cannot_run_is_refused(wheel, message, monkeypatch):
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution(wheel))
    with pytest.raises(RepositoryError, match=message) as caught:
        describe_tokenizers()
    assert "on Linux" in caught.value.hint


def test_the_platform_is_read_from_the_tag(monkeypatch):
    wheel = "Tag: cp39-abi3-manylinux_2_17_aarch64\nTag: cp39-abi3-manylinux2014_aarch64\n"
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution(wheel))
    vendored = describe_tokenizers()
    assert (vendored.version, vendored.python, vendored.platform) == ("1.2", "3.9", "linux/arm64")


class Listed(PurePosixPath):
    """A file that an installation says it has, and has not."""

    def locate(self):
        return f"/nowhere/{self}"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["tokenizers/__init__.py", "tokenizers/tokenizers.abi3.so"], "/nowhere/tokenizers/__init__.py"),
        ([], "its library is missing"),
    ],
)
def test_an_installation_that_is_not_whole_is_refused(files, message, monkeypatch, tmp_path):
    distribution = Distribution("", [Listed(file) for file in files])
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: distribution)
    with pytest.raises(RepositoryError, match=message) as caught:
        copy_tokenizers(tmp_path)
    assert caught.value.hint == "pip install --force-reinstall tokenizers"
    assert not list(tmp_path.iterdir())


def test_padding_to_the_longest_row_is_the_tokenizers(tmp_path):
    serving = SERVING.model_copy(update={"padding": "longest"})
    entry = assemble_entry(make_model(tmp_path / "model"), [], serving, tmp_path / "repo").artifact
    tokenizer = assemble_text_entries(entry, TextSpec(), tmp_path / "repo")[0].artifact
    parameters = {name: value.string_value for name, value in config_of(tokenizer).parameters.items()}
    assert (parameters["padding"], parameters["min_length"], parameters["length_buckets"]) == ("longest", "1", "8,32")


def test_the_text_entries_of_a_model_without_a_largest_batch_take_what_those_with_one_take(tmp_path):
    model, repository = make_model(tmp_path / "model"), tmp_path / "repo"
    spec = EntrySpec(runtime="openvino", serving=ServingSpec(length_buckets=(8, 32)))
    entry = write.assemble_entry(model, [], spec, repository).artifact
    tokenizer, postprocessor, ensemble = (
        config_of(produced.artifact) for produced in assemble_text_entries(entry, TextSpec(), repository)
    )
    assert {config.max_batch_size for config in (tokenizer, postprocessor, ensemble)} == {0}
    assert dims(ensemble.input) == {"TEXT": [-1, 1]}
    assert dims(tokenizer.output)["WINDOW"] == [-1, 5]
    assert dims(postprocessor.output) == dims(ensemble.output) == {"EMBEDDING": [-1, 8]}
    assert tokenizer.parameters["max_rows"].string_value == "64"
    assert lint_repository(repository).errors == ()


def test_prompts_are_data_of_the_tokenizer_and_an_optional_input_of_both(entry):
    prompts = {"query": "quer\u00e9: ", "document": ""}
    embedding = EmbeddingRecord(prompt="quer\u00e9: ", prompts=prompts, includes_prompt=False)
    model = entry.onnx.model_copy(update={"embedding": embedding})
    configs = TextConfigs(entry.model_copy(update={"onnx": model}), config_of(entry), TextSpec())
    for config in (configs.tokenizer(), configs.ensemble()):
        assert [(tensor.name, list(tensor.dims), tensor.optional) for tensor in config.input] == [
            ("TEXT", [1], False),
            ("PROMPT_NAME", [1], True),
        ]
    parameters = {name: value.string_value for name, value in configs.tokenizer().parameters.items()}
    assert Prompts.parse(parameters) == Prompts("quer\u00e9: ", prompts, is_pooled=False)
    assert configs.ensemble().ensemble_scheduling.step[0].input_map["PROMPT_NAME"] == "PROMPT_NAME"
