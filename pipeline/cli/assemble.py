"""`prep assemble`: artifacts to a Triton model repository."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.build_engine import find_exported
from pipeline.cli.options import (
    DEFAULT_REPOSITORY,
    DEFAULT_WORKSPACE,
    JsonOption,
    VerboseOption,
    WorkspaceOption,
    complete_from,
)

if TYPE_CHECKING:
    from pipeline.artifact import RepositoryEntry
    from pipeline.workspace import Produced


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
    max_batch_size: Annotated[
        int | None, typer.Option(help="Largest batch. [onnxruntime: 16, tensorrt: the profile's]")
    ] = None,
    dynamic_batching: Annotated[bool, typer.Option(help="Let Triton merge requests.")] = True,
    max_queue_delay_us: Annotated[
        int, typer.Option(help="How long a request may wait for others, microseconds.")
    ] = 500,
    preferred_batch_size: Annotated[
        list[int] | None, typer.Option(metavar="<int>", help="Preferred batch size; repeat it.")
    ] = None,
    priority_levels: Annotated[int, typer.Option(help="Levels of request priority; 1 is the highest.")] = 0,
    default_priority_level: Annotated[int, typer.Option(help="Level of a request that names none.")] = 0,
    stream_priority: Annotated[
        str, typer.Option(help="CUDA stream priority: default, max or min (tensorrt only).")
    ] = "default",
    instance_count: Annotated[int, typer.Option(help="Copies of the model that run at once.")] = 1,
    instance_kind: Annotated[str | None, typer.Option(help="cpu or gpu. [onnxruntime: cpu, tensorrt: gpu]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each instance (onnxruntime).")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Write a Triton model repository with generated config.pbtxt files.

    \b
    Examples:
      prep assemble
      prep assemble minilm --max-batch-size 32 --instance-count 2 -o model_repository
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from pipeline.errors import SpecError
        from pipeline.run.stages import assemble_model
        from pipeline.spec import EntrySpec, build_spec
        from pipeline.workspace import Workspace

        queue = {
            "max_queue_delay_us": max_queue_delay_us,
            "preferred_batch_sizes": preferred_batch_size or (),
            "priority_levels": priority_levels,
            "default_priority_level": default_priority_level,
        }
        serving = {
            "max_batch_size": max_batch_size,
            "dynamic_batching": queue if dynamic_batching else None,
            "stream_priority": stream_priority,
            "instance_count": instance_count,
            "instance_kind": instance_kind,
            "threads": threads,
        }
        given: dict[str, Any] = {"runtime": runtime, "name": name, "serving": serving}
        given["precision"] = precision or ("fp16" if runtime == "tensorrt" else "fp32")
        spec = build_spec(EntrySpec, given, where="the command line")
        store = Workspace(workspace)
        models = find_exported(store, model, workspace)
        if name and len(models) > 1:
            raise SpecError(
                f"--name {name} cannot name the entries of {len(models)} models", hint="say which MODEL it is for"
            )
        made = [assemble_model(exported, spec, store, repository) for exported in models]
        out.document({"repository": str(repository), "entries": [_entry_document(produced) for produced in made]})
        for produced in made:
            entry = produced.artifact
            state = "unchanged" if produced.reused else "written"
            out.line(
                f"{entry.name}: {state} ({entry.runtime} {entry.precision}, max batch {entry.max_batch_size})",
                style="bold",
            )
            out.line(f"  {repository / entry.name / 'config.pbtxt'}")
        out.line(f"next: prep verify {repository}, then prep publish {repository} gs://bucket/prefix")


def _entry_document(produced: "Produced[RepositoryEntry]") -> dict[str, Any]:
    return {"reused": produced.reused, **produced.artifact.model_dump(mode="json")}
