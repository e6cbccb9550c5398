"""Count how often `prep bench` is right when it compares: the same thing twice, and with a stand-in made slower.

    .venv/bin/python -m scripts.benchmarks.measure_comparison [--pairs 20] [--busy] [--kinds compute,wait]

MiniLM (real weights, FP32) on the real Triton, as `prep bench` serves it. Stand-ins that are slower by 15 %:

- compute: the same graph, which pads each row by 15 % more tokens and cuts them off the answer: more of the same
  computation, the same answers. The tokens are masked.
- wait: the same graph behind a queue delay that is longer by 15 % of the median latency of the first run: it computes
  no more, it waits.

Three comparisons of each pair:

- run: a run (`--repeats` of `--duration-s`) against the run before it, `--baseline` once.
- history: a run against seven other runs of the unchanged entry, `--baseline` seven times.
- turns: `--against`, with at most `--repeats-in-turns` of a side.

Right is "no difference shown" of the same thing, and "slower" of a stand-in. Every run is a file below `--folder`,
made once: another call goes on where the last one ended, or with the same `--pairs` counts again. About five minutes a
pair on two busy cores; `--pairs 8` takes 40 minutes.
"""

import argparse
import math
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from prep_triton.artifact import OnnxModel
from prep_triton.bench.compare import StoredRun, compare_with_baseline, load_baseline
from prep_triton.bench.compare_turns import compare_turns
from prep_triton.bench.disturbance import share_of_others
from prep_triton.bench.history import compare_with_history
from prep_triton.bench.measure import Plan
from prep_triton.bench.records import BaselineComparison, BenchReport, Load, PointComparison
from prep_triton.bench.requests import InputChoice
from prep_triton.errors import ServerError
from prep_triton.export.onnx import export_model
from prep_triton.files import write_atomically
from prep_triton.manifest import record_files
from prep_triton.run.benching import INTERRUPTED, BenchOutcome, BenchRequest, bench
from prep_triton.run.benching_against import bench_against
from prep_triton.spec import ModelSpec, QueueSpec, ServingSpec
from prep_triton.workspace import Workspace

from scripts.benchmarks.common import Table, describe_versions, log, make_parser, print_conditions, take_turns
from scripts.benchmarks.neighbours import run_neighbours
from scripts.benchmarks.serving_configs import assemble_entry

SLOWER = 0.15
SEQUENCE = 64
RUNS_OF_A_HISTORY = 7
KINDS = ("compute", "wait")
METHODS = ("run", "history", "turns")
ATTEMPTS = 5
RIGHT = {"same": "no difference shown"}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=int, default=20, help="pairs of the same thing, and of each stand-in [20]")
    parser.add_argument("--kinds", default="compute", help="stand-ins: compute, wait or both, with a comma [compute]")
    parser.add_argument("--busy", action="store_true", help="run other programs meanwhile, which come and go")
    parser.add_argument("--neighbours", type=int, default=2, help="how many of them [2]")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="of a run [5]")
    parser.add_argument("--repeats-in-turns", type=int, default=216, help="of a side with --against, at most [216]")
    parser.add_argument("--duration-in-turns-s", type=float, default=0.3, help="of such a repeat [0.3]")
    parser.add_argument("--duration-s", type=float, default=0.8, help="of a repeat [0.8]")
    parser.add_argument("--seed", type=int, default=0, help="of the neighbours")
    parser.add_argument("--folder", type=Path, default=Path("build/measure-comparison"))
    arguments = parser.parse_args()
    kinds = tuple(arguments.kinds.split(","))
    if not set(kinds) <= set(KINDS):
        parser.error(f"--kinds takes {' and '.join(KINDS)}, not {arguments.kinds}")
    session = Session(arguments, kinds)
    with run_neighbours(arguments.neighbours, arguments.seed) if arguments.busy else nullcontext():
        for number in range(arguments.pairs):
            session.measure_pair(number)
    print_counts(session, arguments.pairs)


@dataclass
class Session:
    """Repositories of the entry and its stand-ins, and the runs that were made of them."""

    arguments: argparse.Namespace
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        folder: Path = self.arguments.folder
        self.runs = folder / "runs"
        self.runs.mkdir(parents=True, exist_ok=True)
        model = export_model(ModelSpec(model="minilm", task="feature-extraction"), Workspace(folder)).artifact
        self.repositories = {"base": folder / "base", "same": folder / "same", "compute": folder / "compute"}
        delay_us = QueueSpec().max_queue_delay_us
        for name in ("base", "same"):
            assemble_entry(model, [], _serving(delay_us), self.repositories[name])
        assemble_entry(pad_graph(model, folder / "padded"), [], _serving(delay_us), self.repositories["compute"])
        self.run("base", 0)
        if "wait" in self.kinds:
            latency_us = 1000 * self.load("base", 0).points[0].p50_ms.value
            self.repositories["wait"] = folder / "wait"
            assemble_entry(model, [], _serving(delay_us + round(SLOWER * latency_us)), self.repositories["wait"])

    def measure_pair(self, number: int) -> None:
        """Make the runs of a pair that are not there yet; the order changes from pair to pair."""
        log(f"pair {number + 1} of {self.arguments.pairs}")
        steps: list[Callable[[], None]] = [lambda: self.run("base", number + 1)]
        for kind in self.kinds:
            steps.append(lambda kind=kind: self.run(kind, number))  # type: ignore[misc]
        for kind in ("same", *self.kinds):
            steps.append(lambda kind=kind: self.run_in_turns(kind, number))  # type: ignore[misc]
        for step in take_turns(steps, number):
            step()

    def run(self, name: str, number: int) -> None:
        """Measure a repository on its own."""
        path = self.runs / f"{name}-{number}.json"
        if not path.exists():
            request = self._request(name, self.arguments.repeats, self.arguments.duration_s)
            _save(_measure_whole(lambda: bench(request)), path)

    def run_in_turns(self, name: str, number: int) -> None:
        """Measure a repository in turns with the unchanged one."""
        path = self.runs / f"{name}-in-turns-{number}.json"
        if not path.exists():
            request = self._request(name, self.arguments.repeats_in_turns, self.arguments.duration_in_turns_s)
            _save(_measure_whole(lambda: bench_against(request, str(self.repositories["base"]))), path)

    def load(self, name: str, number: int) -> BenchReport:
        """Read a run."""
        return BenchReport.model_validate_json((self.runs / f"{name}-{number}.json").read_text(encoding="utf-8"))

    def stored(self, number: int) -> StoredRun:
        """Read a run of the unchanged entry, as a baseline is read."""
        return load_baseline(self.runs / f"base-{number}.json")

    def _request(self, name: str, repeats: int, duration_s: float) -> BenchRequest:
        plan = Plan(
            loads=(Load(kind="closed", value=self.arguments.concurrency),),
            repeats=repeats,
            warmup_s=0.2,
            duration_s=duration_s,
            seed=0,
            timeout_s=60.0,
        )
        inputs = InputChoice(1, SEQUENCE, 0)
        return BenchRequest(str(self.repositories[name]), None, None, (), inputs, plan)


def _serving(delay_us: int) -> ServingSpec:
    return ServingSpec(dynamic_batching=QueueSpec(max_queue_delay_us=delay_us))


def _measure_whole(measure: Callable[[], BenchOutcome]) -> BenchReport:
    """Measure until a run was not ended before its end: on a very busy machine a repeat may be without an answer."""
    for _ in range(ATTEMPTS):
        try:
            outcome = measure()
        except ServerError as err:
            log(f"again: {err}")
            continue
        if outcome.report.partial_reason == INTERRUPTED:
            raise KeyboardInterrupt
        if outcome.error is None:
            return outcome.report
        log(f"again: {outcome.error}")
    sys.exit(f"no run came to its end in {ATTEMPTS} attempts: allow longer repeats with --duration-s")


def _save(report: BenchReport, path: Path) -> None:
    write_atomically(path, report.model_dump_json().encode())


def pad_graph(model: OnnxModel, folder: Path) -> OnnxModel:
    """Write a model that pads each row by 15 % of `SEQUENCE` masked tokens and cuts them off its answer.

    The answers are those of the model, as masked tokens are attended to by none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model.folder, folder, ignore=shutil.ignore_patterns("manifest.json"))
    more = round(SLOWER * SEQUENCE)
    proto = onnx.load(folder / "model.onnx")
    graph = proto.graph
    inputs, (output,) = [value.name for value in graph.input], [value.name for value in graph.output]
    for node in graph.node:
        node.input[:] = [f"{name}_padded" if name in inputs else _inner(name, output) for name in node.input]
        node.output[:] = [_inner(name, output) for name in node.output]
    pads = [helper.make_node("Pad", [name, "stand_in_pads"], [f"{name}_padded"]) for name in inputs]
    cut = helper.make_node("Slice", [_inner(output, output), "stand_in_from", "stand_in_to", "stand_in_axis"], [output])
    nodes = [*pads, *graph.node, cut]
    del graph.node[:]
    graph.node.extend(nodes)
    constants = {"pads": [0, 0, 0, more], "from": [0], "to": [-more], "axis": [1]}
    for name, values in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values, dtype=np.int64), f"stand_in_{name}"))
    onnx.save(proto, folder / "model.onnx")
    changed = {"folder": folder, "files": record_files(folder), "key": f"{model.key}-padded"}
    return model.model_copy(update=changed)


def _inner(name: str, output: str) -> str:
    return f"{name}_long" if name == output else name


def judge(session: Session, method: str, kind: str, pairs: int) -> Iterator[tuple[PointComparison, BenchReport]]:
    """Yield how a method compares each pair, with the report that it compares."""
    for number in range(pairs):
        if method == "turns":
            report = session.load(f"{kind}-in-turns", number)
            comparison = report.comparison
            assert comparison is not None
            other = report.model_copy(update={"points": comparison.other_points, "comparison": None})
            compared: BaselineComparison = compare_turns(report, other, "base")
        else:
            own = number + 1
            report = session.load("base", own) if kind == "same" else session.load(kind, number)
            if method == "run":
                compared = compare_with_baseline(report, session.stored(number), "base")
            else:
                others = [place for place in range(pairs + 1) if not (kind == "same" and place == own)]
                nearest = sorted(others, key=lambda place: abs(place - own))[:RUNS_OF_A_HISTORY]
                if len(nearest) < RUNS_OF_A_HISTORY:
                    return
                compared = compare_with_history(report, [session.stored(place) for place in nearest], "base")
        if compared.points:
            yield compared.points[0], report


def print_counts(session: Session, pairs: int) -> None:
    """Print how often each method was right, and how wide its intervals were."""
    arguments = session.arguments
    first, reports = session.load("base", 0), [session.load("base", number) for number in range(pairs + 1)]
    shares = [share_of_others(report.points[0].repeat_resources, report.conditions.cores) for report in reports]
    taken = sorted(share for share in shares if share is not None)
    rates = [report.points[0].requests_per_s.value for report in reports]
    spread = float(np.std(np.log(rates), ddof=1)) if len(rates) > 1 else 0.0
    others = (
        f"others took {taken[0]:.0%} to {taken[-1]:.0%} of the cores (median {np.median(taken):.0%})" if taken else ""
    )
    print_conditions(
        f"Triton {first.conditions.triton_version} ({first.conditions.triton_flavour}); "
        f"{describe_versions('onnxruntime')}; MiniLM FP32, {SEQUENCE} tokens, concurrency {arguments.concurrency}",
        f"neighbours of our own: {arguments.neighbours if arguments.busy else 0}; {others} during the runs, "
        f"whose rates have a standard deviation of {spread:.0%}",
        f"run: {arguments.repeats} x {arguments.duration_s:g} s; history: {RUNS_OF_A_HISTORY} of them; turns: "
        f"{arguments.repeats_in_turns} x {arguments.duration_in_turns_s:g} s a side",
    )
    print()
    table = Table(
        ("what", "<10"), ("comparison", "<12"), ("pairs", ">6"), ("right", ">7"), ("none shown", ">12"),
        ("slower", ">8"), ("faster", ">8"), ("rate", ">8.3f"), ("half width", ">16"),
    )  # fmt: skip
    for kind in ("same", *session.kinds):
        for method in METHODS:
            print_row(table, kind, method, [point for point, _ in judge(session, method, kind, pairs)])


def print_row(table: Table, kind: str, method: str, points: Sequence[PointComparison]) -> None:
    """Print the counts of one method on one kind of pair; the half width is the median one, as a factor."""
    if not points:
        table.print_row(kind, method, "0", "-", "-", "-", "-", "-", f"needs {RUNS_OF_A_HISTORY} runs")
        return
    verdicts = Counter(point.verdict for point in points)
    ratios = [point.decided_by for point in points]
    halves = [math.log(max(ratio.high, 1e-9) / max(ratio.low, 1e-9)) / 2 for ratio in ratios]
    table.print_row(
        kind,
        method,
        str(len(points)),
        str(verdicts[RIGHT.get(kind, "slower")]),  # type: ignore[index]
        str(verdicts["no difference shown"]),
        str(verdicts["slower"]),
        str(verdicts["faster"]),
        float(np.exp(np.mean([math.log(ratio.ratio) for ratio in ratios]))),
        f"x{math.exp(float(np.median(halves))):.2f}",
    )


if __name__ == "__main__":
    main()
