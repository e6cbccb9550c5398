"""`prep assemble`: artifacts to a Triton model repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli import output
from prep_triton.cli.build_engine import find_exported
from prep_triton.cli.entry_request import build_entry_spec
from prep_triton.cli.options import (
    DEFAULT_REPOSITORY,
    DEFAULT_WORKSPACE,
    JsonOption,
    VerboseOption,
    WorkspaceOption,
    complete_from,
)
from prep_triton.layout import CONFIG_NAME, SERVER_ARGUMENTS_NAME

if TYPE_CHECKING:
    from prep_triton.artifact import OnnxModel, RepositoryEntry
    from prep_triton.spec import EntrySpec
    from prep_triton.workspace import Produced, Workspace


def assemble(
    model: Annotated[str | None, typer.Argument(help="An exported model; every exported one by default.")] = None,
    runtime: Annotated[
        str, typer.Option(help="onnxruntime or tensorrt.", autocompletion=complete_from("onnxruntime", "tensorrt"))
    ] = "onnxruntime",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16 or int8. [onnxruntime: fp32, tensorrt: fp16]",
            autocompletion=complete_from("fp32", "fp16", "int8"),
        ),
    ] = None,
    repository: Annotated[Path, typer.Option("--output", "-o", help="Folder of the repository.")] = DEFAULT_REPOSITORY,
    name: Annotated[str | None, typer.Option(help="Name of the entry; from model and precision by default.")] = None,
    serving: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML of 'serving:' keys, nested ones too; a flag wins over it."),
    ] = None,
    tier: Annotated[
        int | None, typer.Option(help="Priority among the models of one server: 1 or 2; 1 goes first.")
    ] = None,
    text: Annotated[
        bool | None, typer.Option(help="Text in, answer out: a tokenizer and a post-processor beside the model.")
    ] = None,
    long_input: Annotated[
        str | None,
        typer.Option(
            help="Text beyond the longest bucket: truncate, stride or reject. [truncate]",
            autocompletion=complete_from("truncate", "stride", "reject"),
        ),
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Tokens that two windows share (for stride). [64]")] = None,
    normalize: Annotated[bool | None, typer.Option(help="Embeddings of length 1. [yes]")] = None,
    top_k: Annotated[int | None, typer.Option(help="How many answers (fill-mask, text-classification). [5]")] = None,
    max_answer_tokens: Annotated[int | None, typer.Option(help="Longest answer (question-answering). [30]")] = None,
    text_instance_count: Annotated[
        int | None, typer.Option(help="Copies of the tokenizer and the post-processor. [1]")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="Largest batch. [onnxruntime: 16, tensorrt: the profile's]")
    ] = None,
    length_buckets: Annotated[
        str | None, typer.Option(help="Sequence lengths that clients pad to: 32,64,128. [the profiles']")
    ] = None,
    dynamic_batching: Annotated[bool | None, typer.Option(help="Let Triton merge requests. [yes]")] = None,
    max_queue_delay_us: Annotated[
        int | None, typer.Option(help="How long a request may wait for others, microseconds. [500]")
    ] = None,
    preferred_batch_size: Annotated[
        list[int] | None, typer.Option(metavar="<int>", help="Preferred batch size; repeat it.")
    ] = None,
    preserve_ordering: Annotated[bool | None, typer.Option(help="Answer in the order of the requests.")] = None,
    priority_levels: Annotated[
        int | None, typer.Option(help="Levels of request priority; 1 is the highest. [0, or 2 with --tier 2]")
    ] = None,
    default_priority_level: Annotated[int | None, typer.Option(help="Level of a request that names none.")] = None,
    instance_count: Annotated[int | None, typer.Option(help="Copies of the model that run at once. [1]")] = None,
    instance_kind: Annotated[str | None, typer.Option(help="cpu or gpu. [onnxruntime: cpu, tensorrt: gpu]")] = None,
    warmup: Annotated[
        bool | None, typer.Option(help="Run every length bucket, with real tokens, before the entry is ready.")
    ] = None,
    response_cache: Annotated[bool | None, typer.Option(help="Let Triton keep answers to requests it had.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A parameter of the backend; repeat it.")
    ] = None,
    stream_priority: Annotated[
        str | None, typer.Option(help="CUDA stream priority: default, max or min (tensorrt only).")
    ] = None,
    cuda_graphs: Annotated[bool | None, typer.Option(help="Capture CUDA graphs of every bucket (tensorrt).")] = None,
    output_copy_stream: Annotated[
        bool | None, typer.Option(help="Copy outputs on a stream of their own (tensorrt).")
    ] = None,
    eager_batching: Annotated[
        bool | None, typer.Option(help="Prepare the next batch while one runs (tensorrt).")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each instance (onnxruntime).")] = None,
    inter_op_threads: Annotated[int | None, typer.Option(help="Branches of the graph at once (onnxruntime).")] = None,
    graph_level: Annotated[
        int | None, typer.Option(help="Graph optimizer: -1 basic, 1 extended, 2 none (onnxruntime). [all]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the model's config.pbtxt and write nothing.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Write a Triton model repository with generated config.pbtxt files.

    \b
    Examples:
      prep assemble
      prep assemble minilm --max-batch-size 32 --instance-count 2 -o model_repository
      prep assemble minilm --tier 1 --warmup --text
      prep assemble minilm --serving serving.yaml --dry-run
    """
    flags = dict(locals())
    with output.session(as_json=json, verbose=verbose) as out:
        from prep_triton.workspace import Workspace

        spec = build_entry_spec(flags)
        store = Workspace(workspace)
        models = _choose_models(store, model, spec, workspace)
        if dry_run:
            _show(out, models, spec, store)
        else:
            _write(out, models, spec, store, repository)


def _choose_models(store: "Workspace", model: str | None, spec: "EntrySpec", shown: Path) -> "list[OnnxModel]":
    from prep_triton.errors import SpecError

    models = find_exported(store, model, shown)
    if spec.name and len(models) > 1:
        raise SpecError(
            f"--name {spec.name} cannot name the entries of {len(models)} models", hint="say which MODEL it is for"
        )
    return models


def _show(out: output.Output, models: "Sequence[OnnxModel]", spec: "EntrySpec", store: "Workspace") -> None:
    """Print what would be written."""
    from prep_triton.run.preview import preview_model

    shown = [preview_model(exported, spec, store) for exported in models]
    out.document({"dry_run": True, "entries": [{"name": name, "config": config} for name, config in shown]})
    for name, config in shown:
        if len(shown) > 1:
            out.line(f"# {name}/{CONFIG_NAME}")
        out.line(config.rstrip("\n"))


def _write(
    out: output.Output, models: "Sequence[OnnxModel]", spec: "EntrySpec", store: "Workspace", repository: Path
) -> None:
    """Write the entries and say where they are."""
    from prep_triton.run.stages import assemble_model

    made = [one for exported in models for one in assemble_model(exported, spec, store, repository)]
    out.document({"repository": str(repository), "entries": [_entry_document(produced) for produced in made]})
    for produced in made:
        entry = produced.artifact
        state = "unchanged" if produced.reused else "written"
        what = f"{entry.runtime} {entry.precision}" if entry.kind == "model" else entry.kind
        out.line(f"{entry.name}: {state} ({what}, max batch {entry.max_batch_size})", style="bold")
        out.line(f"  {repository / entry.name / CONFIG_NAME}")
    if any(produced.artifact.server_arguments for produced in made):
        arguments = repository / SERVER_ARGUMENTS_NAME
        out.line(f"serve it with: tritonserver --model-repository={repository} $(cat {arguments})")
    out.line(
        f"next: prep lint {repository}, prep verify {repository}, then prep publish {repository} gs://bucket/prefix"
    )


def _entry_document(produced: "Produced[RepositoryEntry]") -> dict[str, Any]:
    return {"reused": produced.reused, **produced.artifact.model_dump(mode="json")}
