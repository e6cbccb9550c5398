"""A pipeline file to begin with: commented, complete, and held to what `prep run --check` looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from prep_triton.errors import SpecError
from prep_triton.files import translate_os_errors, write_atomically
from prep_triton.run.file_checks import check_file
from prep_triton.spec import Runtime, parse_run_spec
from prep_triton.spec.schema import FILES, render_schema

SCHEMA_NAME = "prep.schema.json"
DEFAULT_GPUS = ("t4", "l4")
_OUTPUT = "--output"


@dataclass(frozen=True)
class Starter:
    """What a new pipeline file is to make.

    `models` are aliases, hub ids or folders; `gpus` are those that TensorRT builds for, `DEFAULT_GPUS` where empty;
    `publish` is where releases go, None for nowhere.
    """

    models: Sequence[str]
    runtimes: Sequence[Runtime] = ("onnxruntime",)
    gpus: Sequence[str] = ()
    publish: str | None = None
    text: bool = True


def render_starter(request: Starter, *, name: str) -> str:
    """Return the text of a pipeline file.

    Args:
        request: What it makes.
        name: The file's name, for the commands in its comments.

    Raises:
        SpecError: The request has a fault that `prep run --check` would find.
    """
    text = "\n".join([*_render_head(name), *_render_models(request), *_render_rest(request)]) + "\n"
    check_file(parse_run_spec(text, where="the command line"), where="the command line")
    return text


def write_starter(request: Starter, path: Path, *, force: bool = False) -> tuple[Path, Path]:
    """Write a pipeline file, and beside it the schema that its first line names.

    Args:
        request: What the file makes.
        path: Where to.
        force: Write over a file that is there.

    Returns:
        The two files.

    Raises:
        SpecError: The request has a fault, or a file is there already that is not to be written over.
        WorkspaceError: The files cannot be written.
    """
    schema_path = path.parent / SCHEMA_NAME
    taken = [place for place in (path, schema_path) if place.exists() and not _is_schema_of_ours(place)]
    if taken and not force:
        hint = f"write over it with --force, or name another file with {_OUTPUT}"
        raise SpecError(f"{taken[0]} is there already", hint=hint)
    text = render_starter(request, name=str(path))
    with translate_os_errors(path.parent, setting=_OUTPUT):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(schema_path, render_schema("pipeline").encode())
        write_atomically(path, text.encode())
    return path, schema_path


def _is_schema_of_ours(path: Path) -> bool:
    """Whether a file is the schema of this or another version of prep, which is written anew."""
    try:
        return path.name == SCHEMA_NAME and FILES["pipeline"][1] in path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _render_head(name: str) -> list[str]:
    return [
        f"# yaml-language-server: $schema={SCHEMA_NAME}",
        "# A pipeline file of prep. Every key has a description: prep schema prints them, an editor shows them.",
        f"#   what is wrong with it:               prep run {name} --check",
        f"#   what would be done on this machine:  prep run {name} --dry-run",
        f"#   all of it:                           prep run {name}",
        "",
    ]


def _render_models(request: Starter) -> list[str]:
    lines = ["models:"]
    for model in request.models:
        lines.append(_comment(f"  - model: {_scalar(model)}", "an alias, a hub id (organization/name) or a folder"))
        lines.append("    # task: text-classification         # else the one that the checkpoint was saved with")
        lines.append("    variants:")
        for runtime in request.runtimes:
            lines += _render_variant(runtime, request)
    return lines


def _render_variant(runtime: Runtime, request: Starter) -> list[str]:
    if runtime == "onnxruntime":
        lines = [
            _comment("      - runtime: onnxruntime", "a graph, on the CPU; serving: {instance_kind: gpu} for a GPU"),
            _comment("        precision: fp32", "or fp16"),
        ]
    elif runtime == "openvino":
        lines = [
            _comment("      - runtime: openvino", "a graph, on the CPU"),
            _comment("        precision: bf16", "int8 needs calibration text: quantization"),
        ]
    else:
        gpus = ", ".join(map(_scalar, request.gpus or DEFAULT_GPUS))
        lines = [
            _comment("      - runtime: tensorrt", "an engine for each GPU"),
            _comment(
                "        builder: auto", "tensorrt on the GPU itself, else tensorrt-rtx, which Triton does not load"
            ),
            _comment("        precision: fp16", "int8 needs calibration text: quantization"),
            f"        gpus: [{gpus}]",
        ]
    if request.text:
        lines.append(_comment("        text: true", "text in, answer out; without it clients send token ids"))
    own = "instance_count: 2, threads: 1" if runtime == "openvino" else "max_batch_size: 16, warmup: true"
    lines.append(f"        # serving: {{{own}, tier: 1}}")
    return lines


def _render_rest(request: Starter) -> list[str]:
    if request.publish:
        publish = _comment(f"publish: {_quote(request.publish)}", "each run that changes something is a release there")
    else:
        publish = _comment("# publish: gs://${BUCKET}/models", "a variable of the environment")
    return [
        "",
        publish,
        '# target: {triton: "25.08", gpus: [t4]}  # the server that it is for: what does not fit is refused',
        _comment("# jobs: 2", "models made at once, as far as memory allows"),
    ]


def _comment(line: str, text: str) -> str:
    return f"{line:<38}  # {text}"


def _scalar(text: str) -> str:
    """Write a text as a value of YAML that stands for itself."""
    return _quote(text.replace("${", "$${"))


def _quote(text: str) -> str:
    """Write a text as a value of YAML, within brackets too; a variable in it stays one."""
    return yaml.safe_dump([text], default_flow_style=True, width=10_000, allow_unicode=True).strip()[1:-1]
