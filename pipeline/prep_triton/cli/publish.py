"""`prep publish`: a repository as an immutable release, or a release checked in place."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.exclusive import check_alone, list_given
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import REPOSITORY_DIR, OutputOptions, ReleaseOption, TargetOptions, target_from_flags
from prep_triton.cli.output import Output, session
from prep_triton.errors import SpecError
from prep_triton.layout import CONFIG_NAME

if TYPE_CHECKING:
    from prep_triton.run.publication import Publication


@dataclass(frozen=True)
class PublishOptions:
    """What to do with the repository, or the release."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be uploaded or copied, and write nothing.")
    ] = False
    check: Annotated[
        bool, typer.Option("--check", help="Check a published release: every object, its size and checksum.")
    ] = False
    current: Annotated[bool, typer.Option(help="Make the release the current one.")] = True
    allow_random: Annotated[
        bool, typer.Option("--allow-random", help="Publish models with random weights too, for benchmarks.")
    ] = False


@expand_groups
def publish(
    repository: Annotated[
        str | None, typer.Argument(metavar="REPOSITORY", help="Folder of the repository. [build/model_repository]")
    ] = None,
    uri: Annotated[
        str | None, typer.Argument(metavar="URI", help="gs://bucket/prefix, or a folder of releases.")
    ] = None,
    release: ReleaseOption = None,
    options: PublishOptions = PublishOptions(),
    target: TargetOptions = TargetOptions(),
    output: OutputOptions = OutputOptions(),
) -> None:
    """Publish a repository as an immutable release.

    Lints the repository, uploads what no earlier release holds, writes release.json last, and makes the release
    current. Environment: PREP_GCS_USER_PROJECT (requester pays), PREP_GCS_KMS_KEY, PREP_GCS_ENCRYPTION_KEY.

    \b
    Examples:
      prep publish gs://bucket/models
      prep publish ./models ./releases --dry-run
      prep publish gs://bucket/models --target 25.08 --gpu t4 --gpu l4
      prep publish gs://bucket/models --no-current
      prep publish --check gs://bucket/models --release previous
    """
    with session(output) as out:
        if repository is None:
            raise SpecError("there is no URI to publish to", hint="prep publish gs://BUCKET/PREFIX")
        if options.check:
            if uri is not None:
                raise SpecError("--check takes one URI, of a release or a store", hint="prep publish --check URI")
            others = [flag for flag in list_given(options, target) if flag != "--check"]
            check_alone("--check", others, reason="it publishes nothing")
            _check(out, repository, release)
            return
        if release is not None:
            raise SpecError("--release names what --check looks at", hint="add --check, or remove --release")
        folder, uri = _name_places(repository, uri)
        from prep_triton.publish.uri import open_store
        from prep_triton.run.publication import Publication

        publication = Publication(
            folder,
            open_store(uri),
            target=target_from_flags(target),
            make_current=options.current,
            allow_random=options.allow_random,
        )
        _publish(out, publication, uri, dry_run=options.dry_run)


def _publish(out: Output, publication: "Publication", uri: str, *, dry_run: bool) -> None:
    """Publish, or say what would be done."""
    from prep_triton.cli.documents.publish import publish_document, publish_plan, render_publish, render_publish_plan
    from prep_triton.run.publication import plan_publication, publish_repository

    with out.progress(f"publish {uri}") as progress:
        if dry_run:
            plan = plan_publication(publication, progress=progress)
        else:
            published = publish_repository(publication, progress=progress)
    if dry_run:
        out.show(publish_plan(plan), render_publish_plan)
    else:
        out.show(publish_document(published, publication.store.uri), render_publish)


def _name_places(first: str, second: str | None) -> tuple[Path, str]:
    """Return the repository and where it goes: the default repository, where one place is named.

    Raises:
        SpecError: That place is a repository.
    """
    if second is not None:
        return Path(first), second
    if "://" not in first and any(Path(first).glob(f"*/{CONFIG_NAME}")):
        raise SpecError(f"there is no URI to publish {first} to", hint=f"prep publish {first} gs://BUCKET/PREFIX")
    return REPOSITORY_DIR, first


def _check(out: Output, uri: str, reference: str | None) -> None:
    from prep_triton.cli.documents.publish import CheckDocument, render_check
    from prep_triton.publish.catalog import locate_release, resolve
    from prep_triton.publish.check import check_release, find_missing_permissions

    store, named = locate_release(uri, reference)
    release = resolve(store, named)
    with out.progress(f"check {release.uri}") as progress:
        progress("checking objects")
        check_release(store, release)
    document = CheckDocument(
        release=release.id,
        uri=release.uri,
        files=len(release.files),
        size=release.size,
        permissions=find_missing_permissions(store),
    )
    out.show(document, render_check)
