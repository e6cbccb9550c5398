"""The command line: `scripts/gpu-check`, or ``python -m scripts.gpu_check``.

Exits 0; 1 where a step failed; 3 where this machine could not take one, which is no pass.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.engine.builders import find_builder_problems, resolve_builder
from prep_triton.errors import PrepError
from prep_triton.spec import Precision
from prep_triton.workspace import Workspace

from scripts.gpu_check import engines, serving
from scripts.gpu_check.machine import (
    check_tensorrt,
    describe_gpus,
    find_problem,
    find_tritonserver,
    read_nvidia_smi,
    render_docker_line,
)
from scripts.gpu_check.request import MODELS, Load, Request
from scripts.gpu_check.steps import EXIT_CANNOT, Row, Step, choose_exit_code, render_rows, take_steps
from scripts.gpu_check.summary import Outcome, clear_folder, save_archive, save_summary

ROOT = Path(__file__).parents[2]


@dataclass
class Check:
    """What the steps of one check hand to each other."""

    request: Request
    exported: dict[str, OnnxModel] = field(default_factory=dict)
    graphs: dict[str, dict[Precision, OnnxModel]] = field(default_factory=dict)
    built: dict[str, list[Engine]] = field(default_factory=dict)
    checked: dict[str, engines.Checked] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        """Where the artifacts are."""
        return Workspace(self.request.workspace)

    @property
    def prep(self) -> serving.Prep:
        """The commands of `prep`."""
        return serving.Prep(self.request)

    @property
    def entries(self) -> list[tuple[str, str, str]]:
        """The entries that are served."""
        return serving.list_entries(self.request, {name: model.name for name, model in self.exported.items()})

    def describe_machine(self) -> str:
        """Write down the machine, and hold its TensorRT against that of the server beside it."""
        self.request.folder.mkdir(parents=True, exist_ok=True)
        (self.request.folder / "nvidia-smi.txt").write_text(read_nvidia_smi(), encoding="utf-8")
        doctor = self._ask_doctor()
        version = resolve_builder(self.request.builder, find_builder_problems()).version
        if not self.request.rehearse:
            check_tensorrt(version)
        return f"{describe_gpus()}, {self.request.builder} {version}, {self._describe_server()}{doctor}"

    def _describe_server(self) -> str:
        if self.request.rehearse:
            return "server of the wheel"
        return f"server {find_tritonserver() or 'none'}"

    def _ask_doctor(self) -> str:
        """Keep what `prep doctor` says; that it fails is said, and keeps no engine from being built."""
        try:
            self.prep.run("doctor", "doctor", "--workspace", self.request.workspace)
        except PrepError as err:
            return f"; prep doctor failed: {err.message}"
        return ""

    def export(self) -> str:
        """Export the models."""
        self.exported = engines.export_models(self.request, self.workspace)
        return ", ".join(model.name for model in self.exported.values())

    def convert(self) -> str:
        """Rewrite their graphs in FP16 and INT8."""
        self.graphs = {name: engines.convert_models(model, self.workspace) for name, model in self.exported.items()}
        return f"{sum(map(len, self.graphs.values()))} graphs"

    def build(self) -> str:
        """Build and prove the engines."""
        for name, graphs in self.graphs.items():
            self.built[name] = engines.build_engines(graphs, self.request, self.workspace)
            model = self.exported[name]
            self.checked |= {engine.name: engines.Checked(engine, model) for engine in self.built[name]}
        return ", ".join(self.checked)

    def compare(self) -> str:
        """Compare what the engines answer with FP32."""
        for name, built in self.built.items():
            model = self.exported[name]
            if self.request.rehearse:
                rows = engines.compare_graphs(model, built, self.graphs[name])
            else:
                rows = engines.compare_engines(model, built)
            self.checked |= {row.engine.name: row for row in rows}
        failures = [row.failure for row in self.checked.values() if row.failure]
        if failures:
            raise PrepError("; ".join(failures), hint="compare the graphs: prep compare")
        return f"smallest cosine {min(row.min_cosine or 0.0 for row in self.checked.values()):.5f}"

    def time(self) -> str:
        """Time the engines on the device."""
        for built in self.built.values():
            for engine, medians in zip(built, engines.time_engines(built, self.request), strict=True):
                self.checked[engine.name] = replace(self.checked[engine.name], latencies_ms=medians)
        return f"batch x length: {', '.join(f'{batch}x{length}' for batch, length in self.request.shapes)}"


def list_steps(check: Check) -> list[Step]:
    """Return the steps but for the last one, the archive, in their order."""
    prep = check.prep
    other_runtimes = "ONNX Runtime and OpenVINO on the CPU in place of the plans"
    return [
        Step("machine", "GPU, driver, TensorRT and server of this machine", check.describe_machine),
        Step("export", "checkpoints to ONNX, compared with PyTorch", check.export),
        Step("convert", "graphs in FP16 and INT8", check.convert, ("export",)),
        Step(
            "build",
            "engines in FP16 and INT8, proved by the inspector",
            check.build,
            ("machine", "convert"),
            rehearsal="TensorRT-RTX engines for a T4, which are not executed",
        ),
        Step(
            "parity",
            "answers of the engines on the device against FP32",
            check.compare,
            ("build",),
            rehearsal="the graphs in ONNX Runtime in place of the engines",
        ),
        Step("latency", "engines timed on the device", check.time, ("build",), needs_gpu=True),
        Step(
            "assemble",
            "a Triton repository with two tiers",
            lambda: serving.assemble(prep, check.entries),
            ("build",),
            rehearsal=other_runtimes,
        ),
        Step(
            "verify",
            "a real Triton that loads it, compared with PyTorch",
            lambda: serving.verify(prep),
            ("assemble",),
            rehearsal=other_runtimes,
        ),
        Step(
            "sweep",
            "prep bench under the loads of the blog of 2021",
            lambda: serving.sweep(prep),
            ("assemble",),  # what verify finds wrong costs no figures
            rehearsal=other_runtimes,
        ),
        Step(
            "bursts",
            "two tiers in bursts, with tiers and without",
            lambda: serving.bursts(prep, check.entries),
            ("assemble",),  # what verify finds wrong costs no figures
            rehearsal=other_runtimes,
        ),
        Step("report", "prep report of the sweep", lambda: serving.report(prep), ("sweep",)),
    ]


def run_check(request: Request) -> list[Row]:
    """Take every step, whatever becomes of the others, and write the summary and the archive."""
    clear_folder(request.folder)
    check = Check(request)
    logs_dir = check.prep.logs_dir
    rows = take_steps(list_steps(check), logs_dir, rehearse=request.rehearse)

    def summarise() -> Outcome:
        return Outcome(request, tuple(rows), tuple(check.checked.values()))

    def archive() -> str:
        save_summary(summarise())
        return f"send back {save_archive(request.folder)}"

    rows += take_steps(
        [Step("archive", "reports, figures, logs and configurations in one file", archive)],
        logs_dir,
        rehearse=request.rehearse,
    )
    save_summary(summarise())
    return rows


def parse_request(arguments: Sequence[str] | None) -> Request:
    """Return what the flags ask for."""
    parser = argparse.ArgumentParser(
        prog="scripts/gpu-check",
        description="Build, run, compare, serve and measure engines on the GPU of this machine.",
    )
    load = Load()
    parser.add_argument("--model", action="append", help=f"name, folder or hub id (repeatable); {', '.join(MODELS)}")
    parser.add_argument(
        "--rehearse", action="store_true", help="take the steps without a GPU: RTX engines, CPU runtimes"
    )
    parser.add_argument("--workspace", type=Path, default=Path("build"))
    parser.add_argument("--folder", type=Path, help="build/gpu-check, or build/gpu-rehearsal")
    parser.add_argument("--concurrency", default=load.concurrency, help=f"of the sweep; {load.concurrency}")
    parser.add_argument("--batch", type=int, default=load.batch, help=f"rows of a request; {load.batch}")
    parser.add_argument("--seq-len", type=int, default=load.seq_len, help=f"tokens of a row; {load.seq_len}")
    parser.add_argument("--duration-s", type=float, default=load.duration_s, help="measured seconds of a load")
    parser.add_argument("--repeats", type=int, default=load.repeats, help="how often each load is measured")
    parser.add_argument("--burst-s", type=float, default=load.burst_s, help="seconds of a phase of the bursts")
    parser.add_argument("--burst-rounds", type=int, default=load.burst_rounds, help="how often bursts are played")
    options = parser.parse_args(arguments)
    names = ("concurrency", "batch", "seq_len", "duration_s", "repeats", "burst_s", "burst_rounds")
    return Request(
        models=tuple(dict.fromkeys(options.model or MODELS)),
        folder=options.folder or Path("build", "gpu-rehearsal" if options.rehearse else "gpu-check"),
        workspace=options.workspace,
        rehearse=options.rehearse,
        load=Load(**{name: getattr(options, name) for name in names}),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    request = parse_request(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if problem := find_problem(request.builder):
        print(f"gpu-check cannot run here: {problem}. This is not a pass.", file=sys.stderr)
        print(f"On a machine with a GPU and Docker:\n  {render_docker_line(ROOT)}", file=sys.stderr)
        if not request.rehearse:
            print("Without a GPU: scripts/gpu-check --rehearse", file=sys.stderr)
        return EXIT_CANNOT
    rows = run_check(request)
    print(render_rows(rows))
    if request.rehearse:
        print("A rehearsal: no step of the GPU has passed by it.")
    return choose_exit_code(rows, rehearse=request.rehearse)
