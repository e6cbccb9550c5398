"""What a command says with -q, with -v, and to a log file."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import typer
from prep_triton.cli import output
from prep_triton.cli.app import app
from prep_triton.cli.options import OutputOptions
from prep_triton.errors import SourceError
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

log = logging.getLogger("prep_triton.cli.test")
GROUP = get_command(app)
assert isinstance(GROUP, TyperGroup)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def speak(out: output.Output) -> None:
    """Say something of every kind."""
    with out.progress("export tiny") as progress:
        progress("loading", 0.0)
        log.info("a note")
        log.debug("a detail")
    log.warning("a warning")
    out.note("next: prep assemble")
    out.line("the result")


@pytest.mark.parametrize("command", GROUP.commands)
def test_every_command_can_say_less_more_and_into_a_file(command: str):
    assert isinstance(GROUP, TyperGroup)
    flags = {flag for parameter in GROUP.commands[command].params for flag in parameter.opts}
    assert {"--quiet", "-q", "--verbose", "-v", "--log-file"} <= flags


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (OutputOptions(quiet=True), ["warning: a warning"]),
        (OutputOptions(), ["  export tiny: loading", "note: a note", "warning: a warning", "next: prep assemble"]),
    ],
)
def test_quiet_leaves_the_result_warnings_and_errors(options: OutputOptions, shown, capsys: pytest.CaptureFixture[str]):
    with output.session(options) as out:
        speak(out)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == shown
    assert printed.out == "the result\n"


def test_verbose_tells_the_command_its_details_and_what_it_took(capsys: pytest.CaptureFixture[str]):
    with output.session(OutputOptions(verbose=1)) as out:
        speak(out)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("debug: prep ")
    assert "debug: a detail" in lines
    assert lines[-1].startswith("debug: it took ")


def test_quiet_and_verbose_exclude_each_other(tmp_path: Path):
    done = CliRunner().invoke(app, ["releases", str(tmp_path), "-q", "-v"])
    assert done.exit_code == 2
    assert "--quiet and --verbose exclude each other" in done.stderr


def test_a_log_file_has_every_message_with_its_level_and_stage_also_when_quiet(tmp_path: Path):
    path = tmp_path / "logs" / "night.jsonl"
    with output.session(OutputOptions(quiet=True, log_file=path)) as out:
        speak(out)
    lines = read_lines(path)
    assert {tuple(line) for line in lines} == {("time", "level", "logger", "message", "stage")}
    assert [(line["level"], line["message"], line["stage"]) for line in lines[1:-1]] == [
        ("info", "export tiny: loading", "export tiny"),
        ("info", "a note", "export tiny"),
        ("debug", "a detail", "export tiny"),
        ("warning", "a warning", ""),
        ("info", "next: prep assemble", ""),
    ]
    assert lines[2]["logger"] == "prep_triton.cli.test"


def test_a_log_file_is_appended_to_and_has_the_error(tmp_path: Path):
    path = tmp_path / "night.jsonl"
    path.write_text("{}\n")
    with pytest.raises(typer.Exit), output.session(OutputOptions(log_file=path)):
        raise SourceError("no such model", hint="look")
    lines = read_lines(path)
    assert lines[0] == {}
    assert [(line["level"], line["message"]) for line in lines[-2:]] == [
        ("error", "error: no such model"),
        ("error", "hint: look"),
    ]


def test_a_bug_is_in_the_log_file_with_its_traceback(tmp_path: Path):
    path = tmp_path / "night.jsonl"
    with pytest.raises(ZeroDivisionError), output.session(OutputOptions(log_file=path)):
        raise ZeroDivisionError
    assert "Traceback" in read_lines(path)[-1]["message"]


def test_no_secret_is_in_a_log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secrets = ["k3yk3yk3yk3yk3y=", "s3cret", "hf_" + "a1" * 12, "ya29." + "b2" * 12, "c3" * 12]
    monkeypatch.setenv("PREP_GCS_ENCRYPTION_KEY", secrets[0])
    monkeypatch.setattr("sys.argv", ["prep", "releases", f"https://me:{secrets[1]}@host/x"])
    path = tmp_path / "night.jsonl"
    with output.session(OutputOptions(log_file=path)) as out, out.progress(f"fetch https://{secrets[1]}@host"):
        log.info("Authorization: Bearer %s", secrets[4])
        log.warning("%s and %s", secrets[2], secrets[3])
        out.note(f"the key is {secrets[0]}")
    text = path.read_text()
    assert [secret for secret in secrets if secret in text] == []
    assert text.count("***") >= len(secrets)


def test_a_log_file_that_cannot_be_written_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit), output.session(OutputOptions(log_file=tmp_path)):
        pass
    assert capsys.readouterr().err == (
        f"error: the log file {tmp_path} cannot be written: Is a directory\nhint: name another --log-file\n"
    )


def notes_of(verbose: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with output.session(OutputOptions(verbose=verbose)):
        for name in "abcdefg":
            log.info("%s was written again", name)
            log.info("%s; %s", name, "of any kind")
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]


def test_of_notes_of_one_kind_the_first_is_shown_and_counted(capsys: pytest.CaptureFixture[str]):
    notes = notes_of(0, capsys)
    assert [note for note in notes if "again" in note] == [
        "note: a was written again",
        "note: 6 more notes like: a was written again (-v shows each)",
    ]
    assert sum("of any kind" in note for note in notes) == 7
    assert sum("again" in note for note in notes_of(1, capsys)) == 7
