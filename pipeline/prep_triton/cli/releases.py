"""`prep releases`: what was published, what is in it, and what changed."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.completions import complete_release
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, StoreArgument
from prep_triton.cli.output import session
from prep_triton.errors import SpecError

if TYPE_CHECKING:
    from prep_triton.cli.documents.releases import ReleasesDocument
    from prep_triton.publish.store import Store

log = logging.getLogger(__name__)


@expand_groups
def releases(
    uri: StoreArgument,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Show one release: an id or its beginning, current, previous, newest, or its URI.",
            autocompletion=complete_release,
        ),
    ] = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="ID ID", help="Show what changed from one release to another.", autocompletion=complete_release
        ),
    ] = None,
    current: Annotated[bool, typer.Option("--current", help="Print the current release's URI alone.")] = False,
    output: OutputOptions = OutputOptions(),
) -> None:
    """List, show or compare releases.

    The newest comes first; what was uploaded in part is not a release.

    \b
    Examples:
      prep releases gs://bucket/models
      prep releases gs://bucket/models --show current
      prep releases gs://bucket/models --diff previous current
      tritonserver --model-repository "$(prep releases gs://bucket/models --current)"
    """
    with session(output) as out:
        if sum((show is not None, diff is not None, current)) > 1:
            raise SpecError("--show, --diff and --current exclude each other", hint="name one of them")
        from prep_triton.cli.documents import releases as documents
        from prep_triton.publish.catalog import CURRENT, locate_release, resolve
        from prep_triton.publish.reports import load_report
        from prep_triton.run.release_diff import compare_releases

        store, named = locate_release(uri)
        if named != CURRENT and diff is None and not current:  # the URI of one release
            show = show or named
        if show is not None:
            release = resolve(store, show)
            document = documents.ShowDocument(**dict(release), report=load_report(store, release.id))
            out.show(document, documents.render_show)
        elif diff is not None:
            before, after = (resolve(store, reference) for reference in diff)
            out.show(documents.diff_document(compare_releases(store, before, after)), documents.render_diff)
        elif current:
            release = resolve(store)
            out.show(documents.CurrentDocument(release=release.id, uri=release.uri), documents.render_current)
        else:
            out.show(_list_releases(store), documents.render_releases)


def _list_releases(store: "Store") -> "ReleasesDocument":
    from prep_triton.cli.documents.release import listed_release
    from prep_triton.cli.documents.releases import ReleasesDocument
    from prep_triton.publish.catalog import list_releases, read_pointer
    from prep_triton.publish.reports import is_unfit, load_reports

    releases, reports = list_releases(store), load_reports(store)
    state = read_pointer(store)
    if state.damage:  # the list is what names a release to go back to
        log.warning("%s: no release counts as current; %s", state.damage.message, state.damage.hint)
    return ReleasesDocument(
        uri=store.uri,
        current=state.pointer,
        regressed=tuple(sorted(release_id for release_id, report in reports.items() if is_unfit(report))),
        releases=tuple(listed_release(release, reports.get(release.id, {})) for release in releases),
    )
