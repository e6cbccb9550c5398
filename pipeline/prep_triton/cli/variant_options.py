"""The options of a variant (a model in a precision, on a runtime, for GPUs), and from them to one request."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.exclusive import check_alone, list_given
from prep_triton.cli.groups import flag_of, given_options, list_flags, spec_from_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prep_triton.gpus import Gpu
    from prep_triton.spec import VariantSpec


@dataclass(frozen=True)
class PrecisionOptions:
    """In which numbers a model computes; they exclude each other."""

    fp16: Annotated[bool, typer.Option("--fp16", help="Build in FP16 (the default).")] = False
    fp32: Annotated[bool, typer.Option("--fp32", help="Build in FP32.")] = False
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in BF16 (openvino).")] = False
    int8: Annotated[
        bool, typer.Option("--int8", help="Build in INT8 (tensorrt, openvino); needs --calibration-data.")
    ] = False
    int8_if_faster: Annotated[
        bool, typer.Option("--int8-if-faster", help="Build in INT8 if that is faster on this GPU, else in FP16.")
    ] = False


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is built, and for which GPUs: the keys of `BuildOptions`."""

    gpus: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            help="Target GPU, such as t4 (repeatable). [the GPU of this machine, else t4 and l4]",
            metavar="GPU",
            autocompletion=complete("gpus"),
        ),
    ] = None
    builder: Annotated[
        str,
        typer.Option(
            help="tensorrt (needs the target GPU), tensorrt-rtx (needs no GPU), or auto for the first that works.",
            autocompletion=complete("builders"),
        ),
    ] = "auto"
    profiles: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="MIN,OPT,MAX",
            help="Optimization profile of three BATCHxSEQUENCE shapes (repeatable). [1x16,8x128,16xLENGTH]",
        ),
    ] = None
    seq_lens: Annotated[
        str | None, typer.Option(help="Length buckets with a profile each, such as 32,64,128; excludes --profile.")
    ] = None
    batch: Annotated[
        str | None, typer.Option(help="Batch sizes MIN,OPT,MAX of every bucket of --seq-lens. [1,8,16]")
    ] = None
    optimization_level: Annotated[int | None, typer.Option(help="Effort of the builder, 0 to 5 (tensorrt).")] = None
    workspace_limit_mib: Annotated[int | None, typer.Option(help="Limit of the builder's scratch memory, MiB.")] = None
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Build a plan that newer TensorRT versions load (tensorrt).")
    ] = False
    hardware_compatible: Annotated[
        str | None,
        typer.Option(
            help="ampere_plus: build a plan for Ampere and later (tensorrt).",
            autocompletion=complete("hardware"),
        ),
    ] = None
    refit: Annotated[bool, typer.Option("--refit", help="Build a plan whose weights can be replaced (tensorrt).")] = (
        False
    )
    strip_weights: Annotated[
        bool, typer.Option("--strip-weights", help="Build a plan without weights, to be refitted (tensorrt).")
    ] = False


@dataclass(frozen=True)
class CalibrationOptions:
    """The text that INT8 ranges are measured on: the keys of `CalibrationSpec`."""

    path: Annotated[
        str | None,
        typer.Option(
            "--calibration-data",
            metavar="FILE",
            help="Text for INT8 calibration: .txt, .jsonl (pairs: text, text_pair), or .npz with token ids.",
        ),
    ] = None
    field: Annotated[
        str | None, typer.Option("--calibration-field", help="Field of the .jsonl with the text. [text]")
    ] = None
    samples: Annotated[int | None, typer.Option("--calibration-samples", help="Number of texts. [128]")] = None
    seed: Annotated[int | None, typer.Option("--calibration-seed", help="Seed that selects the texts. [0]")] = None
    method: Annotated[
        str | None,
        typer.Option(
            "--calibration-method",
            help="How to find ranges: {calibration_methods}. [max]",
            autocompletion=complete("calibration_methods"),
        ),
    ] = None
    percentile: Annotated[
        float | None, typer.Option(help="Percentile of --calibration-method percentile. [99.999]")
    ] = None


@dataclass(frozen=True)
class QuantizationOptions:
    """How a model is quantised: the keys of `QuantizationSpec`."""

    calibration: CalibrationOptions = CalibrationOptions()
    smoothing_alpha: Annotated[
        float | None,
        typer.Option(help="SmoothQuant's alpha: the share of the scale, 0 to 1, that moves into the weights. [0.8]"),
    ] = None
    smoothing: Annotated[bool, typer.Option(help="Apply SmoothQuant before quantising.")] = True
    keep_out: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="Linear layer to keep out of INT8 (repeatable).")
    ] = None
    search: Annotated[
        bool, typer.Option(help="Measure each layer, and keep out of INT8 as few as the gate allows.")
    ] = True


@dataclass(frozen=True)
class GateOptions:
    """What a converted model must reach: the keys of `GateSpec`."""

    min_cosine: Annotated[
        float | None, typer.Option(help="Smallest mean cosine to FP32. [fp16: 0.999; int8: 0.99]")
    ] = None
    min_row_cosine: Annotated[
        float | None,
        typer.Option(help="Smallest cosine to FP32 of any one row. [fp16: 0.999; int8: 0.97; less with --min-cosine]"),
    ] = None
    eval_data: Annotated[str | None, typer.Option(metavar="FILE", help="Labelled .jsonl for --max-accuracy-drop.")] = (
        None
    )
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Points of the task's metric that may be lost, such as 0.5.")
    ] = None


@dataclass(frozen=True)
class VariantOptions:
    """One way of serving a model: the keys of `VariantSpec`."""

    precision: PrecisionOptions = PrecisionOptions()
    runtime: Annotated[
        str,
        typer.Option(
            help="tensorrt builds engines; openvino and onnxruntime serve the graph on a CPU.",
            autocompletion=complete("runtimes"),
        ),
    ] = "tensorrt"
    engine: EngineOptions = EngineOptions()
    quantization: QuantizationOptions = QuantizationOptions()
    gate: GateOptions = GateOptions()


def variant_from_flags(options: VariantOptions, present: "Sequence[Gpu]" = ()) -> "VariantSpec":
    """Build the request for a variant; a TensorRT one without --gpu is for the GPUs of this machine, `present`.

    Raises:
        SpecError: The flags are not a request.
    """
    from prep_triton.spec import VariantSpec

    _check_quantization(options)
    needs_gpu = options.runtime == "tensorrt" and not options.engine.gpus
    return spec_from_flags(
        VariantSpec,
        options.engine,
        flags=list_flags([options]),
        runtime=options.runtime,
        precision=choose_precision(options.precision, options.runtime),
        int8_if_faster=options.precision.int8_if_faster or None,
        gpus=default_gpus(present) if needs_gpu else None,
        quantization=quantization_from_flags(options.quantization),
        gate=given_options(options.gate) or None,
    )


def choose_precision(options: PrecisionOptions, runtime: str) -> str:
    """Return the precision that was asked for; without one that of GPUs, or of OpenVINO.

    Raises:
        SpecError: Several were.
    """
    from prep_triton.errors import SpecError

    names = list(given_options(options))
    if len(names) > 1:
        flags = " and ".join(flag_of(options, name) for name in names)
        raise SpecError(f"{flags} exclude each other", hint="name one precision")
    return names[0].removesuffix("_if_faster") if names else "bf16" if runtime == "openvino" else "fp16"


def _check_quantization(options: VariantOptions) -> None:
    """Refuse flags of INT8 where there is none, or no text for it, or that contradict each other.

    Raises:
        SpecError: There are such.
    """
    from prep_triton.errors import SpecError
    from prep_triton.spec import find_precision_problem

    quantization = options.quantization
    flags = list(list_given(quantization))
    precision = choose_precision(options.precision, options.runtime)
    if find_precision_problem(options.runtime, precision):
        return  # whatever the flags are: the request says it
    if flags and precision != "int8":
        raise SpecError(
            f"{flags[0]} means nothing for {options.runtime} {precision}: int8 of tensorrt and openvino is calibrated",
            hint="add --int8 for tensorrt or openvino, or remove it",
        )
    if precision == "int8" and quantization.calibration.path is None:
        flag = next(list_given(options.precision))
        raise SpecError(
            f"{flag} for {options.runtime} needs text to calibrate on",
            hint="add --calibration-data texts.txt; --fp16 (tensorrt) and --bf16 (openvino) need none",
        )
    if quantization.smoothing_alpha is not None:
        check_alone("--smoothing-alpha", {"--no-smoothing": not quantization.smoothing})


def quantization_from_flags(options: QuantizationOptions) -> dict[str, Any] | None:
    """Return the values of a `QuantizationSpec`, or None where nothing was said of it."""
    values = given_options(options)
    values.pop("smoothing", None)
    if calibration := given_options(options.calibration):
        values["calibration"] = calibration
    if values and not options.smoothing:
        values["smoothing_alpha"] = None
    return values or None


def default_gpus(present: "Sequence[Gpu]") -> list[str]:
    """Return the GPUs of this machine, else the two that GKE's inference node pools use most."""
    import logging

    if present:
        return sorted({gpu.sm for gpu in present})  # nvidia-smi's names are many; the architecture is what counts
    logging.getLogger(__name__).info("no --gpu was given and this machine has none: building for t4 and l4")
    return ["t4", "l4"]
