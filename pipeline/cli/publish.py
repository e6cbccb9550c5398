"""`prep publish`: a repository as an immutable release."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import output
from pipeline.cli.options import JsonOption, VerboseOption


def publish(
    repository: Annotated[Path, typer.Argument(help="Folder of the repository.")],
    uri: Annotated[str, typer.Argument(help="gs://bucket/prefix, or a folder.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded, and upload nothing.")] = False,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Upload a repository as an immutable release; its release.json is written last.

    \b
    Examples:
      prep publish model_repository gs://bucket/models
      prep publish model_repository ./releases --dry-run
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from pipeline.publish.release import plan_release, publish_release
        from pipeline.publish.store import open_store

        store = open_store(uri)
        if dry_run:
            plan = plan_release(repository, store)
            out.document(plan.model_dump(mode="json"))
            for name, file in sorted(plan.files.items()):
                out.line(f"  {name} ({output.format_size(file.size)})")
            total = output.format_size(sum(file.size for file in plan.files.values()))
            out.line(f"dry run: {len(plan.files)} files, {total} would go to {plan.uri}; nothing was uploaded")
            return
        with out.progress(f"publish {uri}") as progress:
            published = publish_release(repository, store, progress=progress)
        out.document(
            {
                "created": published.created,
                "uploaded_bytes": published.uploaded_bytes,
                "uri": published.uri,
                "release": published.release.model_dump(mode="json"),
            }
        )
        if published.created:
            size = output.format_size(published.uploaded_bytes)
            out.line(f"release {published.release.id}: {published.uploaded_files} files, {size} uploaded", style="bold")
        else:
            out.line(f"release {published.release.id} holds the same content: nothing was uploaded", style="bold")
        out.line(f"  {published.uri}")
        out.line(f"next: prep verify {published.uri}, or tritonserver --model-repository {published.uri}")
