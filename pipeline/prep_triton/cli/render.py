"""The human form of stage rows, shared by the commands that run stages."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prep_triton.cli.output import Output, format_seconds, format_size
from prep_triton.progress import Progress

if TYPE_CHECKING:
    from prep_triton.run.report import StageRow


class RowPrinter:
    """Hears about each step of a run and tells it on stderr as it happens."""

    def __init__(self, out: Output) -> None:
        self.out = out

    @contextmanager
    def stage(self, label: str) -> Iterator[Progress]:
        """Draw the progress of one step."""
        with self.out.progress(label) as progress:
            yield progress

    def finished(self, row: "StageRow") -> None:
        """Tell the end of one step."""
        took = f" in {format_seconds(row.seconds)}" if row.state == "made" else ""
        self.out.note(f"{row.stage:<9} {row.artifact}: {describe_state(row)}{took}")

    def summary(self, rows: "Iterable[StageRow]", title: str = "") -> None:
        """Print the table of a run."""
        cells = [line for row in rows for line in cells_from_row(row)]
        self.out.table(title, ("stage", "artifact", "state", "#time", "numbers"), cells)


def cells_from_row(row: "StageRow") -> list[tuple[str, ...]]:
    """Return the lines of a table that tell one row: one, or one for each entry that was verified."""
    state = describe_state(row)
    took = format_seconds(row.seconds) if row.state == "made" else ""
    entries = row.figures.get("entries", ())
    if not entries:
        return [(row.stage, row.artifact, state, took, describe_row(row))]
    return [
        (row.stage, entry["name"], _entry_state(entry, state), took if number == 0 else "", describe_answers(entry))
        for number, entry in enumerate(entries)
    ]


def describe_state(row: "StageRow") -> str:
    """Say what became of a step, in the word of its stage."""
    if row.state != "made":
        return row.state
    return {"verify": "passed", "publish": "published", "assemble": "written"}.get(row.stage, "made")


def _entry_state(entry: dict[str, Any], state: str) -> str:
    """Never call an entry passed of which the server took the configuration alone."""
    return "config only" if entry["status"] == "config-accepted-only" else state


def rows_document(rows: "Iterable[StageRow]") -> dict[str, Any]:
    """Return the JSON form of stage rows."""
    return {"stages": [row.model_dump(mode="json") for row in rows]}


def describe_row(row: "StageRow") -> str:
    """Say a row's numbers in a few words."""
    figures, message = row.figures, []
    if "size_bytes" in figures:
        message.append(format_size(figures["size_bytes"]))
    if "max_abs_error" in figures:
        message.append(f"parity: largest difference {figures['max_abs_error']:.1e}")
    if "min_cosine" in figures:
        message.append(f"cosine to fp32 {figures['mean_cosine']:.6f} (min {figures['min_cosine']:.6f})")
    if "accuracy" in figures:
        message.append("{metric} {reference:.2f} -> {converted:.2f}".format(**figures["accuracy"]))
    if "linear_flops_share" in figures:
        kept = f", {len(figures['kept_out'])} layers kept out" if figures["kept_out"] else ""
        message.append(f"{figures['linear_flops_share']:.0%} of linear FLOPs int8{kept}")
    if "gemm_flops_share" in figures:
        share = ", ".join(f"{value:.0%} {name}" for name, value in figures["gemm_flops_share"].items() if value)
        message.append(f"{figures['builder']} {figures['compute_capability']}, GEMM FLOPs {share} ({figures['proof']})")
    if "max_batch_size" in figures:
        message.append(f"max batch {figures['max_batch_size']}")
    if "uploaded_bytes" in figures:
        message.append(f"{figures['files']} files, {format_size(figures['uploaded_bytes'])} uploaded")
    return "; ".join([*message, row.note] if row.note else message)


def describe_answers(entry: dict[str, Any]) -> str:
    """Say in one line what verifying one entry found."""
    if not entry.get("compared_with") and entry.get("mean_cosine") is None:
        return str(entry["detail"] or entry["status"])
    oracle = "the bare model" if entry.get("compared_with") == "bare model" else "PyTorch"
    if entry.get("mean_cosine") is not None:
        message = [f"{entry['rows']} answers, cosine to {oracle} {entry['mean_cosine']:.6f}"]
    elif entry.get("max_abs_error") is not None:
        message = [f"{entry['rows']} answers as {oracle}'s, scores within {entry['max_abs_error']:.1e}"]
    else:
        message = [str(entry["detail"])]
    if entry.get("p50_ms") is not None:
        message.append(f"p50 {entry['p50_ms']:.1f} ms")
    if entry.get("mean_batch_size"):
        message.append(f"mean batch {entry['mean_batch_size']:.1f}")
    return "; ".join(message)


def detail_answers(entry: dict[str, Any]) -> list[str]:
    """Say in further lines how an entry was asked, and what the server's statistics tell."""
    lines = []
    if entry.get("requests"):
        full = f", batches up to {entry['full_batch']}" if entry.get("full_batch") else ""
        lengths = ", ".join(str(width) for width in entry["widths"])
        lines.append(f"{entry['requests']} requests{full}; sequence lengths {lengths}")
    batching = entry.get("batching")
    if batching:
        sizes = ", ".join(f"{count} x {size}" for size, count in batching["batch_sizes"].items()) or "none"
        lines.append(
            f"{batching['in_flight']} in flight: {batching['rows']} rows in {batching['executions']} executions of "
            f"{batching['model']} (executions x rows: {sizes})"
        )
        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        times = [(part.replace("_", " "), batching[f"{part}_us"]) for part in parts]
        message = ", ".join(f"{part} {value / 1000:.2f} ms" for part, value in times if value is not None)
        lines.append(f"mean of a request in flight: {message}" if message else "nothing was executed")
    return [*lines, *(f"note: {note}" for note in entry.get("notes", ()))]


def tell_verification(out: Output, report: dict[str, Any], *, is_remembered: bool = False) -> None:
    """Say which server loaded what, and show one real sentence with its answer."""
    server = f"Triton {report['server_version']} ({report['server_flavour']})"
    remembered = ", in an earlier run" if is_remembered else ""
    count = sum(entry["status"] == "loaded" for entry in report["entries"])
    which = "" if count == len(report["entries"]) else f"{count} of {len(report['entries'])} entries of "
    out.line(f"{server} loaded {which}{report['repository_uri']}{remembered}", style="bold")
    example = next((entry["example"] for entry in report["entries"] if entry.get("example")), "")
    if example:
        out.line(f"  {example}")
