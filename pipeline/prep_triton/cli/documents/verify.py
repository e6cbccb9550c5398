"""What `prep verify` answers."""

from collections.abc import Iterable, Mapping, Sequence

from prep_triton.cli.output import Output
from prep_triton.triton.verify.report import BatchingReport, EntryReport, Status, VerifyReport

_STATUS_WORDS: Mapping[Status, str] = {"config-accepted-only": "config only", "failed": "failed", "loaded": "passed"}


class VerifyDocument(VerifyReport):
    """How every entry answered."""


def render_verify(out: Output, document: VerifyDocument) -> None:
    """Print the server, a row for each entry, and with -v a row for each helper too, and how they were checked."""
    render_server(out, document)
    rows = [
        (entry.name, describe_status(entry), describe_with_helpers(entry, helpers))
        for entry, helpers in fold_helpers(document.entries, fold=not out.verbose)
    ]
    out.table("", ("=entry", "=state", "numbers"), rows)
    for entry in document.entries if out.verbose else ():
        for line in list_details(entry):
            out.line(f"{entry.name}: {line}")


def render_server(out: Output, report: VerifyReport, *, is_remembered: bool = False) -> None:
    """Print which server loaded what, and one real sentence with its answer."""
    server = f"Triton {report.server_version} ({report.server_flavour})"
    remembered = ", in an earlier run" if is_remembered else ""
    count = sum(entry.status == "loaded" for entry in report.entries)
    which = "" if count == len(report.entries) else f"{count} of {len(report.entries)} entries of "
    out.line(f"{server} loaded {which}{report.repository_uri}{remembered}", style="bold")
    example = next((entry.example for entry in report.entries if entry.example), "")
    if example:
        out.line(f"  {example}")


def fold_helpers(
    entries: Iterable[EntryReport], *, fold: bool = True
) -> list[tuple[EntryReport, Sequence[EntryReport]]]:
    """Return the entries, each with the tokenizer, post-processor and ensemble that fared as the model they serve.

    Such a helper is not in the list itself; one that failed, or whose model is elsewhere, is. With `fold` False all
    are in the list.
    """
    entries = list(entries)
    models = {entry.name: entry for entry in entries if entry.serves is None}
    folded: dict[str, list[EntryReport]] = {}
    for entry in entries if fold else ():
        model = models.get(entry.serves or "")
        if model is not None and entry.status == model.status != "failed":
            folded.setdefault(model.name, []).append(entry)
    names = {helper.name for helpers in folded.values() for helper in helpers}
    return [(entry, folded.get(entry.name, ())) for entry in entries if entry.name not in names]


def describe_status(entry: EntryReport) -> str:
    """Say in a word or two what became of an entry."""
    return _STATUS_WORDS[entry.status]


def describe_with_helpers(entry: EntryReport, helpers: Sequence[EntryReport]) -> str:
    """Say in one line what verifying an entry, and the ensemble that takes text for it, found."""
    texts = [helper for helper in helpers if helper.kind == "ensemble" and helper.status == "loaded"]
    return "; ".join([describe_entry(entry), *(f"text: {describe_entry(helper)}" for helper in texts)])


def describe_entry(entry: EntryReport) -> str:
    """Say in one line what verifying one entry found."""
    if entry.status == "failed":
        return entry.detail or entry.status
    if not entry.compared_with and entry.mean_cosine is None:
        return entry.detail or entry.status
    reference = "the bare model" if entry.compared_with == "bare model" else "PyTorch"
    if entry.mean_cosine is not None:
        parts = [f"{entry.rows} answers, cosine to {reference} {entry.mean_cosine:.6f}"]
    elif entry.max_abs_error is not None:
        parts = [f"{entry.rows} answers as {reference}'s, scores within {entry.max_abs_error:.1e}"]
    else:
        parts = [entry.detail]
    if entry.accuracy:
        parts.append(f"{entry.accuracy.metric} {entry.accuracy.reference:.2f} -> {entry.accuracy.converted:.2f}")
    if entry.p50_ms is not None:
        parts.append(f"p50 {entry.p50_ms:.1f} ms")
    if entry.mean_batch_size:
        parts.append(f"mean batch {entry.mean_batch_size:.1f}")
    return "; ".join(parts)


def list_details(entry: EntryReport) -> list[str]:
    """Say in further lines what was sent to an entry, and what the server's statistics tell."""
    lines = []
    if entry.requests:
        full = f", batches up to {entry.full_batch}" if entry.full_batch else ""
        lengths = ", ".join(map(str, entry.widths))
        lines.append(f"{entry.requests} requests{full}; sequence lengths {lengths}")
    if entry.batching:
        lines += _describe_batching(entry.batching)
    return [*lines, *(f"note: {note}" for note in entry.notes)]


def _describe_batching(batching: BatchingReport) -> list[str]:
    sizes = ", ".join(f"{count} x {size}" for size, count in batching.batch_sizes.items()) or "none"
    times = {
        "queue": batching.queue_us,
        "compute input": batching.compute_input_us,
        "compute infer": batching.compute_infer_us,
        "compute output": batching.compute_output_us,
    }
    means = ", ".join(f"{part} {value / 1000:.2f} ms" for part, value in times.items() if value is not None)
    return [
        f"{batching.in_flight} in flight: {batching.rows} rows in {batching.executions} executions of "
        f"{batching.model} (executions x rows: {sizes})",
        f"mean of a request in flight: {means}" if means else "nothing was executed",
    ]
