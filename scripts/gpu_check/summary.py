"""What came out, for a reader and for the one who gets it: summary.md, figures.json, and an archive of all of it."""

import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.gpu_check.engines import Checked, render_engines
from scripts.gpu_check.machine import describe_gpus
from scripts.gpu_check.request import Request
from scripts.gpu_check.steps import Row, is_taken, render_rows

SUMMARY_NAME, FIGURES_NAME, ARCHIVE_NAME = "summary.md", "figures.json", "gpu-check.tar.gz"
REHEARSAL = (
    "**This is a rehearsal, and not a pass of any step of the GPU.** Engines were built by TensorRT-RTX and not "
    "executed; the server served the same models with ONNX Runtime and OpenVINO on the CPU."
)
# Small, and all that a reader needs: neither weights nor engines.
_SENT = ("*.md", "*.json", "*.html", "*.txt", "logs/*.txt")
_SENT_OF_ENTRIES = ("model_repository/*/config.pbtxt", "model_repository/*/manifest.json")


@dataclass(frozen=True)
class Outcome:
    """A check that was taken to its end."""

    request: Request
    rows: tuple[Row, ...]
    checked: tuple[Checked, ...]


def render_summary(outcome: Outcome) -> str:
    """Return summary.md."""
    request, rows = outcome.request, outcome.rows
    kind = "Rehearsal of the GPU check" if request.rehearse else "GPU check"
    taken = sum(is_taken(row) for row in rows)
    parts = [
        f"# {kind}: {describe_gpus()}",
        *([REHEARSAL] if request.rehearse else []),
        f"{taken} of {len(rows)} steps taken: {count_statuses(rows)}.",
        render_rows(rows).rstrip(),
    ]
    if outcome.checked:
        parts += ["## Engines", render_engines(outcome.checked, request.shapes).rstrip(), _about_engines(request)]
        failures = [f"- {row.failure}" for row in outcome.checked if row.failure]
        parts += ["Failed:", "\n".join(failures)] if failures else []
    parts.append(f"Again: `{render_command(request)}`")
    return "\n\n".join(parts) + "\n"


def _about_engines(request: Request) -> str:
    where = "the graphs, in ONNX Runtime on the CPU" if request.rehearse else "the engines, on the device"
    return (
        f"Cosines: {where}, on each reference row's unpadded outputs against ONNX Runtime FP32. Latencies: medians, "
        "inputs and outputs on the device, the engines of a model in turn."
    )


def count_statuses(rows: Sequence[Row]) -> str:
    """Return how many steps ended how, in words."""
    words = ("done", "rehearsed", "skipped", "failed")
    counts = {word: sum(row.status == word for row in rows) for word in words}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def render_command(request: Request) -> str:
    """Return the command of this check."""
    flags = ["--rehearse"] if request.rehearse else []
    return " ".join(["scripts/gpu-check", *flags, *(f"--model {name}" for name in request.models)])


def save_summary(outcome: Outcome) -> Path:
    """Write summary.md and figures.json."""
    request = outcome.request
    request.folder.mkdir(parents=True, exist_ok=True)
    path = request.folder / SUMMARY_NAME
    path.write_text(render_summary(outcome), encoding="utf-8")
    figures = {
        "rehearsal": request.rehearse,
        "gpus": describe_gpus(),
        "load": asdict(request.load),
        "steps": [asdict(row) for row in outcome.rows],
        "shapes": request.shapes,
        "engines": [_figures_of(row) for row in outcome.checked],
    }
    (request.folder / FIGURES_NAME).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return path


def _figures_of(row: Checked) -> dict[str, Any]:
    engine = row.engine
    return {
        "engine": engine.name,
        "builder": f"{engine.builder} {engine.builder_version}",
        "compute_capability": engine.compute_capability,
        "proof": engine.proof.model_dump(mode="json"),
        "weights": row.model.weights,
        "mean_cosine": row.mean_cosine,
        "min_cosine": row.min_cosine,
        "latencies_ms": row.latencies_ms,
    }


def clear_folder(folder: Path) -> None:
    """Remove what an earlier check left: what is sent back is of this one alone."""
    for pattern in (*_SENT, ARCHIVE_NAME):
        for file in folder.glob(pattern):
            file.unlink()
    shutil.rmtree(folder / "model_repository", ignore_errors=True)


def save_archive(folder: Path) -> Path:
    """Pack what is to be sent back: reports, figures, logs and configurations, neither weights nor engines."""
    path = folder / ARCHIVE_NAME
    files = sorted({file for pattern in (*_SENT, *_SENT_OF_ENTRIES) for file in folder.glob(pattern) if file.is_file()})
    with tarfile.open(path, "w:gz") as archive:
        for file in files:
            archive.add(file, arcname=f"gpu-check/{file.relative_to(folder)}")
    return path
