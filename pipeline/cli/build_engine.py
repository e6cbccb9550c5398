"""`prep build-engine`: exported models to TensorRT-family engines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.options import (
    DEFAULT_WORKSPACE,
    GPU_EXAMPLES,
    JsonOption,
    VerboseOption,
    WorkspaceOption,
    complete_from,
)
from pipeline.cli.render import RowPrinter, rows_document

if TYPE_CHECKING:
    from pipeline.artifact import OnnxModel
    from pipeline.workspace import Workspace


def build_engine(
    model: Annotated[str | None, typer.Argument(help="An exported model; every exported one by default.")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Build in FP16 (the default).")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="Build in FP32.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Not available yet.")] = False,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help="Target GPU (t4, l4, a10, a100, …); repeat it. The GPU present by default, else t4 and l4.",
            metavar="GPU",
            autocompletion=complete_from(*GPU_EXAMPLES),
        ),
    ] = None,
    builder: Annotated[
        str,
        typer.Option(
            help="tensorrt: needs the target GPU. tensorrt-rtx: ahead of time, without one. auto: the first usable.",
            autocompletion=complete_from("auto", "tensorrt", "tensorrt-rtx"),
        ),
    ] = "auto",
    profile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MIN,OPT,MAX",
            help="Optimization profile, three shapes BATCHxSEQUENCE; repeat it. [1x16,8x128,16x384]",
        ),
    ] = None,
    optimization_level: Annotated[int | None, typer.Option(help="0 to 5: builder effort (tensorrt).")] = None,
    workspace_limit_mib: Annotated[int | None, typer.Option(help="Scratch GPU memory limit in MiB (tensorrt).")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Build engines from exported models, one for each GPU, and prove their precision.

    \b
    Examples:
      prep build-engine --fp16
      prep build-engine minilm --fp16 --gpu t4 --gpu l4 --profile 1x16,8x128,16x384
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from pipeline.run.stages import build_engines
        from pipeline.spec import EngineSpec, build_spec
        from pipeline.workspace import Workspace

        given: dict[str, Any] = {"precision": _choose_precision(fp16=fp16, fp32=fp32, int8=int8), "builder": builder}
        optional = {
            "profiles": profile,
            "optimization_level": optimization_level,
            "workspace_limit_mib": workspace_limit_mib,
        }
        given |= {key: value for key, value in optional.items() if value}
        store = Workspace(workspace)
        models = find_exported(store, model, workspace)
        specs = [
            build_spec(EngineSpec, given | {"gpu": target}, where="the command line")
            for target in gpu or default_gpus()
        ]
        printer = RowPrinter(out)
        rows = [row for exported in models for row in build_engines(exported, specs, store, printer)]
        out.document(rows_document(rows))
        printer.summary(rows)


def _choose_precision(*, fp16: bool, fp32: bool, int8: bool) -> str:
    from pipeline.errors import SpecError
    from pipeline.run.checks import check_precision

    chosen = [name for name, wanted in (("fp16", fp16), ("fp32", fp32), ("int8", int8)) if wanted]
    if len(chosen) > 1:
        raise SpecError(f"--{' and --'.join(chosen)} exclude each other", hint="name one precision")
    if int8:
        check_precision("int8")
    return chosen[0] if chosen else "fp16"


def default_gpus() -> list[str]:
    """Return the GPU of this machine, else the two that GKE's inference node pools use most."""
    import logging

    from pipeline.engine.gpus import find_present_gpus

    present = find_present_gpus()
    if present:
        return sorted({gpu.name for gpu in present})
    logging.getLogger(__name__).info("no --gpu was given and this machine has none: building for t4 and l4")
    return ["t4", "l4"]


def find_exported(store: "Workspace", name: str | None, shown: Path) -> "list[OnnxModel]":
    """Return the exported model of a name, or every one.

    Raises:
        SpecError: There is no such model in the workspace.
    """
    from pipeline.artifact import OnnxModel
    from pipeline.errors import SpecError

    exported = store.list_current("export", OnnxModel)
    if name is None and exported:
        return exported
    found = [model for model in exported if name in (model.name, model.source)]
    if not found:
        have = f"; it holds {', '.join(model.name for model in exported)}" if exported else ""
        what = f"model '{name}'" if name else "model"
        raise SpecError(f"no {what} was exported in {shown}{have}", hint=f"prep export {name or 'bert-base'}")
    return found
