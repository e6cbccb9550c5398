"""`prep init`: a pipeline file to begin with."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import session

if TYPE_CHECKING:
    from prep_triton.run.starter import Starter

DEFAULT_FILE = Path("prep.yaml")
DEFAULT_MODEL = "minilm"


@dataclass(frozen=True)
class StarterOptions:
    """What the file is to make: what is not given is asked for on a terminal."""

    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="An alias ({aliases}), a hub id or a folder (repeatable). [minilm]",
            autocompletion=complete("aliases"),
        ),
    ] = None
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="RUNTIME",
            help="What serves it: {runtimes} (repeatable). [onnxruntime]",
            autocompletion=complete("runtimes"),
        ),
    ] = None
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="GPU",
            help="GPU that TensorRT builds for, such as t4 (repeatable). [t4, l4]",
            autocompletion=complete("gpus"),
        ),
    ] = None
    publish: Annotated[str | None, typer.Option(help="gs://bucket/prefix or folder to publish to. [nowhere]")] = None
    text: Annotated[bool | None, typer.Option(help="Serve text in, answer out. [text]", show_default=False)] = None


@expand_groups
def init(
    options: StarterOptions = StarterOptions(),
    path: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = DEFAULT_FILE,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing, on a terminal too.")] = False,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Write a commented pipeline file that runs as it is.

    Beside it goes prep.schema.json, with which an editor completes and checks the file.

    \b
    Examples:
      prep init
      prep init --model ./sentiment --model minilm --publish gs://bucket/models
      prep init --model bert-base --runtime onnxruntime --runtime tensorrt --gpu t4 -o nightly.yaml
    """
    with session(output) as out:
        from prep_triton.cli.documents.init import InitDocument, render_init
        from prep_triton.run.starter import write_starter

        asks = not (no_input or output.json) and sys.stdin.isatty()
        request = _request_from_options(options, _ask(options) if asks else {})
        written, schema = write_starter(request, path, force=force)
        out.show(InitDocument(config=str(written), schema_file=str(schema), models=tuple(request.models)), render_init)


def _request_from_options(options: StarterOptions, answers: dict[str, Any]) -> "Starter":
    from prep_triton.errors import SpecError, suggest
    from prep_triton.run.starter import Starter
    from prep_triton.spec import RUNTIMES

    chosen: dict[str, Any] = {key: value for key, value in vars(options).items() if value not in (None, [])} | answers
    runtimes = tuple(dict.fromkeys(chosen.get("runtime", ("onnxruntime",))))
    for runtime in runtimes:
        if runtime not in RUNTIMES:
            hint = suggest(runtime, RUNTIMES, otherwise=f"expected one of {', '.join(RUNTIMES)}")
            raise SpecError(f"--runtime '{runtime}' is not a known value", hint=hint)
    if chosen.get("gpu") and "tensorrt" not in runtimes:
        raise SpecError("--gpu is for runtime tensorrt", hint="add --runtime tensorrt, or leave --gpu out")
    return Starter(
        models=tuple(dict.fromkeys(chosen.get("model", (DEFAULT_MODEL,)))),
        runtimes=runtimes,
        gpus=tuple(chosen.get("gpu", ())),
        publish=chosen.get("publish") or None,
        text=chosen.get("text", True),
    )


def _ask(options: StarterOptions) -> dict[str, Any]:
    """Ask for what no flag says; Enter takes what stands in brackets.

    Raises:
        SpecError: The terminal was closed.
    """
    from prep_triton.errors import SpecError

    answers: dict[str, Any] = {}
    try:
        if not options.model:
            question = "Models (aliases, hub ids or folders, with spaces between them)"
            answers["model"] = typer.prompt(question, default=DEFAULT_MODEL, err=True).split()
        if not options.runtime:
            answers["runtime"] = typer.prompt(
                "Runtimes (onnxruntime, openvino, tensorrt)", default="onnxruntime", err=True
            )
            answers["runtime"] = answers["runtime"].replace(",", " ").split()
        if not options.gpu and "tensorrt" in (options.runtime or answers["runtime"]):
            answers["gpu"] = typer.prompt("GPUs", default="t4 l4", err=True).replace(",", " ").split()
        if options.text is None:
            answers["text"] = typer.confirm("Text in, answer out?", default=True, err=True)
        if options.publish is None:
            question = "Publish to (gs://bucket/prefix or a folder; Enter for nowhere)"
            answers["publish"] = typer.prompt(question, default="", show_default=False, err=True)
    except typer.Abort as err:
        raise SpecError("the questions were not answered", hint="ask nothing: prep init --no-input") from err
    return answers
