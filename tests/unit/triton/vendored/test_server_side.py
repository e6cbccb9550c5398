"""What is copied into a model directory, and what remakes it."""

import shutil

import pytest
from prep_triton.artifact import EntryKind
from prep_triton.spec import ServingSpec, TextSpec
from prep_triton.triton.entries.names import TextNames
from prep_triton.triton.entries.text import assemble_text_entries, text_recipe
from prep_triton.triton.vendored import server_side

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model

KINDS: tuple[EntryKind, ...] = ("tokenizer", "postprocessor", "ensemble")


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of what runs inside the server, that a test may edit."""
    copy = tmp_path / "inside_server"
    shutil.copytree(server_side.INSIDE_SERVER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(server_side, "INSIDE_SERVER", copy)
    return copy


@pytest.fixture
def entry(tmp_path):
    return assemble_entry(make_model(tmp_path / "model"), [], ServingSpec(), tmp_path / "repo").artifact


def keys_of(entry):
    names = TextNames.of(entry)
    return {kind: text_recipe(getattr(names, kind), kind, entry, TextSpec()).key for kind in KINDS}


@pytest.mark.parametrize(
    ("edited", "remade"),
    [
        ("encode/windows.py", {"tokenizer"}),
        ("tokenizer_model.py", {"tokenizer"}),
        ("answer/windows.py", {"postprocessor"}),
        ("postprocessor_model.py", {"postprocessor"}),
        ("onnxruntime_stand_in.py", set()),
        ("__init__.py", set()),
    ],
)
def test_an_edit_remakes_the_entries_that_the_file_is_copied_into(entry, sources, edited, remade):
    before = keys_of(entry)
    (sources / edited).write_text((sources / edited).read_text() + "# edited\n")
    after = keys_of(entry)
    assert {kind for kind in KINDS if after[kind] != before[kind]} == remade


def test_a_moved_module_is_another_key(entry, sources):
    before = keys_of(entry)["tokenizer"]
    (sources / "encode" / "windows.py").rename(sources / "encode" / "lengths.py")
    assert keys_of(entry)["tokenizer"] != before


def test_exactly_the_digested_files_are_copied(entry, tmp_path):
    written = assemble_text_entries(entry, TextSpec(), tmp_path / "repo")
    for kind, produced in zip(KINDS, written, strict=True):
        modules = {
            name.removeprefix("1/")
            for name in produced.artifact.files
            if name.endswith(".py") and not name.startswith("1/tokenizers/")
        }
        assert modules == (set(server_side.list_server_files(kind)) if kind in server_side.SERVER_PARTS else set())


def test_the_tokenizers_version_decides_the_tokenizer_alone(entry):
    names = TextNames.of(entry)
    tools = {kind: text_recipe(getattr(names, kind), kind, entry, TextSpec()).tools for kind in KINDS}
    assert [kind for kind in KINDS if "tokenizers" in tools[kind]] == ["tokenizer"]
