"""The `prep` command on a bad day: interrupted early, a full stdout, text that would steer the terminal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from prep_triton.cli import interrupts, output
from prep_triton.cli.options import OutputOptions
from prep_triton.errors import SourceError

from tests.fakes.documents import parse_document
from tests.fakes.prep_command import SCRIPT

EVIL = "x\x1b[31mred\x1b]0;title\x07"
# A library whose import a signal meets: it takes long, or makes an error of its own of what meets it.
SLOW_LIBRARY = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(10)
"""
TRANSLATING_LIBRARY = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except BaseException as err:
    raise ImportError("the C extension cannot be loaded")
"""


# As the console script does it, with a signal at the import of a module: before any handler of ours too. Neither `os`
# nor `signal`, whose imports are among those that are interrupted.
CONSOLE_SCRIPT = """
import posix, sys
interrupted = sys.argv.pop(1)
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == interrupted:
            sys.meta_path.remove(self)
            posix.kill(posix.getpid(), 2)
            while True:
                pass
sys.meta_path.insert(0, Interrupter())
import re
from prep_triton.cli.main import main
sys.exit(main())
"""


def run_prep(*arguments: str, folder: Path, stdout: int | None = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    """Run `prep`, for which the modules of a folder stand in front of what is installed."""
    search_path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": search_path, "NO_COLOR": "1"},
        cwd=folder,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("library", [SLOW_LIBRARY, TRANSLATING_LIBRARY], ids=["slow", "translating"])
@pytest.mark.parametrize("module", ["typer", "pydantic"])
def test_ctrl_c_during_an_import_is_an_interruption(module: str, library: str, tmp_path: Path):
    (tmp_path / f"{module}.py").write_text(library)
    done = run_prep("run", "nightly.yaml", "--json", folder=tmp_path)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stderr == f"{interrupts.MESSAGE}; {interrupts.HINT}\n"
    assert parse_document(done.stdout, "error")["error"]["code"] == "interrupted"


@pytest.mark.parametrize(
    "module",
    [
        "prep_triton.cli.interrupts",
        "signal",
        "json",
        "json.decoder",
        "contextlib",
        "typing",
        "prep_triton.cli.codes",
        "prep_triton.cli.app",
        "typer",
        "prep_triton.cli.output",
        "prep_triton.cli.export",
        "prep_triton.errors",
        "prep_triton.triton.lint",
    ],
)
def test_ctrl_c_is_answered_from_the_first_import_on(module: str):
    done = subprocess.run(
        [sys.executable, "-c", CONSOLE_SCRIPT, module, "lint", "/nowhere"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{interrupts.MESSAGE}; {interrupts.HINT}\n")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError("__set_name__"), ValueError("a bug")])
def test_what_python_makes_of_an_interruption_is_one(interruption: BaseException):
    if isinstance(interruption, RuntimeError):
        interruption.__cause__ = KeyboardInterrupt()
    assert interrupts.was_interrupted(interruption) == (not isinstance(interruption, ValueError))


def test_an_interruption_stays_one_whatever_a_library_makes_of_it(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as end, output.session(OutputOptions()):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt as err:
            raise SourceError("the library cannot be imported", hint="install it") from err
    assert end.value.exit_code == 130
    assert "error" not in capsys.readouterr().err


def test_an_error_after_an_earlier_interruption_is_an_error():
    with pytest.raises(typer.Exit), output.session(OutputOptions()):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(typer.Exit) as end, output.session(OutputOptions()):
        raise SourceError("no such model", hint="look")
    assert end.value.exit_code == 1


@pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json"), ("--help",)], ids=" ".join)
def test_a_stdout_that_is_full_is_named(arguments: tuple[str, ...], tmp_path: Path):
    with Path("/dev/full").open("w") as full:
        done = run_prep(*arguments, folder=tmp_path, stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr.startswith("error: stdout cannot be written: No space left on device\nhint: ")


def test_a_stderr_that_is_full_ends_nothing(tmp_path: Path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [str(SCRIPT), "doctor"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert (done.returncode, bool(done.stdout)) == (0, True)


@pytest.mark.parametrize("arguments", [("client", "-"), ("doctor", "--json")], ids=" ".join)
def test_a_stream_that_is_closed_is_no_traceback(arguments: tuple[str, ...], tmp_path: Path):
    command = [sys.executable, "-c", "import os, sys; os.close(0); os.close(1); os.execv(sys.argv[1], sys.argv[1:])"]
    done = subprocess.run(
        [*command, str(SCRIPT), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == (2 if "client" in arguments else 0)


def test_a_file_that_cannot_be_read_is_named_by_the_last_resort(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as end, output.session(OutputOptions()):
        raise OSError(5, "Input/output error", "/mnt/models/config.json")
    assert end.value.exit_code == 1
    assert "/mnt/models/config.json cannot be read or written: Input/output error" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    with pytest.raises(OSError, match="Bad file descriptor"), output.session(OutputOptions()):
        raise OSError(9, "Bad file descriptor")


def test_a_working_directory_that_was_deleted_is_named(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(typer.Exit), output.session(OutputOptions()):
        Path("build").absolute()
    assert "the working directory does not exist any more" in capsys.readouterr().err


def test_no_form_of_output_steers_the_terminal(capsys: pytest.CaptureFixture[str]):
    with output.session(OutputOptions()) as out:
        out.line(EVIL)
        out.table(EVIL, (EVIL,), [(EVIL,)])
        out.note(EVIL)
        with out.progress(EVIL) as report:
            report(EVIL, 0.5)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "\x07" not in printed.out + printed.err
    assert printed.out.count(r"x\x1b[31mred\x1b]0;title\x07") >= 3


def test_a_name_that_cannot_be_encoded_is_shown(capsys: pytest.CaptureFixture[str]):
    with output.session(OutputOptions()) as out:
        out.line("caf\udce9")
    assert capsys.readouterr().out == "caf\\udce9\n"


def test_a_wrong_flag_does_not_steer_the_terminal(tmp_path: Path):
    done = run_prep("build-engine", "m", "--gpu", EVIL, folder=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
