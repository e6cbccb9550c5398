"""The steps of a run, as they end and as a table: shared by the commands that run stages."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prep_triton.cli.documents.verify import describe_status, describe_with_helpers, fold_helpers
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_seconds, format_size
from prep_triton.progress import Progress
from prep_triton.run.report import StageRow
from prep_triton.triton.verify.report import EntryReport

# What a step that did something is called, where it is not "made".
_DONE = {"verify": "passed", "publish": "published", "assemble": "written", "bench": "measured"}


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
        if row.figures.get("serves") and row.state != "failed" and not self.out.verbose:
            return  # told with its model
        took = f" in {format_seconds(row.seconds)}" if row.state in ("made", "fetched") else ""
        self.out.note(f"{row.stage:<9} {_describe_artifact(row)}: {describe_state(row)}{took}")


def render_rows(out: Output, rows: Iterable[StageRow], title: str = "") -> None:
    """Print the table of a run's steps, with -v also those of the helpers of text."""
    out.table(title, ("=stage", "=artifact", "=state", "#time", "numbers"), cells_from_rows(rows, fold=not out.verbose))


def cells_from_rows(rows: Iterable[StageRow], *, fold: bool = True) -> list[tuple[str, ...]]:
    """Return the lines of the table; `fold` puts a tokenizer, post-processor and ensemble into their model's line."""
    folded = _fold_rows(rows) if fold else rows
    return [line for row in folded for line in cells_from_row(row, fold=fold)]


def _fold_rows(rows: Iterable[StageRow]) -> list[StageRow]:
    """Return the steps, where those of helpers that fared as the model they serve are part of the model's."""
    kept: list[StageRow] = []
    for row in rows:
        model = row.figures.get("serves")
        index = next((i for i, other in enumerate(kept) if _is_entry(other, model) and other.state == row.state), None)
        if model is None or index is None:
            kept.append(row)
        else:
            kept[index] = _with_helper(kept[index], row)
    return kept


def _is_entry(row: StageRow, name: str | None) -> bool:
    return row.stage == "assemble" and row.artifact == name


def _with_helper(model: StageRow, helper: StageRow) -> StageRow:
    size = model.figures["size_bytes"] + helper.figures["size_bytes"]
    return model.model_copy(
        update={
            "figures": {**model.figures, "size_bytes": size},
            "seconds": model.seconds + helper.seconds,
            "note": "with its text entries",
        }
    )


def _describe_artifact(row: StageRow) -> str:
    """Name what a step was about; of a verification the models."""
    entries = [EntryReport.model_validate(entry) for entry in row.figures.get("entries", ())]
    return ", ".join(entry.name for entry, _ in fold_helpers(entries)) or row.artifact


def cells_from_row(row: StageRow, *, fold: bool = True) -> list[tuple[str, ...]]:
    """Return the lines of the table for one step: a single one, or one for each entry that was verified."""
    state = describe_state(row)
    took = format_seconds(row.seconds) if row.state in ("made", "fetched") else ""
    if "points" in row.figures:
        return _cells_from_bench(row, state, took)
    entries = [EntryReport.model_validate(entry) for entry in row.figures.get("entries", ())]
    if not entries:
        return [(row.stage, row.artifact, state, took, describe_row(row))]
    return [
        (
            row.stage,
            entry.name,
            _entry_state(entry, state),
            took if number == 0 else "",
            describe_with_helpers(entry, helpers),
        )
        for number, (entry, helpers) in enumerate(fold_helpers(entries, fold=fold))
    ]


def _cells_from_bench(row: StageRow, state: str, took: str) -> list[tuple[str, ...]]:
    """Return a line for each load of an entry, and for each variant that was not measured."""
    lines: list[tuple[str, ...]] = []
    for point in row.figures["points"]:
        parts = [f"{point['load']}: {point['inferences_per_s']:,.1f} inferences/s"]
        parts += [f"p50 {point['p50_ms']:.2f} ms, p99 {point['p99_ms']:.2f} ms"]
        parts += [f"{point['errors']} errors"] if point["errors"] else []
        parts += [f"SLO {point['slo']}"] if point["slo"] else []
        parts += [f"against the baseline: {point['baseline']}"] if point["baseline"] else []
        lines.append((row.stage, point["entry"], state, took if not lines else "", "; ".join(parts)))
    left_out = ((row.stage, other["entry"], "skipped", "", other["reason"]) for other in row.figures["not_measured"])
    return [*lines, *left_out]


def describe_state(row: StageRow) -> str:
    """Say what became of a step, in the word of its stage."""
    return _DONE.get(row.stage, row.state) if row.state == "made" else row.state


def _entry_state(entry: EntryReport, state: str) -> str:
    """Say of one entry what became of it: in a verification that failed, most have passed."""
    return state if entry.status == "loaded" and state != "failed" else describe_status(entry)


def describe_overflow(largest: Mapping[str, float], most: int = 3) -> str:
    """Name the layers that stay in FP32, and the largest magnitude in each."""
    names = [f"{name} ({value:.6g})" for name, value in largest.items()]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def describe_batch(largest: int) -> str:
    """Say how many rows an entry takes at once; without a max_batch_size its own axis takes any number."""
    return f"max batch {largest}" if largest else "any batch"


def describe_row(row: StageRow) -> str:
    """Say a row's numbers in a few words."""
    figures, parts = row.figures, []
    if "size_bytes" in figures:
        parts.append(format_size(figures["size_bytes"]))
    if "max_abs_error" in figures:
        parts.append(f"parity: largest difference {figures['max_abs_error']:.1e}")
    if figures.get("reference") == "onnxruntime":
        parts.append("no PyTorch reference: compared with itself")
    if "min_cosine" in figures:
        parts.append(f"cosine to fp32 {figures['mean_cosine']:.6f} (min {figures['min_cosine']:.6f})")
    if "accuracy" in figures:
        parts.append("{metric} {reference:.2f} -> {converted:.2f}".format(**figures["accuracy"]))
    parts += _describe_kept_out(figures)
    if "gemm_flops_share" in figures:
        share = ", ".join(f"{value:.0%} {name}" for name, value in figures["gemm_flops_share"].items() if value)
        parts.append(f"{figures['builder']} {figures['compute_capability']}, GEMM FLOPs {share} ({figures['proof']})")
    if "max_batch_size" in figures:
        parts.append(describe_batch(figures["max_batch_size"]))
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
