"""What `prep publish` answers."""

from typing import Literal

from prep_triton.artifact import Record
from prep_triton.cli.documents.release import ListedRelease, listed_release
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_size
from prep_triton.publish.check import READER_ROLES, WRITER_ROLE, Permissions
from prep_triton.publish.plan import ReleasePlan
from prep_triton.publish.release import Published

Action = Literal["upload", "copy", "there"]
_WORDS: dict[Action, str] = {"upload": "upload", "copy": "copy in the store", "there": "there already"}


class PublishDocument(Record):
    """A release, and what it took.

    `created` is false where a release held this content already. `current` names the release that is current now, as
    far as this command knows; `moved` tells whether the command moved the pointer. `store` is the store's URI.
    """

    created: bool
    uploaded_bytes: int
    uploaded_files: int
    copied_bytes: int
    copied_files: int
    current: str | None
    moved: bool
    store: str
    uri: str
    release: ListedRelease


class FileCount(Record):
    """How many files, and their bytes."""

    files: int
    bytes: int


class PlannedFile(Record):
    """What would be done with one file."""

    action: Action
    name: str
    size: int


class PublishPlan(Record):
    """What publishing would do; `unchanged` where a release holds the same content already."""

    unchanged: bool
    totals: dict[Action, FileCount]
    plan: tuple[PlannedFile, ...]
    release: ListedRelease
    uri: str


class CheckDocument(Record):
    """A release whose every object is there, with its size and checksum, and what this account lacks."""

    release: str
    uri: str
    files: int
    size: int
    permissions: Permissions


def publish_document(published: Published, store_uri: str) -> PublishDocument:
    """Return the document of a release that was published."""
    return PublishDocument(
        created=published.created,
        uploaded_bytes=published.uploaded_bytes,
        uploaded_files=published.uploaded_files,
        copied_bytes=published.copied_bytes,
        copied_files=published.copied_files,
        current=published.pointer.release if published.pointer else None,
        moved=published.is_moved,
        store=store_uri,
        uri=published.uri,
        release=listed_release(published.release),
    )


def publish_plan(plan: ReleasePlan) -> PublishPlan:
    """Return the document of a dry run."""
    release = plan.release
    parts: dict[Action, list[str]] = {"upload": plan.uploads, "copy": list(plan.copies), "there": list(plan.present)}
    return PublishPlan(
        unchanged=plan.is_published,
        totals={action: FileCount(files=len(names), bytes=plan.size_of(names)) for action, names in parts.items()},
        plan=tuple(
            PlannedFile(action=action, name=name, size=release.files[name].size)
            for action, names in parts.items()
            for name in names
        ),
        release=listed_release(release),
        uri=release.uri,
    )


def render_publish(out: Output, document: PublishDocument) -> None:
    """Print the release, what it took, and whether it is current."""
    release_id = document.release.id
    if document.created:
        sent, copied = format_size(document.uploaded_bytes), format_size(document.copied_bytes)
        inside = f", {document.copied_files} ({copied}) copied in the store" if document.copied_files else ""
        out.line(f"release {release_id}: {document.uploaded_files} files, {sent} uploaded{inside}", style="bold")
    else:
        out.line(f"release {release_id} holds the same content: nothing was uploaded", style="bold")
    out.line(f"  {document.uri}")
    if document.current == release_id:
        out.line(f"  current{'' if document.moved else ', as before'}")
    else:
        out.line(f"  not current{f' ({document.current} is)' if document.current else ''}", style="yellow")
        out.note(
            f"next: prep rollback {document.store} {release_id} makes it current; prep verify {document.uri} first"
        )
        return
    out.note(f"next: prep verify {document.uri}, or tritonserver --model-repository {document.uri}")


def render_publish_plan(out: Output, plan: PublishPlan) -> None:
    """Print what would be done with each file, and the sum."""
    if plan.unchanged:
        out.line(f"dry run: release {plan.release.id} holds the same content; nothing would be uploaded")
        return
    rows = [(_WORDS[item.action], item.name, format_size(item.size)) for item in plan.plan]
    out.table("", ("action", "=file", "#size"), rows)
    counts = [
        f"{count.files} files, {format_size(count.bytes)} {_WORDS[action]}"
        for action, count in plan.totals.items()
        if count.files
    ]
    out.line(f"dry run: {', '.join(counts)}; it would be {plan.uri}; nothing was written")


def render_check(out: Output, document: CheckDocument) -> None:
    """Print that the release is whole, and what this account may do with it."""
    size = format_size(document.size)
    out.line(f"release {document.release} is whole: {document.files} files, {size}", style="bold green")
    permissions = document.permissions
    for action, missing, role in (
        ("publish", permissions.missing_to_publish, WRITER_ROLE),
        ("load it as Triton does", permissions.missing_to_serve, READER_ROLES),
    ):
        if missing is None:
            out.line(f"  not checked whether this account may {action}: the store does not tell")
        elif missing:
            out.line(f"  this account may not {action}: it lacks {', '.join(missing)} ({role})", style="yellow")
        else:
            out.line(f"  this account may {action}")
