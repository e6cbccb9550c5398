"""What a command says, where, and with which exit code."""

import json
import logging
import os
import signal

import pytest
import typer
from prep_triton.artifact import Record
from prep_triton.cli import main as cli
from prep_triton.cli import output, units
from prep_triton.cli.options import OutputOptions
from prep_triton.errors import SourceError, SpecError

from tests.fakes.documents import parse_document


class Answer(Record):
    answer: int


log = logging.getLogger("prep_triton.cli.test")


def run_session(body, *, as_json: bool = False) -> int:
    """Run a body in a session and return the exit code."""
    try:
        with output.session(OutputOptions(json=as_json)) as out:
            body(out)
    except typer.Exit as end:
        return end.exit_code
    return 0


def failing(error: BaseException):
    def body(_out):
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"), [(SpecError("no such key", hint="look"), 2), (SourceError("no such model", hint="look"), 1)]
)
def test_an_error_is_a_sentence_a_hint_and_an_exit_code(error, code: int, capsys: pytest.CaptureFixture[str]):
    assert run_session(failing(error)) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"error: {error.message}\nhint: look\n"


def test_an_error_is_the_one_document_with_json(capsys: pytest.CaptureFixture[str]):
    assert run_session(failing(SourceError("no such model", hint="look")), as_json=True) == 1
    document = parse_document(capsys.readouterr().out, "error")
    error: dict[str, object] = {
        "code": "source_error",
        "message": "no such model",
        "hint": "look",
        "place": None,
        "faults": [],
    }
    assert document == {"error": error}


def test_an_error_of_a_file_has_its_place(capsys: pytest.CaptureFixture[str]):
    error = SpecError("a.yaml, jobs: no", hint="look", place="a.yaml, jobs")
    assert run_session(failing(error), as_json=True) == 2
    assert parse_document(capsys.readouterr().out, "error")["error"]["place"] == "a.yaml, jobs"


def test_markup_in_an_error_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]):
    run_session(failing(SourceError("models[0].variants[1]: [red]x[/red]", hint="[b]")))
    assert capsys.readouterr().err == "error: models[0].variants[1]: [red]x[/red]\nhint: [b]\n"


def test_what_is_no_prep_error_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_session(failing(ZeroDivisionError()))


def test_prep_debug_keeps_the_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREP_DEBUG", "1")
    with pytest.raises(SourceError):
        run_session(failing(SourceError("no such model", hint="look")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_interrupts_as_ctrl_c_does(number: signal.Signals, capsys: pytest.CaptureFixture[str]):
    before = signal.getsignal(number)
    assert run_session(lambda _: os.kill(os.getpid(), number)) == 130
    assert "nothing half-written was kept; run the same command again" in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_a_command_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_session(lambda _: os.kill(os.getpid(), signal.SIGHUP)) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupted_command_has_a_document_too(capsys: pytest.CaptureFixture[str]):
    assert run_session(failing(KeyboardInterrupt()), as_json=True) == 130
    assert parse_document(capsys.readouterr().out, "error")["error"]["code"] == "interrupted"


def test_notices_go_to_stderr_once_each(capsys: pytest.CaptureFixture[str]):
    def body(_out):
        for _ in range(3):
            log.info("the same")
        log.warning("the same")
        log.debug("too much")

    assert run_session(body) == 0
    assert capsys.readouterr() == ("", "note: the same\nwarning: the same\n")


def test_a_log_gets_one_line_for_each_phase(capsys: pytest.CaptureFixture[str]):
    def body(out: output.Output):
        with out.progress("export tiny") as progress:
            progress("loading", 0.0)
            progress("loading", 0.5)
            progress("writing", 0.9)

    assert run_session(body) == 0
    assert capsys.readouterr() == ("", "  export tiny: loading\n  export tiny: writing\n")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = output.Output(as_json=False, verbose=0)
    with out.progress("export tiny") as progress:
        progress("loading", 0.5)
    assert "export tiny: loading" in capsys.readouterr().err


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    output.Output(as_json=False, verbose=0).message("wrong", style="red")
    assert "\x1b[31m" not in capsys.readouterr().err


def test_json_silences_everything_but_the_document(capsys: pytest.CaptureFixture[str]):
    out = output.Output(as_json=True, verbose=0)
    out.line("for people")
    out.table("a table", ("one", "#two"), [("1", "2")])
    out.document(Answer(answer=42))
    assert json.loads(capsys.readouterr().out) == {"answer": 42}


def test_a_document_is_shown_in_one_form_of_two(capsys: pytest.CaptureFixture[str]):
    for as_json in (True, False):
        out = output.Output(as_json=as_json, verbose=0)
        out.show(Answer(answer=42), lambda out, document: out.line(f"it is {document.answer}"))
    assert capsys.readouterr().out == '{\n  "answer": 42\n}\nit is 42\n'


@pytest.mark.parametrize(("size", "message"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 30, "3.00 GiB")])
def test_sizes_are_in_binary_units(size: int, message: str):
    assert units.format_size(size) == message


@pytest.mark.parametrize(("seconds", "message"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (125, "2 min 05 s")])
def test_durations_are_for_people(seconds: float, message: str):
    assert units.format_seconds(seconds) == message


def test_a_wrong_command_line_exits_2_with_a_document(monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["prep", "exprt", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    error = parse_document(printed.out, "error")["error"]
    assert error["code"] == "usage_error"
    assert "exprt" in error["message"]
    assert "exprt" in printed.err


def test_a_failed_command_gives_its_exit_code_to_the_shell(monkeypatch, tmp_path, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["prep", "run", str(tmp_path / "nowhere.yaml")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "there is no config file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "completed"),
    [("prep bui", "build-engine"), ("prep export mi", "minilm"), ("prep build-engine --gpu a1", "a100")],
)
def test_tab_completes_commands_and_values(words: str, completed: str, monkeypatch, capsys):
    monkeypatch.setenv("_PREP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setattr("sys.argv", ["prep"])
    with pytest.raises(SystemExit):
        cli.main()
    assert completed in capsys.readouterr().out.split()


def test_on_github_errors_and_warnings_are_annotations(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    def body(_out):
        log.warning("50 % done")
        raise SourceError("no such\nmodel", hint="look")

    run_session(body)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("::")] == [
        "::warning title=prep::50 %25 done",
        "::error title=prep::no such%0A  model%0A  hint: look",
    ]
