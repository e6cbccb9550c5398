"""What `prep verify` answers."""

from prep_triton.cli.output import Output
from prep_triton.triton.verify.report import BatchingReport, EntryReport, VerifyReport


class VerifyDocument(VerifyReport):
    """How every entry answered."""


def render_verify(out: Output, document: VerifyDocument) -> None:
    """Print the server, a line for each entry, and with -v how it was checked."""
    render_server(out, document)
    for entry in document.entries:
        out.line(f"  {entry.name}: {describe_entry(entry)}")
        for line in list_details(entry) if out.verbose else ():
            out.line(f"    {line}")


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
