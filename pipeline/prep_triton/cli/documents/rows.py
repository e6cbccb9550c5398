"""The steps of a run, as they end and as a table: shared by the commands that run stages."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, assert_never

from prep_triton.cli.documents.verify import describe_entry
from prep_triton.cli.output import Output, format_seconds, format_size
from prep_triton.progress import Progress
from prep_triton.run.report import StageRow
from prep_triton.triton.verify.report import EntryReport

# What a step that did something is called, where it is not "made".
_DONE = {"verify": "passed", "publish": "published", "assemble": "written"}


class RowPrinter:
    """Hears about each step of a run, prints it on stderr as it ends, and keeps it: a run may end with an error."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.rows: list[StageRow] = []

    @contextmanager
    def stage(self, label: str) -> Iterator[Progress]:
        """Draw the progress of one step."""
        with self.out.progress(label) as progress:
            yield progress

    def finished(self, row: StageRow) -> None:
        """Print the end of one step."""
        self.rows.append(row)
        took = f" in {format_seconds(row.seconds)}" if row.state == "made" else ""
        self.out.note(f"{row.stage:<9} {row.artifact}: {describe_state(row)}{took}")


def render_rows(out: Output, rows: Iterable[StageRow], title: str = "") -> None:
    """Print the table of a run's steps."""
    cells = [line for row in rows for line in cells_from_row(row)]
    out.table(title, ("stage", "artifact", "state", "#time", "numbers"), cells)


def cells_from_row(row: StageRow) -> list[tuple[str, ...]]:
    """Return the lines of the table for one step: a single one, or one for each entry that was verified."""
    state = describe_state(row)
    took = format_seconds(row.seconds) if row.state == "made" else ""
    entries = [EntryReport.model_validate(entry) for entry in row.figures.get("entries", ())]
    if not entries:
        return [(row.stage, row.artifact, state, took, describe_row(row))]
    return [
        (row.stage, entry.name, _entry_state(entry, state), took if number == 0 else "", describe_entry(entry))
        for number, entry in enumerate(entries)
    ]


def describe_state(row: StageRow) -> str:
    """Say what became of a step, in the word of its stage."""
    return _DONE.get(row.stage, row.state) if row.state == "made" else row.state


def _entry_state(entry: EntryReport, state: str) -> str:
    """Say of one entry what became of it: in a verification that failed, most have passed."""
    match entry.status:
        case "config-accepted-only":
            return "config only"
        case "failed":
            return "failed"
        case "loaded":
            return "passed" if state == "failed" else state
        case _:
            assert_never(entry.status)


def describe_overflow(largest: Mapping[str, float], most: int = 3) -> str:
    """Name the layers that stay in FP32, and the largest magnitude in each."""
    names = [f"{name} ({value:.6g})" for name, value in largest.items()]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def describe_row(row: StageRow) -> str:
    """Say a row's numbers in a few words."""
    figures, parts = row.figures, []
    if "size_bytes" in figures:
        parts.append(format_size(figures["size_bytes"]))
    if "max_abs_error" in figures:
        parts.append(f"parity: largest difference {figures['max_abs_error']:.1e}")
    if "min_cosine" in figures:
        parts.append(f"cosine to fp32 {figures['mean_cosine']:.6f} (min {figures['min_cosine']:.6f})")
    if "accuracy" in figures:
        parts.append("{metric} {reference:.2f} -> {converted:.2f}".format(**figures["accuracy"]))
    parts += _describe_kept_out(figures)
    if "gemm_flops_share" in figures:
        share = ", ".join(f"{value:.0%} {name}" for name, value in figures["gemm_flops_share"].items() if value)
        parts.append(f"{figures['builder']} {figures['compute_capability']}, GEMM FLOPs {share} ({figures['proof']})")
    if "max_batch_size" in figures:
        parts.append(f"max batch {figures['max_batch_size']}")
    if "uploaded_bytes" in figures:
        parts.append(f"{figures['files']} files, {format_size(figures['uploaded_bytes'])} uploaded")
    return "; ".join([*parts, row.note] if row.note else parts)


def _describe_kept_out(figures: Mapping[str, Any]) -> Iterator[str]:
    """Say how much of a graph is INT8, and which layers stay in a wider precision."""
    if "linear_flops_share" in figures:
        kept = f", {len(figures['kept_out'])} layers kept out" if figures["kept_out"] else ""
        yield f"{figures['linear_flops_share']:.0%} of linear FLOPs int8{kept}"
    if "kept_out_of_fp16" in figures:
        yield f"kept out of fp16: {describe_overflow(figures['kept_out_of_fp16'])}; their GEMMs are scaled"
