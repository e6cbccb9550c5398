"""Lint and assemble compare an entry's code with what this prep vendors, also where the manifest was written anew."""

import re
import shutil

import pytest
from prep_triton.artifact import RepositoryEntry
from prep_triton.manifest import load_manifest
from prep_triton.spec import ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.lint import lint_repository

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model
from tests.fakes.lint_helpers import save_manifest_again

MODEL = "class TritonPythonModel: ...\n"


@pytest.fixture(scope="module")
def assembled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assembled")
    entry = assemble_entry(make_model(folder / "model"), [], ServingSpec(), folder / "repo").artifact
    assemble_text_entries(entry, TextSpec(), folder / "repo")
    return entry


@pytest.fixture
def repository(assembled, tmp_path):
    copy = tmp_path / "repo"
    shutil.copytree(assembled.folder.parent, copy)
    return copy


def change_code(repository, part, relative, content, **changes):
    """Write a file of an entry, and the manifest that vouches for it."""
    folder = repository / f"tiny-onnx-fp32-{part}"
    if content is None:
        (folder / relative).unlink()
    else:
        (folder / relative).parent.mkdir(exist_ok=True)
        (folder / relative).write_text(content)
    save_manifest_again(load_manifest(folder, RepositoryEntry), folder, **changes)


def found(repository):
    return [(finding.code, finding.severity, finding.place) for finding in lint_repository(repository).findings]


@pytest.mark.parametrize(
    ("part", "relative", "content", "change"),
    [
        ("tokenizer", "1/model.py", MODEL, "was edited"),
        ("postprocessor", "1/model.py", MODEL, "was edited"),
        ("postprocessor", "1/answer/tasks.py", "", "was edited"),
        ("tokenizer", "1/encode/windows.py", None, "is missing"),
        ("tokenizer", "1/tokenizers/__init__.py", "import os\n", "was edited"),
        ("tokenizer", "1/numpy.py", "import os\n", "was added"),
        ("postprocessor", "1/tokenizers/__init__.py", "", "was added"),
    ],
)
def test_code_that_this_prep_did_not_vendor_is_a_warning(repository, assembled, part, relative, content, change):
    assert found(repository) == []
    change_code(repository, part, relative, content)
    (finding,) = lint_repository(repository).findings
    name = f"tiny-onnx-fp32-{part}"
    assert (finding.code, finding.severity, finding.place) == ("vendored-edited", "warning", f"{name}/{relative}")
    assert finding.message.startswith(f"{relative} {change}")
    assert finding.hint.endswith("assemble tiny-onnx-fp32 again with --text")
    # The hint works.
    moved = assembled.model_copy(update={"folder": repository / assembled.name})
    reused = [produced.reused for produced in assemble_text_entries(moved, TextSpec(), repository)]
    assert reused == [part != "tokenizer", part != "postprocessor", True]
    assert found(repository) == []


def test_an_edited_file_that_the_manifest_knows_otherwise_is_reported_once(repository):
    (repository / "tiny-onnx-fp32-tokenizer/1/model.py").write_text(MODEL)
    assert found(repository) == [("manifest-file", "error", "tiny-onnx-fp32-tokenizer/1/model.py")]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.0.1", r"assembled by prep 0\.0\.1, and this is prep \d"),
        (None, r"another build of it"),
    ],
)
def test_an_entry_of_another_prep_is_not_called_edited(repository, version, message):
    folder = repository / "tiny-onnx-fp32-tokenizer"
    tools = load_manifest(folder, RepositoryEntry).tools
    theirs = {**tools, "inside_server": "0" * 16, "prep-triton": version or tools["prep-triton"]}
    change_code(repository, "tokenizer", "1/model.py", MODEL, tools=theirs)
    (finding,) = lint_repository(repository).findings
    assert (finding.code, finding.severity) == ("vendored-version", "warning")
    assert re.search(message, finding.message)


def test_a_package_of_a_version_that_is_not_installed_is_not_compared(repository):
    folder = repository / "tiny-onnx-fp32-tokenizer"
    record = load_manifest(folder, RepositoryEntry).vendored
    other = record.model_copy(update={"version": "0.0.1"})
    change_code(repository, "tokenizer", "1/tokenizers/__init__.py", "", vendored=other)
    assert found(repository) == []
