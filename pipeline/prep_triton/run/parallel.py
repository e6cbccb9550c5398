"""Several models at once, each in a process of its own: within a number of jobs and a bound on memory.

A process of its own, because an export holds Python's lock most of the time, gives its memory back only at its
end, and may be killed by the system where memory is short: its neighbours go on.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.engine.machine import Machine
from prep_triton.errors import PrepError
from prep_triton.progress import Progress, ignore_progress
from prep_triton.run.models import MadeVariant, assemble_variant, label_of_model, make_model
from prep_triton.run.report import RowCollector, Silent, StageRow
from prep_triton.spec import PipelineModelSpec, RunSpec
from prep_triton.workspace import Workspace

log = logging.getLogger(__name__)

# Bytes of FP32 weights. An unknown hub id is taken for a BERT-base.
_WEIGHTS_GIB: Mapping[str, float] = {"bert-base": 0.41, "bert-large": 1.25, "distilbert": 0.25, "minilm": 0.085}
# Peaks of BERT-base, scripts/benchmarks/measure_overhead.py and measure_precision.py: 1.6 GiB to export, 3.6 GiB to
# quantise.
_FIXED_GIB = 1.0
_EXPORT_FACTOR = 2.0
_QUANTIZE_FACTOR = 6.5
_FREE_SHARE = 0.8
# cgroup v2 and v1: a container's limit, and what it uses.
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_TERMINATED = 143
_GRACE_S = 5.0


@dataclass(frozen=True)
class ModelResult:
    """What became of one model: its variants, or why there are none."""

    spec: PipelineModelSpec
    variants: Sequence[MadeVariant] = ()
    error: PrepError | None = None


def make_models(rows: RowCollector, spec: RunSpec, workspace: Workspace, machine: Machine) -> list[ModelResult]:
    """Make every model of a pipeline file; one that fails does not stop the others.

    Models of which everything is there already, and all where there is one job, are made in this process.

    Args:
        rows: Takes the steps of all models.
        spec: The models, `jobs` and `memory_gib`.
        workspace: Where the artifacts are kept.
        machine: What this machine builds and runs.

    Returns:
        One result for each model, in the file's order.
    """
    if workspace.read_only or spec.jobs == 1 or len(spec.models) == 1:
        return [_make_here(rows, model, workspace, machine) for model in spec.models]
    pending = [number for number, model in enumerate(spec.models) if not _is_made(model, workspace, machine)]
    if len(pending) < 2:
        return [_make_here(rows, model, workspace, machine) for model in spec.models]
    results = dict(zip(pending, _make_apart(rows, spec, pending, workspace, machine), strict=True))
    return [
        results[number] if number in results else _make_here(rows, model, workspace, machine)
        for number, model in enumerate(spec.models)
    ]


def assemble_models(
    rows: RowCollector, results: Sequence[ModelResult], repository_dir: Path, *, dry_run: bool
) -> tuple[list[RepositoryEntry], list[ModelResult]]:
    """Write the repository entries of every model; one that cannot be assembled does not stop the others.

    Returns:
        The entries, and the results in which such a model is a failed one.
    """
    entries: list[RepositoryEntry] = []
    after = []
    for result in results:
        try:
            made = [assemble_variant(rows, variant, repository_dir, dry_run=dry_run) for variant in result.variants]
        except PrepError as err:
            after.append(_failed(rows, result.spec, err))
        else:
            entries += [entry for some in made for entry in some]
            after.append(result)
    return entries, after


def check_any_made(results: Sequence[ModelResult]) -> None:
    """Raise the first model's error where every model failed.

    Raises:
        PrepError: That error.
    """
    errors = [result.error for result in results if result.error]
    if errors and len(errors) == len(results):
        raise errors[0]


def estimate_memory_gib(spec: PipelineModelSpec) -> float:
    """Estimate the most memory that making a model takes, GiB."""
    weights = _WEIGHTS_GIB.get(spec.model, _WEIGHTS_GIB["bert-base"])
    if (folder := Path(spec.model).expanduser()).is_dir():
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**30 or weights
    is_quantised = any(one.quantization or one.int8_if_faster for one in spec.variants)
    return _FIXED_GIB + weights * (_QUANTIZE_FACTOR if is_quantised else _EXPORT_FACTOR)


def _make_here(rows: RowCollector, model: PipelineModelSpec, workspace: Workspace, machine: Machine) -> ModelResult:
    try:
        return ModelResult(model, make_model(rows, model, workspace, machine))
    except PrepError as err:
        return _failed(rows, model, err)


def _failed(rows: RowCollector, model: PipelineModelSpec, err: PrepError) -> ModelResult:
    rows.add(StageRow(stage="model", artifact=label_of_model(model), state="failed", note=err.message))
    return ModelResult(model, error=err)


def _is_made(model: PipelineModelSpec, workspace: Workspace, machine: Machine) -> bool:
    """Whether nothing is left to make of a model; starts and measures nothing."""
    if any(variant.int8_if_faster for variant in model.variants):
        return False
    trial = RowCollector(Silent())
    try:
        make_model(trial, model, Workspace(workspace.root, read_only=True), machine)
    except PrepError:
        return False  # it is told where it is made
    return all(row.state != "planned" for row in trial.rows)


@dataclass
class _Admission:
    """Lets jobs begin while their memory fits; one that is larger than the bound runs alone."""

    bound_gib: float
    used_gib: float = 0.0
    running: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def admit(self, wanted_gib: float) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.running or self.used_gib + wanted_gib <= self.bound_gib)
            self.running, self.used_gib = self.running + 1, self.used_gib + wanted_gib
        try:
            yield
        finally:
            with self.changed:
                self.running, self.used_gib = self.running - 1, self.used_gib - wanted_gib
                self.changed.notify_all()


def _make_apart(
    rows: RowCollector, spec: RunSpec, numbers: Sequence[int], workspace: Workspace, machine: Machine
) -> list[ModelResult]:
    admission = _Admission(spec.memory_gib or _find_free_gib() * _FREE_SHARE)
    jobs = min(spec.jobs, len(numbers))
    log.info("%d models, %d at once within %.1f GiB", len(numbers), jobs, admission.bound_gib)
    with rows.listener.stage(f"{len(numbers)} models") as progress, ThreadPoolExecutor(jobs) as pool:
        children = _Children(rows, workspace, machine, progress)

        def make(number: int) -> ModelResult:
            model = spec.models[number]
            with admission.admit(estimate_memory_gib(model)):
                return children.run(model)

        try:
            return list(pool.map(make, numbers))
        except BaseException:  # Ctrl-C too
            children.end()
            raise


class _Children:
    """The processes that are running."""

    def __init__(self, rows: RowCollector, workspace: Workspace, machine: Machine, progress: Progress) -> None:
        self.rows, self.progress = rows, progress
        self.workspace, self.machine = workspace, machine
        self.running: list[Any] = []
        self.is_ended = False
        self.lock = threading.Lock()

    def run(self, model: PipelineModelSpec) -> ModelResult:
        """Make one model in a process of its own, and relay what it tells."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_run_child, args=(model, self.workspace.root, self.machine, theirs), daemon=True)
        with self.lock:  # so that `end` misses none that is being started
            if self.is_ended:
                return ModelResult(model)
            child.start()
            self.running.append(child)
        theirs.close()
        result = self._listen(ours, model)
        child.join()
        if self.is_ended:
            return ModelResult(model)
        if result is None:
            message = f"the process that made {label_of_model(model)} ended with status {child.exitcode}"
            hint = "where memory is short, lower --jobs or --memory-gib; PREP_DEBUG=1 shows its traceback"
            return _failed(self.rows, model, PrepError(message, hint=hint))
        return result

    def _listen(self, connection: Connection, model: PipelineModelSpec) -> ModelResult | None:
        while True:
            try:
                kind, content = connection.recv()
            except (EOFError, OSError, pickle.UnpicklingError):  # it ended, perhaps in the middle of a message
                return None
            if kind == "row":
                self.rows.add(content)
            elif kind == "phase":
                self.progress(f"{label_of_model(model)}: {content}")
            elif kind == "notice":
                log.log(*content)
            elif kind == "made":
                return ModelResult(model, content)
            else:
                error_type, message, hint = content
                return _failed(self.rows, model, error_type(message, hint=hint))

    def end(self) -> None:
        """End every process: kindly, and where a library's own code does not let go, at once."""
        with self.lock:
            self.is_ended = True
        for child in self.running:
            child.terminate()
        deadline = time.monotonic() + _GRACE_S
        for child in self.running:
            child.join(max(0.0, deadline - time.monotonic()))
            child.kill()


class _Sender:
    """The listener of a child: sends what it hears to the parent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def stage(self, label: str) -> Any:
        """Tell that a step begins."""
        self.connection.send(("phase", label))
        return nullcontext(ignore_progress)

    def finished(self, row: StageRow) -> None:
        """Tell that a step ended."""
        self.connection.send(("row", row))


class _NoticeSender(logging.Handler):
    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.INFO)
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self.connection.send(("notice", (record.levelno, "%s", record.getMessage())))


def _run_child(model: PipelineModelSpec, root: Path, machine: Machine, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the parent, which ends us:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # and nothing half-written stays
    logger = logging.getLogger("prep_triton")
    logger.addHandler(_NoticeSender(connection))
    logger.setLevel(logging.INFO)
    try:
        made = make_model(RowCollector(_Sender(connection)), model, Workspace(root), machine)
    except PrepError as err:
        if os.environ.get("PREP_DEBUG"):
            raise
        connection.send(("failed", (type(err), err.message, err.hint)))
    else:
        connection.send(("made", made))


def _find_free_gib() -> float:
    """Return the memory that is free now, GiB: the machine's, or what a container may still take, if that is less."""
    found = [_find_free_of_machine_gib()]
    for limit_name, used_name in _CGROUP_FILES:
        with suppress(OSError, ValueError):  # no such file, or "max": no limit
            limit = int(Path(limit_name).read_text(encoding="ascii"))
            found.append((limit - int(Path(used_name).read_text(encoding="ascii"))) / 2**30)
    return max(0.0, min(found))


def _find_free_of_machine_gib() -> float:
    """Return ``MemAvailable`` of /proc/meminfo; half of all memory where it is not told."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))) / 2**20
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 / 2
