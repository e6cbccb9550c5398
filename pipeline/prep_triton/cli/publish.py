"""`prep publish`: a repository as an immutable release, or a release checked in place."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, TargetOptions, target_from_flags
from prep_triton.cli.output import Output, format_size, session
from prep_triton.errors import SpecError

if TYPE_CHECKING:
    from prep_triton.publish.plan import ReleasePlan
    from prep_triton.publish.release import Published
    from prep_triton.run.publication import Publication


@expand_groups
def publish(
    repository: Annotated[str, typer.Argument(help="Folder of the repository; with --check the release's URI.")],
    uri: Annotated[str | None, typer.Argument(help="gs://bucket/prefix, or a folder.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be uploaded or copied, and write nothing.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Verify a release in place: every object, its size and checksum.")
    ] = False,
    current: Annotated[bool, typer.Option(help="Make the release the current one.")] = True,
    target: TargetOptions = TargetOptions(),
    output: OutputOptions = OutputOptions(),
) -> None:
    """Lint a repository, upload it as an immutable release, and make that current. release.json is written last.

    What an earlier release holds already is copied inside the bucket. A bucket's owner may want
    PREP_GCS_USER_PROJECT (requester pays), PREP_GCS_KMS_KEY or PREP_GCS_ENCRYPTION_KEY in the environment.

    \b
    Examples:
      prep publish model_repository gs://bucket/models
      prep publish model_repository ./releases --dry-run
      prep publish model_repository gs://bucket/models --target 25.08 --gpu t4 --gpu l4
      prep publish model_repository gs://bucket/models --no-current
      prep publish --check gs://bucket/models
    """
    with session(output) as out:
        if check:
            if uri is not None or dry_run:
                raise SpecError("--check takes the URI of a release or store alone", hint="prep publish --check URI")
            _check(out, repository)
            return
        if uri is None:
            raise SpecError(f"'{repository}' is to be published, but where?", hint=f"prep publish {repository} URI")
        from prep_triton.publish.store import open_store
        from prep_triton.run.publication import Publication, plan_publication, publish_repository

        store, lock = open_store(uri), target_from_flags(target)
        publication = Publication(Path(repository), store, target=lock, make_current=current)
        with out.progress(f"publish {uri}") as progress:
            if dry_run:
                plan = plan_publication(publication, progress=progress)
            else:
                published = publish_repository(publication, progress=progress)
        if dry_run:
            _tell_plan(out, plan)
        else:
            _tell_published(out, published, publication)


def _check(out: Output, uri: str) -> None:
    from prep_triton.publish.catalog import locate_release, resolve
    from prep_triton.publish.check import READER_ROLES, WRITER_ROLE, check_release, find_missing_permissions

    store, reference = locate_release(uri)
    release = resolve(store, reference)
    with out.progress(f"check {release.uri}") as progress:
        progress("checking objects")
        check_release(store, release)
    permissions = find_missing_permissions(store)
    out.document(
        {
            "release": release.id,
            "uri": release.uri,
            "files": len(release.files),
            "size": release.size,
            "permissions": asdict(permissions),
        }
    )
    size = format_size(release.size)
    out.line(f"release {release.id} is whole: {len(release.files)} files, {size}", style="bold green")
    for deed, missing, role in (
        ("publish", permissions.missing_to_publish, WRITER_ROLE),
        ("load it as Triton does", permissions.missing_to_serve, READER_ROLES),
    ):
        if missing is None:
            out.line(f"  may this account {deed}? The store does not tell: not checked")
        elif missing:
            out.line(f"  this account may not {deed}: it lacks {', '.join(missing)} ({role})", style="yellow")
        else:
            out.line(f"  this account may {deed}")


def _tell_plan(out: Output, plan: "ReleasePlan") -> None:
    release, uploads = plan.release, plan.uploads
    parts = {"upload": uploads, "copy": list(plan.copies), "there": list(plan.present)}
    sizes = {what: plan.size_of(names) for what, names in parts.items()}
    files = [(what, name, release.files[name].size) for what in parts for name in parts[what]]
    actions: dict[str, Any] = {what: {"files": len(parts[what]), "bytes": sizes[what]} for what in parts}
    out.document(
        {
            "unchanged": plan.is_published,
            **actions,
            "plan": [{"action": what, "name": name, "size": size} for what, name, size in files],
            "release": _without_manifests(release),
            "uri": release.uri,
        }
    )
    if plan.is_published:
        out.line(f"dry run: release {release.id} holds the same content; nothing would be uploaded")
        return
    words = {"upload": "upload", "copy": "copy in the store", "there": "there already"}
    rows = [(words[what], name, format_size(size)) for what, name, size in files]
    out.table("", ("action", "file", "#size"), rows)
    counts = {what: f"{len(names)} files, {format_size(sizes[what])}" for what, names in parts.items() if names}
    message = ", ".join(f"{count} {words[what]}" for what, count in counts.items())
    out.line(f"dry run: {message}; it would be {release.uri}; nothing was written")


def _tell_published(out: Output, published: "Published", publication: "Publication") -> None:
    release = published.release
    counts = ("uploaded_bytes", "uploaded_files", "copied_bytes", "copied_files")
    out.document(
        {
            "created": published.created,
            **{name: getattr(published, name) for name in counts},
            "current": published.pointer.release if published.pointer else None,
            "moved": published.is_moved,
            "uri": published.uri,
            "release": _without_manifests(release),
        }
    )
    if published.created:
        sent, copied = format_size(published.uploaded_bytes), format_size(published.copied_bytes)
        inside = f", {published.copied_files} ({copied}) copied in the store" if published.copied_files else ""
        out.line(f"release {release.id}: {published.uploaded_files} files, {sent} uploaded{inside}", style="bold")
    else:
        out.line(f"release {release.id} holds the same content: nothing was uploaded", style="bold")
    out.line(f"  {published.uri}")
    if published.is_current:
        out.line(f"  current{'' if published.is_moved else ', as before'}")
    elif publication.make_current and published.pointer:
        out.line(f"  current is {published.pointer.release}", style="yellow")
    else:
        out.line(f"  not current; to make it so: prep rollback {publication.store.uri} {release.id}")
    out.line(f"next: prep verify {published.uri}, or tritonserver --model-repository {published.uri}")


def _without_manifests(release: Any) -> dict[str, Any]:
    document: dict[str, Any] = release.model_dump(mode="json", exclude={"entries": {"__all__": {"manifest"}}})
    return document
