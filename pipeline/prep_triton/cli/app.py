"""The `prep` command: it only gathers the commands, one small file each."""

import sys

import typer

from prep_triton import __version__
from prep_triton.cli import output
from prep_triton.cli.assemble import assemble
from prep_triton.cli.bench import bench
from prep_triton.cli.build_engine import build_engine
from prep_triton.cli.choices import Command
from prep_triton.cli.client import client
from prep_triton.cli.compare import compare
from prep_triton.cli.deploy import deploy
from prep_triton.cli.doctor import doctor
from prep_triton.cli.export import export
from prep_triton.cli.fetch import fetch
from prep_triton.cli.gc import gc
from prep_triton.cli.init import init
from prep_triton.cli.inspect import inspect
from prep_triton.cli.lint import lint
from prep_triton.cli.list import list as list_artifacts
from prep_triton.cli.prune import prune
from prep_triton.cli.publish import publish
from prep_triton.cli.releases import releases
from prep_triton.cli.report import report
from prep_triton.cli.rollback import rollback
from prep_triton.cli.run import run
from prep_triton.cli.schema import schema
from prep_triton.cli.serve import serve
from prep_triton.cli.tune import tune
from prep_triton.cli.verify import verify
from prep_triton.os_errors import NO_SPACE

app = typer.Typer(
    name="prep",
    help="Turn trained BERT models into Triton model repositories on GCS.",
    epilog="Start with: prep doctor, then prep export minilm",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        output.print_line(f"prep {__version__}")
        raise typer.Exit


@app.callback()
def prep(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Turn trained BERT models into Triton model repositories on GCS."""
    del version


# In the order of the work, which is that of the list in `prep --help`.
COMMANDS = (
    export,
    build_engine,
    inspect,
    compare,
    assemble,
    lint,
    verify,
    serve,
    client,
    bench,
    tune,
    report,
    publish,
    releases,
    rollback,
    prune,
    fetch,
    deploy,
    init,
    run,
    list_artifacts,
    gc,
    doctor,
    schema,
)
for command in COMMANDS:
    app.command(cls=Command)(command)

# Typer brings its own click, of which this is the public end.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def run_command_line() -> int:
    """Run the command of ``sys.argv``, and return its exit code."""
    try:
        code = app(standalone_mode=False, prog_name="prep")
    except _UsageError as err:
        return output.fail_usage(err, as_json="--json" in sys.argv)
    except OSError as err:
        if err.filename or err.errno not in NO_SPACE:
            raise
        return output.fail_outside_session(output.error_of_stdout(err))  # of a help: a session translates its own
    return code or 0
