"""`prep lint`: what it prints, and its exit code."""

import pytest
from prep_triton.cli.app import app
from typer.testing import CliRunner

from tests.fakes.documents import parse_document
from tests.fakes.lint_cases import ON_CPU, python_config, write_python


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    return lambda *arguments: CliRunner().invoke(app, ["lint", *map(str, arguments)])


def test_an_error_is_a_line_with_a_remedy_below_and_exit_1(run, tmp_path):
    write_python(tmp_path, "one", python_config("one", ON_CPU + "max_batch: 1"))
    done = run(tmp_path)
    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert lines[0].startswith("error    one/config.pbtxt:8 (max_batch): ModelConfig has no field 'max_batch'")
    assert lines[0].endswith("[config-unknown-field]")
    assert lines[1] == "         did you mean 'max_batch_size'?"
    assert lines[-1] == f"{tmp_path}: 1 error, 1 warning in 1 entry"


def test_warnings_alone_end_with_exit_0_and_the_json_counts_them(run, tmp_path):
    write_python(tmp_path, "one")
    done = run(tmp_path, "--json")
    document = parse_document(done.stdout, "lint")
    assert done.exit_code == 0
    assert (document["repository"], document["errors"], document["warnings"]) == (str(tmp_path), 0, 1)
    (finding,) = document["findings"]
    assert finding["code"] == "manifest-missing"
    assert finding["severity"] == "warning"
    assert finding["place"] == finding["path"] == "one/manifest.json"
    assert {"message", "hint", "line", "field"} <= finding.keys()


def test_json_of_an_error_is_one_document_and_exit_1(run, tmp_path):
    write_python(tmp_path, "one", "{")
    done = run(tmp_path, "--json")
    assert done.exit_code == 1
    assert parse_document(done.stdout, "lint")["errors"] == 1


def test_a_target_is_named_in_the_summary(run, tmp_path):
    write_python(tmp_path, "one")
    done = run(tmp_path, "--target", "25.08", "--gpu", "t4")
    assert "for Triton 25.08, t4 (7.5), linux/amd64" in done.stdout
    assert "a server" not in run(tmp_path, "--target", "25.08").stdout
    assert "no GPU" in run(tmp_path, "--target", "25.08").stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--gpu", "t4"), "--gpu describes a target"),
        (("--target", "19.01"), "Triton 19.01 is not in the table"),
        (("--target", "25.08", "--driver", "R580"), "'R580' is not the version of an NVIDIA driver such as 580.95.05"),
        (("--target", "new"), "'new' is not a Triton release such as 25.08"),
        (("--target", "25.08", "--platform", "windows"), "'windows' is not a known value"),
        (("--target", "25.08", "--triton-releases", "absent.yaml"), "cannot be read"),
    ],
)
def test_a_wrong_target_is_a_wrong_request(run, tmp_path, flags, message):
    done = run(tmp_path, *flags)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_missing_repository_is_a_wrong_request_with_a_hint(run, tmp_path):
    done = run(tmp_path / "absent")
    assert done.exit_code == 2
    assert "there is no model repository" in done.stderr
    assert "prep assemble" in done.stderr


def test_a_folder_that_is_no_repository_is_one_sentence(run, tmp_path):
    for name in ("src", "docs", "notes", "2024"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "file.txt").write_text("x")
    write_python(tmp_path / "docs", "entry")
    done = run(tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {tmp_path} is not a model repository: none of its 4 folders has a config.pbtxt or a version folder\n"
        f"hint: prep lint {tmp_path / 'docs'}\n"
    )
    assert "is not a model repository" not in run(tmp_path / "docs").stderr


def test_an_entry_is_linted_in_its_repository(run, tmp_path):
    write_python(tmp_path, "one")
    done = run(tmp_path / "one")
    assert done.exit_code == 2
    assert f"hint: lint it in its repository: prep lint {tmp_path} --entry one\n" in done.stderr


def test_an_entry_can_be_chosen(run, tmp_path):
    write_python(tmp_path, "one")
    write_python(tmp_path, "two", "what")
    assert run(tmp_path, "--entry", "one").exit_code == 0
    assert run(tmp_path, "--entry", "two").exit_code == 1
    refused = run(tmp_path, "--entry", "tow")
    assert refused.exit_code == 2
    assert "has no entry 'tow'" in refused.stderr
    assert "did you mean 'two'?" in refused.stderr


def test_codes_lists_every_code_without_a_repository(run):
    assert "config-unknown-field" in run("--codes").stdout
    document = parse_document(run("--codes", "--json").stdout, "lint")
    assert document["manifest-missing"]["severity"] == "warning"
