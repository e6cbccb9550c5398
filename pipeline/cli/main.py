"""The `prep` command: it only gathers the commands, one small file each."""

import typer

from pipeline import __version__
from pipeline.cli.assemble import assemble
from pipeline.cli.build_engine import build_engine
from pipeline.cli.doctor import doctor
from pipeline.cli.export import export
from pipeline.cli.publish import publish
from pipeline.cli.releases import releases
from pipeline.cli.run import run
from pipeline.cli.verify import verify

app = typer.Typer(
    name="prep",
    help="From a trained BERT or DistilBERT to a Triton model repository on GCS.",
    epilog="Start with: prep doctor, then prep export minilm",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"prep {__version__}")
        raise typer.Exit


@app.callback()
def prep(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """From a trained BERT or DistilBERT to a Triton model repository on GCS."""
    del version


app.command()(export)
app.command("build-engine")(build_engine)
app.command()(assemble)
app.command()(verify)
app.command()(publish)
app.command()(releases)
app.command()(run)
app.command()(doctor)


def main() -> None:
    """Run the command line."""
    app()
