"""Runs of `prep bench` as a report, with what a repository's or a release's manifests say of their entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import SpecError
from prep_triton.run.serving import find_served

if TYPE_CHECKING:
    from prep_triton.bench.records import BenchReport
    from prep_triton.bench.report.content import Document
    from prep_triton.bench.report.runs import ReportedRun
    from prep_triton.bench.report.variants import Variant


@dataclass(frozen=True)
class ReportRequest:
    """What to report.

    Args:
        run_paths: Runs that `prep bench -o` wrote.
        target: The repository, release or store that holds what they measured; None to go without.
        release: Which release of a store.
    """

    run_paths: tuple[Path, ...]
    target: str | None = None
    release: str | None = None


@dataclass(frozen=True)
class Report:
    """What is reported; `html` and `markdown` render it."""

    runs: "tuple[ReportedRun, ...]"
    entries: tuple[RepositoryEntry, ...] = ()
    place: str | None = None
    notes: tuple[str, ...] = ()

    def html(self) -> str:
        """Return it as one HTML file of at most 300 KB."""
        from prep_triton.bench.report.document import render_report

        return render_report(self.runs, self.entries, place=self.place, notes=self.notes)

    def document(self) -> "Document":
        """Return its tables and sentences."""
        from prep_triton.bench.report.document import make_document

        return make_document(self.runs, self.entries, place=self.place, notes=self.notes, most_plots=0)

    def markdown(self) -> str:
        """Return it as Markdown for the page of a CI job."""
        from prep_triton.bench.report.markdown import render_markdown

        return render_markdown(self.document())

    def variants(self) -> "tuple[Variant, ...]":
        """Return what it compares."""
        from prep_triton.bench.report.variants import list_variants

        return list_variants(self.runs, {entry.name: entry for entry in self.entries})


def split_arguments(arguments: Sequence[str]) -> tuple[tuple[Path, ...], str | None]:
    """Tell the files of runs from the repository or release after them.

    Raises:
        SpecError: There is no run, or more than one place.
    """
    places = [word for word in arguments if "://" in word or Path(word).is_dir()]
    runs = tuple(Path(word) for word in arguments if word not in places)
    if len(places) > 1:
        raise SpecError(
            f"one repository or release can be read, and {' and '.join(places)} are {len(places)}",
            hint="name one of them",
        )
    if not runs:
        raise SpecError("there is no run to report", hint="measure first: prep bench -o run.json")
    return runs, places[0] if places else None


def make_report(request: ReportRequest) -> Report:
    """Read what to report.

    Raises:
        SpecError: A file is not a run, or no run has a point.
        RepositoryError, StoreError: There is no such repository or release.
    """
    from prep_triton.bench.report.runs import load_runs

    if request.release and request.target is None:
        raise SpecError("--release says which release, but of no store", hint="name the store after the runs")
    runs, notes = load_runs(request.run_paths)
    served = find_served(request.target, request.release) if request.target else None
    entries, place = (tuple(served.entries), served.uri) if served else ((), None)
    return Report(tuple(runs), entries, place, tuple(notes))


def report_of_run(report: "BenchReport", name: str, entries: Sequence[RepositoryEntry], place: str | None) -> Report:
    """Return the report of a run that was just measured, of entries of a place."""
    from prep_triton.bench.report.runs import ReportedRun

    return Report((ReportedRun(name, report),), tuple(entries), place if entries else None)
