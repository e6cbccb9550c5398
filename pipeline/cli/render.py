"""The human form of stage rows, shared by the commands that run stages."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.output import Output, format_seconds, format_size
from pipeline.progress import Progress

if TYPE_CHECKING:
    from pipeline.run.report import StageRow


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
        self.out.note(f"{row.stage:<9} {row.artifact}: {row.state}{took}")

    def summary(self, rows: "Iterable[StageRow]", title: str = "") -> None:
        """Print the table of a run."""
        columns = ("stage", "artifact", "state", "#time", "numbers")
        self.out.table(
            title,
            columns,
            [(row.stage, row.artifact, row.state, format_seconds(row.seconds), describe_row(row)) for row in rows],
        )


def rows_document(rows: "Iterable[StageRow]") -> dict[str, Any]:
    """Return the JSON form of stage rows."""
    return {"stages": [row.model_dump(mode="json") for row in rows]}


def describe_row(row: "StageRow") -> str:
    """Say a row's numbers in a few words."""
    figures, told = row.figures, []
    if "size_bytes" in figures:
        told.append(format_size(figures["size_bytes"]))
    if "max_abs_error" in figures:
        told.append(f"parity: largest difference {figures['max_abs_error']:.1e}")
    if "gemm_flops_share" in figures:
        share = ", ".join(f"{value:.0%} {name}" for name, value in figures["gemm_flops_share"].items() if value)
        told.append(f"{figures['builder']} {figures['compute_capability']}, GEMM FLOPs {share} ({figures['proof']})")
    if "max_batch_size" in figures:
        told.append(f"max batch {figures['max_batch_size']}")
    if "uploaded_bytes" in figures:
        told.append(f"{figures['files']} files, {format_size(figures['uploaded_bytes'])} uploaded")
    told += [describe_verified(entry) for entry in figures.get("entries", ())]
    return "; ".join([*told, row.note] if row.note else told)


def describe_verified(entry: dict[str, Any]) -> str:
    """Say what verifying one entry found."""
    if entry.get("mean_cosine") is None:
        return f"{entry['name']}: {entry['status']}"
    return (
        f"{entry['name']}: {entry['rows']} answers, mean cosine to PyTorch {entry['mean_cosine']:.6f}, "
        f"mean batch {entry['mean_batch_size']:.1f}, p50 {entry['p50_ms']:.1f} ms"
    )


def shorten(path: str) -> str:
    """Return a path relative to the working folder where it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
