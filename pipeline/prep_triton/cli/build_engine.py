"""`prep build-engine`: exported models to TensorRT-family engines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli import output
from prep_triton.cli.options import (
    DEFAULT_WORKSPACE,
    GPU_EXAMPLES,
    JsonOption,
    VerboseOption,
    WorkspaceOption,
    complete_from,
)
from prep_triton.cli.render import RowPrinter, rows_document

if TYPE_CHECKING:
    from prep_triton.artifact import OnnxModel
    from prep_triton.workspace import Workspace


def build_engine(
    model: Annotated[str | None, typer.Argument(help="An exported model; every exported one by default.")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Build in FP16 (the default).")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="Build in FP32.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Build in INT8; tensorrt needs --calibration-data.")] = False,
    int8_if_faster: Annotated[
        bool, typer.Option("--int8-if-faster", help="INT8 where it is measured faster on the GPU here, else FP16.")
    ] = False,
    runtime: Annotated[
        str,
        typer.Option(
            help="tensorrt: engines. onnxruntime: the graph that ONNX Runtime runs fastest on a CPU.",
            autocompletion=complete_from("tensorrt", "onnxruntime"),
        ),
    ] = "tensorrt",
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
    seq_lens: Annotated[
        str | None, typer.Option(help="Length buckets, one profile each: 32,64,128,256,384 (instead of --profile).")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Batch min,opt,max of every bucket. [1,8,16]")] = None,
    calibration_data: Annotated[
        str | None, typer.Option(metavar="FILE", help="Text to calibrate INT8 on: .txt, .jsonl, or .npz with ids.")
    ] = None,
    calibration_field: Annotated[
        str | None, typer.Option(help="Field of the .jsonl that holds the text. [text]")
    ] = None,
    calibration_samples: Annotated[int | None, typer.Option(help="How many texts to calibrate on. [128]")] = None,
    calibration_seed: Annotated[int | None, typer.Option(help="Seed that chooses them. [0]")] = None,
    calibration_method: Annotated[
        str | None,
        typer.Option(
            help="How ranges are found: max, percentile, entropy or mse. [max]",
            autocompletion=complete_from("max", "percentile", "entropy", "mse"),
        ),
    ] = None,
    percentile: Annotated[float | None, typer.Option(help="For --calibration-method percentile. [99.999]")] = None,
    smoothing_alpha: Annotated[
        float | None, typer.Option(help="SmoothQuant's alpha, 0 to 1: how much of the scale moves into weights.")
    ] = None,
    smoothing: Annotated[bool, typer.Option(help="Smooth activations before they are quantised.")] = True,
    keep_out: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="A linear layer to keep out of INT8; repeat it.")
    ] = None,
    search: Annotated[
        bool, typer.Option(help="Keep the fewest layers out of INT8 that the gate needs, by measuring each.")
    ] = True,
    min_cosine: Annotated[float | None, typer.Option(help="Smallest mean cosine to FP32. [INT8: 0.99]")] = None,
    eval_data: Annotated[
        str | None, typer.Option(metavar="FILE", help="A .jsonl with labels, for --max-accuracy-drop.")
    ] = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Points of accuracy (or F1) that may be lost, such as 0.5.")
    ] = None,
    optimization_level: Annotated[int | None, typer.Option(help="0 to 5: builder effort (tensorrt).")] = None,
    workspace_limit_mib: Annotated[int | None, typer.Option(help="Scratch GPU memory limit in MiB.")] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="A plan that newer TensorRT versions load (tensorrt).")
    ] = False,
    hardware_compatible: Annotated[
        str | None,
        typer.Option(
            help="ampere_plus: a plan for Ampere and later (tensorrt).", autocompletion=complete_from("ampere_plus")
        ),
    ] = None,
    refit: Annotated[bool, typer.Option("--refit", help="A plan whose weights can be replaced (tensorrt).")] = False,
    strip_weights: Annotated[
        bool, typer.Option("--strip-weights", help="A plan without weights, to be refitted (tensorrt).")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Build engines from exported models, one for each GPU, and prove their precision.

    \b
    Examples:
      prep build-engine --fp16
      prep build-engine minilm --fp16 --gpu t4 --gpu l4 --profile 1x16,8x128,16x384
      prep build-engine minilm --int8 --calibration-data texts.jsonl --min-cosine 0.99 --gpu t4
      prep build-engine minilm --runtime onnxruntime --int8
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from prep_triton.run.stages import build_variant
        from prep_triton.spec import VariantSpec, build_spec
        from prep_triton.workspace import Workspace

        calibration = {
            "path": calibration_data,
            "field": calibration_field,
            "samples": calibration_samples,
            "seed": calibration_seed,
            "method": calibration_method,
            "percentile": percentile,
        }
        quantization = {
            "calibration": _given(calibration),
            "smoothing_alpha": smoothing_alpha,
            "keep_out": keep_out,
            "search": None if search else False,
        }
        gate = {"min_cosine": min_cosine, "eval_data": eval_data, "max_accuracy_drop": max_accuracy_drop}
        wanted = _given(quantization)
        if wanted and not smoothing:
            wanted["smoothing_alpha"] = None
        choices = {
            "runtime": runtime,
            "precision": _choose_precision(fp16=fp16, fp32=fp32, int8=int8 or int8_if_faster),
            "int8_if_faster": int8_if_faster or None,
            "gpus": gpu,
            "builder": None if builder == "auto" else builder,
            "profiles": profile,
            "seq_lens": seq_lens,
            "batch": batch,
            "quantization": wanted,
            "gate": _given(gate),
            "optimization_level": optimization_level,
            "workspace_limit_mib": workspace_limit_mib,
            "version_compatible": version_compatible or None,
            "hardware_compatible": hardware_compatible,
            "refit": refit or None,
            "strip_weights": strip_weights or None,
        }
        store = Workspace(workspace)
        models = find_exported(store, model, workspace)
        if runtime == "tensorrt" and not gpu:
            choices["gpus"] = default_gpus()
        variant = build_spec(VariantSpec, _given(choices) or {}, where="the command line")
        printer = RowPrinter(out)
        rows = [row for exported in models for row in build_variant(exported, variant, store, printer)]
        out.document(rows_document(rows))
        printer.summary(rows)


def _given(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options that were given, or None where none was: the spec knows the defaults."""
    return {key: value for key, value in options.items() if value not in (None, [])} or None


def _choose_precision(*, fp16: bool, fp32: bool, int8: bool) -> str:
    from prep_triton.errors import SpecError

    chosen = [name for name, wanted in (("fp16", fp16), ("fp32", fp32), ("int8", int8)) if wanted]
    if len(chosen) > 1:
        raise SpecError(f"--{' and --'.join(chosen)} exclude each other", hint="name one precision")
    return chosen[0] if chosen else "fp16"


def default_gpus() -> list[str]:
    """Return the GPU of this machine, else the two that GKE's inference node pools use most."""
    import logging

    from prep_triton.gpus import find_present_gpus

    present = find_present_gpus()
    if present:
        return sorted({gpu.sm for gpu in present})  # nvidia-smi's names are many; the architecture is what counts
    logging.getLogger(__name__).info("no --gpu was given and this machine has none: building for t4 and l4")
    return ["t4", "l4"]


def find_exported(store: "Workspace", name: str | None, shown: Path) -> "list[OnnxModel]":
    """Return the exported model of a name, or every one.

    Raises:
        SpecError: There is no such model in the workspace.
    """
    from prep_triton.artifact import OnnxModel
    from prep_triton.errors import SpecError

    exported = store.list_current("export", OnnxModel)
    if name is None and exported:
        return exported
    found = [model for model in exported if name in (model.name, model.source)]
    if not found:
        have = f"; it holds {', '.join(model.name for model in exported)}" if exported else ""
        what = f"model '{name}'" if name else "model"
        raise SpecError(f"no {what} was exported in {shown}{have}", hint=f"prep export {name or 'bert-base'}")
    return found
